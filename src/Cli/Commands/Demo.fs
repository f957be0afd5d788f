namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Argu
open FsToolkit.ErrorHandling

/// What the project is for, in minutes: two encoders of the same size on the same images, one trained to
/// withstand attacks, one not.
[<RequireQualifiedAccess>]
module Demo =

    /// What both encoders share.
    let private recipe = {
        PretrainConfig.defaults with
            Network = Some "small"
            Epochs = Some 14
            Batch = Some 256
            Optimizer = Some "adam"
            LearningRate = Some 3e-3
    }

    let private threat = "linf:0.1"

    // A method without an adversary trains within no threat.
    let private recipeOf recipe name =
        match MethodRegistry.find name with
        | Ok method when Method.hasAdversary method -> { recipe with Method = name; Threat = Some threat }
        | _ -> { recipe with Method = name }

    let private methods = [ "simclr"; "acl-ds" ]

    // The attacks on both, each with its name in the figures.
    let private attacks = [ "fgsm", "fgsm"; "pgd20", "pgd-20:0.125" ]

    let private measure folder (configuration: PretrainConfig) = result {
        let name = configuration.Method
        let folder = Path.Combine(folder, name)
        let train watch = Workbench.replace folder watch Terminal.stop configuration
        let! encoder = Pretrain.withBar name train
        use encoder = encoder

        let! measured =
            Evaluate.withBar name encoder {
                Evaluation.defaults with
                    Attacks = List.map snd attacks
                    Threats = [ threat ]
                    Seed = configuration.Seed
            }

        let accuracy name = (measured.Accuracies |> List.find (fun a -> a.Name = name)).Fraction
        let under figure = accuracy (attacks |> List.find (fun (known, _) -> known = figure) |> snd)

        return {| name = name; clean = accuracy "clean"; fgsm = under "fgsm"; pgd20 = under "pgd20" |}
    }

    // A demo replaces the one before it, and no other run.
    let private mayReplace folder = result {
        for name in methods do
            let folder = Path.Combine(folder, name)

            if Manifest.existsIn folder then
                // A demo that was killed may have left its manifest alone, or its checkpoint alone.
                let! there =
                    Manifest.configuration (Path.Combine(folder, "run.json"))
                    |> Result.orElseWith (fun _ -> Manifest.ofRun folder)

                let expected = recipeOf { recipe with Seed = there.Seed } name
                let isDemo =
                    {
                        there with
                            Precision = recipe.Precision
                            Device = recipe.Device
                            Threads = recipe.Threads
                    }
                        =
                        expected

                if not isDemo then
                    let advice = sprintf "'%s' holds a run that is no demo's; name another folder." folder
                    return! Error(Error.BadOption("--out", advice))
    }

    let run (arguments: ParseResults<DemoArguments>) : Result<unit, Error list> = result {
        let json = arguments.TryGetResult DemoArguments.Json
        let folder = arguments.GetResult(DemoArguments.Out, Path.Combine("runs", "demo"))

        let recipe = {
            recipe with
                Seed = arguments.GetResult(DemoArguments.Seed, recipe.Seed)
                Device = arguments.GetResult(DemoArguments.Device, recipe.Device)
                Threads = arguments.TryGetResult DemoArguments.Threads
        }

        do! Json.check (arguments.Contains DemoArguments.Overwrite) json |> Result.mapError List.singleton
        do! mayReplace folder |> Result.mapError List.singleton
        Terminal.line
            "Two encoders on 6,000 images of clothing (Fashion-MNIST), then attacks within linf:0.1 on 1,000 others."
        let seconds = Terminal.clock ()

        let! rows = methods |> List.traverseResultM (fun name -> measure folder (recipeOf recipe name))

        let elapsed = seconds ()

        Terminal.table [ "encoder"; "clean"; "FGSM"; "PGD-20" ] [
            for row in rows -> row.name :: List.map Terminal.percent [ row.clean; row.fgsm; row.pgd20 ]
        ]

        Terminal.line (sprintf "%.0f s from the first training step. The runs are in %s." elapsed folder)
        do! Json.write json {| methods = rows; seconds = elapsed |} |> Result.mapError List.singleton
    }
