namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Methods =

    let private all: Method list = MethodRegistry.methods @ MethodRegistry.asPublished

    // A colon is no character of a file's name everywhere.
    let private file (m: Method) = m.Name.Replace(':', '-') + ".md"

    let private contents =
        [
            "# The methods"
            ""
            "Each page is what `advcontrast methods show NAME` prints; `dotnet fsi build.fsx docs` writes them."
            "`NAME:as-published` has the faults of the code that was published with a method."
            ""
            "| method | what it is | source |"
            "|---|---|---|"
            for m in all do
                sprintf "| [%s](%s) | %s | %s |" m.Name (file m) m.Summary m.Citation

            ""
        ]
        |> String.concat "\n"

    let private write (folder: string) =
        try
            Directory.CreateDirectory folder |> ignore

            for m in all do
                File.WriteAllText(Path.Combine(folder, file m), MethodCard.page m)

            File.WriteAllText(Path.Combine(folder, "README.md"), contents)
            Terminal.line (sprintf "%d pages are in %s." (all.Length + 1) folder)
            Ok()
        with
        | :? IOException
        | :? System.UnauthorizedAccessException as e -> Error(Error.NotWritable(folder, e.Message))

    let private list () =
        for m in MethodRegistry.methods do
            let preset = m.Name + ":as-published"
            let also = if all |> List.exists (fun p -> p.Name = preset) then "; also as-published" else ""
            Terminal.line (sprintf "%-21s %s%s" m.Name m.Summary also)
            Terminal.line (sprintf "%-21s %s" "" m.Citation)

        Terminal.line "advcontrast methods show NAME prints a method's full composition and recipe;"
        Terminal.line "NAME:as-published is the method with the faults of the code published with it."

    let run (arguments: ParseResults<MethodsArguments>) : Result<unit, Error list> =
        match arguments.TryGetResult MethodsArguments.Show, arguments.TryGetResult MethodsArguments.Pages with
        | Some _, Some _ ->
            Error [
                Error.BadOption("--pages", "it writes the cards of all methods; leave it or 'show' out.")
            ]
        | Some name, None ->
            MethodRegistry.find name
            |> Result.map (MethodCard.text >> Terminal.line)
            |> Result.mapError List.singleton
        | None, Some folder -> write folder |> Result.mapError List.singleton
        | None, None -> Ok(list ())
