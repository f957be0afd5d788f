namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open Argu
open FsToolkit.ErrorHandling

/// What the project is for, in minutes: two encoders of the same size on the same images, one trained to
/// withstand attacks, one not.
[<RequireQualifiedAccess>]
module Demo =

    let private threat = Threat.create Linf 0.1

    /// What both encoders share.
    let private recipe = {
        Configuration.defaults with
            Network = Some "small"
            Epochs = Some 14
            Batch = Some 256
            Optimizer = Some "adam"
            LearningRate = Some 3e-3
            Threat = Some(Threat.text threat)
    }

    let private attacks = [ "fgsm", Attack.fgsm; "pgd20", Attack.pgd 0.125 20 ]

    let private measure folder (configuration: Configuration) (train: Dataset) (test: Dataset) = result {
        let name = configuration.Method
        let folder = Path.Combine(folder, name)
        let! encoder =
            Pretrain.withBar name (fun watch ->
                Workbench.pretrain (Some folder) watch Terminal.stop configuration)
        use encoder = encoder
        let figures =
            Evaluate.measure name LinearProbe.quick attacks configuration.Seed threat encoder train test
        let accuracy name = (figures |> List.find (fun f -> f.Name = name)).Fraction

        return {| name = name; clean = accuracy "clean"; fgsm = accuracy "fgsm"; pgd20 = accuracy "pgd20" |}
    }

    let run (arguments: ParseResults<DemoArguments>) : Result<unit, Error list> =
        Terminal.interruptible (fun () -> result {
            let json = arguments.TryGetResult DemoArguments.Json
            let folder = arguments.GetResult(DemoArguments.Out, Path.Combine("runs", "demo"))

            let recipe = {
                recipe with
                    Seed = arguments.GetResult(DemoArguments.Seed, recipe.Seed)
                    Threads = arguments.TryGetResult DemoArguments.Threads
            }

            do! Json.check json |> Result.mapError List.singleton
            let! train = Catalogue.load recipe.Dataset None true |> Result.mapError List.singleton
            use train = train
            let! test = Catalogue.load recipe.Dataset None false |> Result.mapError List.singleton
            use test = test

            Terminal.line (
                sprintf
                    "Two encoders on %d images of clothing (Fashion-MNIST), then attacks within %s on %d others."
                    train.Count
                    (Threat.text threat)
                    test.Count
            )

            let seconds = Terminal.clock ()

            let! rows =
                [ "simclr"; "acl-ds" ]
                |> List.traverseResultM (fun name -> measure folder { recipe with Method = name } train test)

            let elapsed = seconds ()

            Terminal.table [ "encoder"; "clean"; "FGSM"; "PGD-20" ] [
                for row in rows ->
                    [
                        row.name
                        Terminal.percent row.clean
                        Terminal.percent row.fgsm
                        Terminal.percent row.pgd20
                    ]
            ]

            Terminal.line (sprintf "%.0f s from the first training step. The runs are in %s." elapsed folder)
            do! Json.write json {| methods = rows; seconds = elapsed |} |> Result.mapError List.singleton
        })
