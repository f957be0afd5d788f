namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Evaluate =

    /// Evaluates with a bar for each part of it.
    let withBar title encoder evaluation =
        Terminal.withProgress (fun show ->
            let report what share = show (sprintf "%s, %s" title what) share ""
            Workbench.evaluate report Terminal.stop encoder evaluation)

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
            Threat = arguments.TryGetResult EvaluateArguments.Threat
            Probe = arguments.GetResult(EvaluateArguments.Probe, usual.Probe)
            Seed = arguments.GetResult(EvaluateArguments.Seed, usual.Seed)
            Threads = arguments.TryGetResult EvaluateArguments.Threads
        }

    let private show title (measured: Measured) =
        let heading = sprintf "accuracy, %d images of %s" measured.Images measured.Dataset

        Terminal.table [ title; heading; "notes" ] [
            for a in measured.Accuracies do
                let name =
                    if a.Name = "clean" then
                        a.Name
                    else
                        sprintf "%s, %s" a.Name (Threat.label measured.Threat)
                [ name; Terminal.percent a.Fraction; String.concat ", " a.Flags ]
        ]

    let run (arguments: ParseResults<EvaluateArguments>) : Result<unit, Error list> = result {
        let json = arguments.TryGetResult EvaluateArguments.Json
        let from = arguments.GetResult EvaluateArguments.From
        let seconds = Terminal.clock ()
        do! Json.check json |> Result.mapError List.singleton
        let! encoder, warning = Encoder.load from |> Result.mapError List.singleton
        use encoder = encoder
        warning |> Option.iter Terminal.line
        let name = encoder.Configuration.Method
        let! measured = withBar name encoder (evaluation arguments)
        show name measured

        do!
            Json.write json {|
                run = from
                ``method`` = name
                dataset = measured.Dataset
                images = measured.Images
                probe = measured.Probe
                threat = Threat.text measured.Threat
                seed = measured.Seed
                accuracies = [
                    for a in measured.Accuracies ->
                        {| name = a.Name; accuracy = a.Fraction; correct = a.Correct; flags = a.Flags |}
                ]
                seconds = seconds ()
            |}
            |> Result.mapError List.singleton
    }
