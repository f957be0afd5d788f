namespace AdvContrast.Core.Data

open System
open System.IO
open AdvContrast.Core.Foundation

/// Files of data sets: read, or refused in a sentence that names them.
[<RequireQualifiedAccess>]
module DataFile =

    /// A file that is not what it should be.
    let damaged path problem : Result<'a, Error> = Result.Error(Error.Damaged(path, problem))

    /// Work on a file; what the system or a decoder raises about it becomes an error.
    let guarded (path: string) (work: unit -> Result<'a, Error>) : Result<'a, Error> =
        try
            work ()
        with
        | :? InvalidDataException
        | :? IOException
        | :? UnauthorizedAccessException as e -> damaged path e.Message

    /// All bytes of a file. what and advice: for where there is none.
    let read what advice (path: string) =
        if File.Exists path then
            guarded path (fun () -> Ok(File.ReadAllBytes path))
        else
            Result.Error(Error.Missing(what, path, advice))

    /// Paths in the order of their names, whatever the culture.
    let byName (paths: string[]) = Array.sortWith (fun a b -> String.CompareOrdinal(a, b)) paths

    /// The entry of a folder with one of these names: the first that is there as it is written, else in other case.
    let entry (folder: string) (names: string list) =
        if not (Directory.Exists folder) then
            None
        else
            let there = Directory.GetFileSystemEntries folder |> byName

            let find (comparison: StringComparison) =
                names
                |> List.tryPick (fun name ->
                    there |> Array.tryFind (fun path -> name.Equals(Path.GetFileName path, comparison)))

            find StringComparison.Ordinal
            |> Option.orElseWith (fun () -> find StringComparison.OrdinalIgnoreCase)

    /// The folder of a data set's own name below the one given, in any case, or the one given where it has none.
    let folder what advice (inner: string) (given: string) =
        match entry given [ inner ] |> Option.filter Directory.Exists with
        | Some below -> Ok below
        | None when Directory.Exists given -> Ok given
        | None -> Result.Error(Error.Missing(what, given, advice))
