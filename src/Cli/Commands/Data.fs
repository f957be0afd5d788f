namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Data =

    let private check name folder = result {
        for part, train in [ "training", true; "test", false ] do
            let! dataset = DatasetRegistry.load name folder train
            use dataset = dataset
            let labels = if dataset.IsLabelled then sprintf "%d classes" dataset.Classes else "no labels"

            Terminal.line (
                sprintf "%s, %s: %s images, %s" dataset.Name part (Shape.text dataset.Images) labels
            )

            Coverage.ofDataset dataset |> Coverage.notes |> List.iter Terminal.line
    }

    let private megabytes (bytes: int64) = sprintf "%.1f" (float bytes / 1e6)

    // The downloaded files.
    let private fetch name folder =
        Terminal.withProgress (fun show ->
            let report file (came: int64) (total: int64 option) =
                match total with
                | Some total when total > 0L ->
                    let text = sprintf "%s of %s MB" (megabytes came) (megabytes total)
                    show file (float came / float total) text
                | _ -> show file 0.0 (if came > 0L then sprintf "%s MB" (megabytes came) else "")

            Fetch.dataset Download.patience name folder report Terminal.stop)

    let private get name folder = result {
        let! listing, choice = DatasetRegistry.find name
        let! brought = fetch name folder

        match brought with
        | [] -> Terminal.line (sprintf "%s is in %s already." listing.Name folder)
        | files -> Terminal.line (sprintf "%s: %s" listing.Name (String.concat ", " files))

        // A corruption is chosen when it is read.
        if listing.Name.EndsWith "-c" && choice.IsEmpty then
            Terminal.line (
                sprintf "It is in %s; next: advcontrast data %s:fog:3 --data %s" folder listing.Name folder
            )
        else
            do! check name (Some folder)
            Terminal.line (
                sprintf
                    "It is in %s; next: advcontrast pretrain --dataset %s --data %s"
                    folder
                    listing.Name
                    folder
            )
    }

    let private list () =
        for listing in DatasetRegistry.all do
            let folder = if listing.NeedsFolder then "; needs --data DIR" else ""
            Terminal.line (sprintf "%-16s %s%s" listing.Name listing.Summary folder)

        Terminal.line ""
        Terminal.line (sprintf "Image files that are read: %s." ImageFile.formats)
        Terminal.line "advcontrast data NAME [--data DIR] reads a data set and checks it."
        Terminal.line "advcontrast data get NAME [--data DIR] fetches one from its makers' page."

    let run (arguments: ParseResults<DataArguments>) : Result<unit, Error list> =
        let folder = arguments.TryGetResult DataArguments.Data

        match arguments.TryGetResult DataArguments.Get, arguments.TryGetResult DataArguments.Name with
        | Some name, Some _ ->
            Error [ Error.BadOption("data get", sprintf "it takes one name, '%s' or the other." name) ]
        | Some name, None -> get name (Option.defaultValue "data" folder) |> Result.mapError List.singleton
        | None, Some name -> check name folder |> Result.mapError List.singleton
        | None, None when folder.IsSome ->
            Error [ Error.BadOption("--data", "it is the folder of a data set; name that too.") ]
        | None, None ->
            list ()
            Ok()
