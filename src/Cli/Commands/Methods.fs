namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open Argu

[<RequireQualifiedAccess>]
module Methods =

    let run (arguments: ParseResults<MethodsArguments>) : Result<unit, Error list> =
        match arguments.TryGetResult MethodsArguments.Show with
        | Some name ->
            Registry.find name |> Result.map (Method.card >> Terminal.line) |> Result.mapError List.singleton
        | None ->
            for m in Registry.methods do
                Terminal.line (sprintf "%-10s %s" m.Name m.Summary)
                Terminal.line (sprintf "%-10s %s" "" m.Citation)

            Terminal.line "advcontrast methods show NAME prints a method's full composition and recipe."
            Ok()
