namespace AdvContrast.Cli

open System
open System.IO
open AdvContrast.Core.Foundation

/// Files that a user names and a command writes.
[<RequireQualifiedAccess>]
module OutputFile =

    /// What a write gave, or a sentence on why nothing can be written there.
    let guarded path write =
        try
            Ok(write ())
        with
        | :? IOException
        | :? NotSupportedException
        | :? ArgumentException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    // A device, a pipe or an empty file holds nothing that could be lost.
    let private holdsSomething path = File.Exists path && FileInfo(path).Length > 0L

    // Leaves nothing behind.
    let private tryOpen (path: string) =
        guarded path (fun () ->
            let existed = File.Exists path
            File.OpenWrite(path).Dispose()
            if not existed then File.Delete path)

    /// Whether a file can be written under this name, before the work whose result it is to hold: its ending is that
    /// of the format, and it is no file that is there, unless that is to be overwritten.
    let check ending overwrite (path: string) =
        FileName.requireEnding ending path
        |> Result.bind (fun () ->
            if not overwrite && holdsSomething path then
                Error(Error.NotWritable(path, "it is there; name another file, or add --overwrite."))
            else
                tryOpen path)
