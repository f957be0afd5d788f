namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Evaluate =

    /// Evaluates with a bar for each part of it.
    let withBar title encoder evaluation =
        Terminal.withBars title (fun report -> Workbench.evaluate report Terminal.stop encoder evaluation)

    let private evaluation (arguments: ParseResults<EvaluateArguments>) : Evaluation =
        let usual = Evaluation.defaults

        {
            Dataset = arguments.TryGetResult EvaluateArguments.Dataset
            Data = arguments.TryGetResult EvaluateArguments.Data
            Images = arguments.TryGetResult EvaluateArguments.Images
            Attacks =
                match arguments.GetResults EvaluateArguments.Attack with
                | [] -> usual.Attacks
                | named -> named
            Threats = arguments.GetResults EvaluateArguments.Threat
            Probe = arguments.GetResult(EvaluateArguments.Probe, usual.Probe)
            Knn = arguments.TryGetResult EvaluateArguments.Knn
            Seed = arguments.GetResult(EvaluateArguments.Seed, usual.Seed)
            Threads = arguments.TryGetResult EvaluateArguments.Threads
            Notes =
                let from = arguments.GetResult EvaluateArguments.From
                if Directory.Exists from then Some(Path.Combine(from, "evaluation.json")) else None
        }

    let private title (a: Accuracy) =
        match a.Threat with
        | Some threat -> sprintf "%s, %s" a.Name (Threat.label threat)
        | None -> a.Name

    let private passes (tally: AttackCost) =
        sprintf "%d forward passes, %d gradients" tally.Forwards tally.Gradients

    // What it took and left, as JSON has it.
    let private tally (t: AttackCost) = {|
        forwards = t.Forwards
        gradients = t.Gradients
        zeroGradients = t.ZeroGradients
        notFinite = t.NotFinite
        furthest = t.Furthest
        lowestPixel = t.Pixels |> Option.map fst
        highestPixel = t.Pixels |> Option.map snd
    |}

    let private show heading asked (measured: Measured) =
        Terminal.table [ heading; "accuracy"; "95 % interval"; "notes" ] [
            for a in measured.Accuracies do
                let low, high = a.Interval
                let interval = sprintf "%.1f to %.1f" (100.0 * low) (100.0 * high)
                [ title a; Terminal.percent a.Fraction; interval; String.concat ", " a.Flags ]

                for part in a.Parts do
                    let share = Terminal.percent (float part.Correct / float a.Total)
                    [ sprintf "  after %s" part.Name; share; ""; passes part.Cost ]
        ]

        Coverage.sentences measured.Dataset asked measured.Coverage |> List.iter Terminal.line

    let run (arguments: ParseResults<EvaluateArguments>) : Result<unit, Error list> = result {
        let json = arguments.TryGetResult EvaluateArguments.Json
        let from = arguments.GetResult EvaluateArguments.From
        let seconds = Terminal.clock ()
        let overwrite = arguments.Contains EvaluateArguments.Overwrite
        do! Json.check overwrite json |> Result.mapError List.singleton
        let options: WeightsOptions = {
            Network = arguments.TryGetResult EvaluateArguments.Network
            Normalise = arguments.TryGetResult EvaluateArguments.Normalise
            Prefix = arguments.TryGetResult EvaluateArguments.Prefix
            BatchNorm = arguments.TryGetResult EvaluateArguments.Batch_Norm
        }
        let! device =
            arguments.TryGetResult EvaluateArguments.Device
            |> Weights.device
            |> Result.mapError List.singleton
        let! encoder = Weights.load options device from |> Result.mapError List.singleton
        use encoder = encoder
        let name = encoder.Configuration.Method
        let! measured = withBar name encoder (evaluation arguments)
        show name (arguments.TryGetResult EvaluateArguments.Images) measured

        do!
            Json.write json {|
                run = from
                ``method`` = name
                dataset = measured.Dataset
                images = measured.Coverage.Images
                coverage = measured.Coverage
                probe = measured.Probe
                seed = measured.Seed
                data = arguments.TryGetResult EvaluateArguments.Data
                weights = TensorTree.hash (TensorTree.ofTensors (fst encoder.Weights))
                device = string encoder.Device
                notes = encoder.Notes
                encoder = encoder.Configuration
                environment = Platform.current ()
                accuracies = [
                    for a in measured.Accuracies ->
                        {|
                            name = a.Name
                            attack = AutoAttack.attack a.Name |> Result.map _.Text |> Result.toOption
                            threat = a.Threat |> Option.map Threat.text
                            accuracy = a.Fraction
                            correct = a.Correct
                            low = fst a.Interval
                            high = snd a.Interval
                            tally = tally a.Cost
                            after = [
                                for part in a.Parts ->
                                    {| name = part.Name; correct = part.Correct; tally = tally part.Cost |}
                            ]
                            flags = a.Flags
                        |}
                ]
                seconds = seconds ()
            |}
            |> Result.mapError List.singleton
    }
