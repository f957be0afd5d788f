namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open Argu
open FsToolkit.ErrorHandling
open TorchSharp

[<RequireQualifiedAccess>]
module Evaluate =

    let private probe (name: string) seed =
        match name.ToLowerInvariant() with
        | "quick" -> Ok { LinearProbe.quick with Seed = seed }
        | "published" -> Ok { LinearProbe.published with Seed = seed }
        | _ -> Error(Error.UnknownName("probe", name, [ "quick"; "published" ]))

    /// Fits a linear layer, then measures clean accuracy and accuracy under attacks, with a bar for each.
    let measure title probe attacks seed threat encoder (train: Dataset) (test: Dataset) =
        Terminal.withProgress (fun show ->
            let linear = title + ", linear layer"
            show linear 0.0 ""
            use head = Workbench.probe probe encoder train
            show linear 1.0 ""

            let report name finished =
                Terminal.throwIfStopped ()
                show (sprintf "%s, %s" title name) (float finished / float test.Count) ""

            Workbench.evaluate attacks seed threat report encoder head test)

    let private images limit (dataset: Dataset) =
        match limit with
        | Some n when int64 n < dataset.Count ->
            use all = dataset
            Dataset.subset (Array.init n int64) all
        | _ -> dataset

    let private show title threat (test: Dataset) (figures: Accuracy list) =
        Terminal.table [ title; sprintf "accuracy, %d images of %s" test.Count test.Name; "notes" ] [
            for f in figures do
                let name = if f.Name = "clean" then f.Name else sprintf "%s, %s" f.Name (Threat.text threat)
                [ name; Terminal.percent f.Fraction; String.concat ", " f.Flags ]
        ]

    // The attacks' threat: the one given, else the one that the encoder was trained against, else the field's usual.
    let private threat given (c: Configuration) = result {
        let text = given |> Option.orElse c.Threat |> Option.defaultValue "linf:8/255"
        return! Threat.parse text
    }

    let private measureAll (arguments: ParseResults<EvaluateArguments>) = result {
        let json = arguments.TryGetResult EvaluateArguments.Json
        let limit = arguments.TryGetResult EvaluateArguments.Images
        let seed = arguments.GetResult(EvaluateArguments.Seed, 1UL)
        let probeName = arguments.GetResult(EvaluateArguments.Probe, "quick")
        let named = arguments.GetResults EvaluateArguments.Attack
        let seconds = Terminal.clock ()
        do! Json.check json
        do! Configuration.positive "--images" limit
        let! probe = probe probeName seed

        let! attacks =
            (if named.IsEmpty then [ "fgsm"; "pgd-20" ] else named)
            |> List.traverseResultM (fun name -> Robustness.attack name |> Result.map (fun a -> name, a))

        let! encoder, warning = Encoder.load (arguments.GetResult EvaluateArguments.From)
        use encoder = encoder
        warning |> Option.iter Terminal.line
        let c = encoder.Configuration
        let! threat = threat (arguments.TryGetResult EvaluateArguments.Threat) c
        arguments.TryGetResult EvaluateArguments.Threads |> Option.iter torch.set_num_threads
        let name = arguments.GetResult(EvaluateArguments.Dataset, c.Dataset)
        let folder = arguments.TryGetResult EvaluateArguments.Data |> Option.orElse c.Data
        let! train = Catalogue.load name folder true
        use train = train
        let! test = Catalogue.load name folder false
        use test = images limit test
        let figures = measure c.Method probe attacks seed threat encoder train test
        show c.Method threat test figures

        do!
            Json.write json {|
                run = arguments.GetResult EvaluateArguments.From
                ``method`` = c.Method
                dataset = test.Name
                images = test.Count
                probe = probeName
                threat = Threat.text threat
                seed = seed
                accuracies = [
                    for f in figures ->
                        {| name = f.Name; accuracy = f.Fraction; correct = f.Correct; flags = f.Flags |}
                ]
                seconds = seconds ()
            |}
    }

    let run (arguments: ParseResults<EvaluateArguments>) : Result<unit, Error list> =
        Terminal.interruptible (fun () -> measureAll arguments |> Result.mapError List.singleton)
