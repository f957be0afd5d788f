namespace AdvContrast.Cli.Commands

open System
open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Reporting
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Attack =

    let private evaluation (arguments: ParseResults<AttackArguments>) : Evaluation =
        let usual = Evaluation.defaults

        {
            Dataset = arguments.TryGetResult AttackArguments.Dataset
            Data = arguments.TryGetResult AttackArguments.Data
            Images = Some(arguments.GetResult(AttackArguments.Images, 100))
            Attacks = [ arguments.GetResult(AttackArguments.Attack, "pgd-20") ]
            Threats = arguments.TryGetResult AttackArguments.Threat |> Option.toList
            Probe = arguments.GetResult(AttackArguments.Probe, usual.Probe)
            Knn = None
            Seed = arguments.GetResult(AttackArguments.Seed, usual.Seed)
            Threads = arguments.TryGetResult AttackArguments.Threads
            Notes = None
        }

    // Loads all, or none, before any work is done on one of them.
    let private loadAll (loads: (string * (string -> Result<Encoder, Error>)) list) =
        let rec go (loaded: (string * Encoder) list) rest =
            match rest with
            | [] -> Ok(List.rev loaded)
            | (path, load) :: rest ->
                match load path with
                | Ok encoder -> go ((path, encoder) :: loaded) rest
                | Error e ->
                    for _, encoder in loaded do
                        (encoder :> IDisposable).Dispose()

                    Error [ e ]

        go [] loads

    let private rows (arguments: ParseResults<AttackArguments>) =
        match arguments.TryGetResult AttackArguments.Rows with
        | Some _ when arguments.Contains AttackArguments.Picture |> not ->
            Error(Error.BadOption("--rows", "they are the picture's; name that as well: --picture FILE.png."))
        | rows -> PretrainConfig.atLeast 1 "--rows" rows |> Result.map (fun () -> Option.defaultValue 8 rows)

    // What each thing that the attack did comes to, over the images that were right untouched.
    let private did (images: AdversarialExamples) = [
        for name, norm in [ "Linf", Linf; "L2", L2; "L1", L1 ] do
            "distance, " + name, AdversarialExamples.summary images images.Result.Distance[norm], "0.####"
        "forward passes", AdversarialExamples.summary images images.Result.Forwards, "0.#"
        "gradients", AdversarialExamples.summary images images.Result.Gradients, "0.#"
    ]

    let private show asked (images: AdversarialExamples) (fared: (string * Transferred) list) =
        let attack = sprintf "%s, %s" images.Attack (Threat.label images.Threat)
        Terminal.table [ "run"; "clean"; attack; "notes" ] [
            for place, (run, (t: Transferred)) in List.indexed fared do
                [
                    run
                    Terminal.percent t.Clean.Fraction
                    Terminal.percent t.Attacked.Fraction
                    [
                        if place > 0 then "transferred"
                        yield! t.Attacked.Flags
                    ]
                    |> String.concat ", "
                ]
        ]

        Terminal.table [ "of the images that were right"; "mean"; "most" ] [
            for name, summary, format in did images do
                let text (x: float) = x.ToString(format, Globalization.CultureInfo.InvariantCulture)

                match summary with
                | Some(mean, most) -> [ name; text mean; text most ]
                | None -> [ name; "-"; "-" ]
        ]

        Coverage.sentences images.About["dataset"] asked images.Coverage |> List.iter Terminal.line

    let private figures from out seconds (images: AdversarialExamples) (fared: (string * Transferred) list) = {|
        run = from
        out = (out: string)
        attack = images.Attack
        text = images.Text
        threat = Threat.text images.Threat
        dataset = images.About["dataset"]
        images = images.Coverage.Images
        coverage = images.Coverage
        probe = images.About["probe"]
        seed = images.Seed
        flags = AdversarialExamples.flags images
        runs = [
            for run, (t: Transferred) in fared ->
                {|
                    run = run
                    clean = t.Clean.Fraction
                    attacked = t.Attacked.Fraction
                    cleanCorrect = t.Clean.Correct
                    attackedCorrect = t.Attacked.Correct
                    flags = t.Attacked.Flags
                |}
        ]
        did = [
            for name, summary, _ in did images do
                match summary with
                | Some(mean, most) -> {| name = name; mean = mean; most = most |}
                | None -> ()
        ]
        seconds = (seconds: float)
    |}

    let run (arguments: ParseResults<AttackArguments>) : Result<unit, Error list> = result {
        let json = arguments.TryGetResult AttackArguments.Json
        let picture = arguments.TryGetResult AttackArguments.Picture
        let out = arguments.GetResult AttackArguments.Out
        let from = arguments.GetResult AttackArguments.From
        let onto = arguments.GetResults AttackArguments.Onto
        let asked = evaluation arguments
        let seconds = Terminal.clock ()
        let single result = Result.mapError List.singleton result
        let! rows = rows arguments |> single

        let overwrite = arguments.Contains AttackArguments.Overwrite
        do! OutputFile.check ".safetensors" overwrite out |> single
        do!
            picture
            |> Option.traverseResult (OutputFile.check ".png" overwrite)
            |> Result.map ignore
            |> single
        do! Json.check overwrite json |> single
        let options: WeightsOptions = {
            Network = arguments.TryGetResult AttackArguments.Network
            Normalise = arguments.TryGetResult AttackArguments.Normalise
            Prefix = arguments.TryGetResult AttackArguments.Prefix
            BatchNorm = arguments.TryGetResult AttackArguments.Batch_Norm
        }
        let! device = arguments.TryGetResult AttackArguments.Device |> Weights.device |> single
        let others = onto |> List.map (fun path -> path, Weights.ofRun device)
        let! runs = loadAll ((from, Weights.load options device) :: others)

        try
            let first, others = snd runs.Head, runs.Tail

            for _, encoder in others do
                do! Generation.fits first.Input.Channels encoder |> single

            // The name alone: the file may go to others, and where the run lies is no concern of theirs.
            let name = Path.GetFileName(Path.TrimEndingDirectorySeparator from)
            let about = Map [ "run", name; "method", first.Configuration.Method ]

            let! images =
                Terminal.withBars from (fun report ->
                    Generation.ofEncoder about report Terminal.stop first asked)

            use images = images
            // The others fit their linear layers on the data that the images are from.
            let dataset = images.About["dataset"]
            let isRead folder = DatasetRegistry.requireUsed dataset (Some folder) |> Result.isOk

            let asked = {
                asked with
                    Dataset = Some dataset
                    Data = asked.Data |> Option.orElse (Option.filter isRead first.Configuration.Data)
            }

            let! transferred =
                others
                |> List.traverseResultM (fun (run, encoder) ->
                    Terminal.withBars run (fun report ->
                        Workbench.transfer report Terminal.stop encoder asked images)
                    |> Result.map (fun fared -> run, fared))

            let fared = (from, AdversarialExamples.own images) :: transferred
            do! AdversarialExamples.save out images |> single
            do!
                picture
                |> Option.traverseResult (fun path -> ImageGrid.save path rows images)
                |> single
                |> Result.ignore
            show (arguments.TryGetResult AttackArguments.Images) images fared
            Terminal.line (sprintf "The images are in %s." out)
            picture |> Option.iter (sprintf "The picture is %s." >> Terminal.line)
            do! Json.write json (figures from out (seconds ()) images fared) |> single
        finally
            for _, encoder in runs do
                (encoder :> IDisposable).Dispose()
    }
