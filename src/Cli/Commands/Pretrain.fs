namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Pretrain =

    // The runs named by --given STAGE=RUN.
    let private given (named: string list) =
        named
        |> List.traverseResultM (fun text ->
            match text.IndexOf '=' with
            | at when at > 0 && at < text.Length - 1 -> Ok(text[.. at - 1], text[at + 1 ..])
            | _ ->
                let advice = sprintf "'%s' is not STAGE=RUN; write for instance teacher=runs/simclr." text
                Error(Error.BadOption("--given", advice)))
        |> Result.bind (fun pairs ->
            match pairs |> List.countBy fst |> List.tryFind (fun (_, count) -> count > 1) with
            | Some(name, _) -> Error(Error.BadOption("--given", sprintf "'%s' is given twice." name))
            | None -> Ok(if pairs.IsEmpty then None else Some(Map.ofList pairs)))

    // A configuration with the options given laid over it; named: the runs of --given.
    let private laidOver (arguments: ParseResults<PretrainArguments>) named (start: PretrainConfig) =
        let orElse usual given = Option.defaultValue usual given
        let option given usual = Option.orElse usual given

        {
            Method = arguments.TryGetResult PretrainArguments.Method |> orElse start.Method
            Dataset = arguments.TryGetResult PretrainArguments.Dataset |> orElse start.Dataset
            Data = start.Data |> option (arguments.TryGetResult PretrainArguments.Data)
            Images = start.Images |> option (arguments.TryGetResult PretrainArguments.Images)
            Network = start.Network |> option (arguments.TryGetResult PretrainArguments.Network)
            Width = start.Width |> option (arguments.TryGetResult PretrainArguments.Width)
            Given = start.Given |> option named
            Epochs = start.Epochs |> option (arguments.TryGetResult PretrainArguments.Epochs)
            Batch = start.Batch |> option (arguments.TryGetResult PretrainArguments.Batch)
            Optimizer = start.Optimizer |> option (arguments.TryGetResult PretrainArguments.Optimizer)
            LearningRate =
                start.LearningRate |> option (arguments.TryGetResult PretrainArguments.Learning_Rate)
            Threat = start.Threat |> option (arguments.TryGetResult PretrainArguments.Threat)
            Seed = arguments.TryGetResult PretrainArguments.Seed |> orElse start.Seed
            Device = arguments.TryGetResult PretrainArguments.Device |> orElse start.Device
            Precision = arguments.TryGetResult PretrainArguments.Precision |> orElse start.Precision
            Threads = start.Threads |> option (arguments.TryGetResult PretrainArguments.Threads)
            CheckpointEvery =
                start.CheckpointEvery |> option (arguments.TryGetResult PretrainArguments.Checkpoint_Every)
            Keep = start.Keep |> option (arguments.TryGetResult PretrainArguments.Keep)
            KeepBest = start.KeepBest || arguments.Contains PretrainArguments.Keep_Best
        }

    /// Trains with a bar: name is the bar's, train is handed what to call after every step.
    let withBar name (train: (Event -> unit) -> 'a) =
        Terminal.withProgress (fun show ->
            train (fun event ->
                let epoch = min event.At.Epochs (event.At.Epoch + 1)

                let text =
                    if System.Double.IsNaN event.Loss then
                        sprintf "image %d of %d" event.At.Step event.At.Steps
                    else
                        sprintf "epoch %d of %d, loss %.3f" epoch event.At.Epochs event.Loss

                // A stage before the method itself is told by its own name.
                let title =
                    match event.Stage.IndexOf '/' with
                    | -1 -> name
                    | at -> sprintf "%s, %s" name event.Stage[at + 1 ..]

                show title (float event.At.Step / float event.At.Steps) text))

    // The first free folder of the usual name.
    let private usualFolder (c: PretrainConfig) =
        let name =
            Path.Combine("runs", sprintf "%s-%s" (c.Method.Replace(':', '-').Replace('/', '-')) c.Dataset)

        Seq.append [ name ] (Seq.initInfinite (fun i -> sprintf "%s-%d" name (i + 2)))
        |> Seq.find (Manifest.existsIn >> not)

    // What a reader of the figures must know of the runs that stand for a method's stages.
    let private warn (c: PretrainConfig) (m: Method) =
        for stage in m.Before do
            match stage, c.Given |> Option.bind (Map.tryFind (Stage.name stage)) with
            | Stage.External(name, advice), Some run -> Terminal.line (sprintf "%s is %s: %s" name run advice)
            | _ -> ()

    // Options that a run which is resumed has no use for.
    let private unusable (arguments: ParseResults<PretrainArguments>) folder = [
        match arguments.TryGetResult PretrainArguments.Out with
        | Some out when Path.GetFullPath out <> Path.GetFullPath folder ->
            Error.BadOption(
                "--out",
                sprintf "the run stays in '%s'; copy the folder first, and resume the copy." folder
            )
        | _ -> ()

        if arguments.Contains PretrainArguments.Config then
            Error.BadOption("--config", "a run that is resumed has its own; leave --config or --resume out.")
    ]

    let private resume arguments named folder = result {
        let change = laidOver arguments named

        let! _ =
            match unusable arguments folder, Workbench.resumable change folder with
            | [], found -> found
            | faults, Ok _ -> Error faults
            | faults, Error others -> Error(faults @ others)

        return folder, (fun watch -> Workbench.resumeWith change folder watch Terminal.stop)
    }

    // The run's folder, and what trains it.
    let private plan (arguments: ParseResults<PretrainArguments>) = result {
        let single result = Result.mapError List.singleton result
        let! named = given (arguments.GetResults PretrainArguments.Given) |> single

        match arguments.TryGetResult PretrainArguments.Resume with
        | Some folder -> return! resume arguments named folder
        | None ->
            let! start =
                match arguments.TryGetResult PretrainArguments.Config with
                | Some path -> Manifest.configuration path |> single
                | None -> Ok PretrainConfig.defaults

            let c = laidOver arguments named start
            MethodRegistry.find c.Method |> Result.iter (warn c)
            let folder =
                arguments.TryGetResult PretrainArguments.Out |> Option.defaultWith (fun () -> usualFolder c)

            if arguments.Contains PretrainArguments.Overwrite then
                return folder, (fun watch -> Workbench.replace folder watch Terminal.stop c)
            else
                return folder, (fun watch -> Workbench.pretrain (Some folder) watch Terminal.stop c)
    }

    // What a run that did not come to its end has left.
    let private left folder errors =
        match errors with
        | [ Error.Interrupted ] when Manifest.existsIn folder ->
            Terminal.line (
                sprintf "The run so far is kept; resume it: advcontrast pretrain --resume %s" folder
            )
        | [ Error.Diverged _ ] when Checkpoint.existsIn folder ->
            Terminal.line (sprintf "The last checkpoint in %s was written before that and is good." folder)
        | [ Error.Diverged _ ] -> Terminal.line "It had written no checkpoint yet."
        | _ -> ()

    let run (arguments: ParseResults<PretrainArguments>) : Result<unit, Error list> = result {
        let json = arguments.TryGetResult PretrainArguments.Json
        let overwrite = arguments.Contains PretrainArguments.Overwrite
        do! Json.check overwrite json |> Result.mapError List.singleton
        let! folder, train = plan arguments
        let seconds = Terminal.clock ()
        let mutable last = None
        let mutable took, waited = 0.0, 0.0

        let! encoder =
            withBar (Path.GetFileName folder) (fun watch ->
                train (fun event ->
                    last <- Some event
                    List.iter Terminal.note event.Notes
                    took <- took + event.Took
                    waited <- waited + event.Waited
                    watch event))
            |> Result.teeError (left folder)

        use encoder = encoder
        let name, seconds = encoder.Configuration.Method, seconds ()
        let loss = last |> Option.map _.Loss |> Option.defaultValue nan
        let steps = last |> Option.map _.At.Step |> Option.defaultValue 0L
        let unit = if steps = 1L then "step" else "steps"
        let waiting = if took > 0.0 then waited / took else 0.0
        Terminal.line (sprintf "%s: %d %s in %.0f s, last loss %.4f" name steps unit seconds loss)
        Terminal.line (
            sprintf "Training waited for its images for %s of the time." (Terminal.percent waiting)
        )
        Terminal.line (sprintf "The run is in %s; next: advcontrast evaluate --from %s" folder folder)

        do!
            Json.write json {|
                method = name
                folder = folder
                steps = steps
                loss = loss
                seconds = seconds
                waiting = waiting
                configuration = encoder.Configuration
            |}
            |> Result.mapError List.singleton
    }
