namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Data =

    let private check name folder =
        result {
            for part, train in [ "training", true; "test", false ] do
                let! dataset = Catalogue.load name folder train
                use dataset = dataset

                Terminal.line (
                    sprintf
                        "%s, %s: %s images, %d classes"
                        dataset.Name
                        part
                        (Shape.text dataset.Images)
                        dataset.Classes
                )
        }
        |> Result.mapError List.singleton

    let run (arguments: ParseResults<DataArguments>) : Result<unit, Error list> =
        match arguments.TryGetResult DataArguments.Name with
        | Some name -> check name (arguments.TryGetResult DataArguments.Data)
        | None ->
            for name, summary, needsFolder in Catalogue.all do
                Terminal.line (
                    sprintf "%-14s %s%s" name summary (if needsFolder then "; needs --data DIR" else "")
                )

            Terminal.line "advcontrast data NAME [--data DIR] reads a data set and checks it."
            Ok()
