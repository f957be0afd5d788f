namespace AdvContrast.Cli

open System
open System.IO
open AdvContrast.Core

/// The figures of a command as a file.
[<RequireQualifiedAccess>]
module Json =

    /// A number as JSON can have it: nothing for one that is not finite.
    let finite (value: float) = if Double.IsFinite value then Some value else None

    let private guarded path write =
        try
            Ok(write ())
        with
        | :? IOException
        | :? NotSupportedException
        | :? ArgumentException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    /// Whether a file can be written, before the work whose figures it is to hold; leaves nothing behind.
    let check (path: string option) =
        match path with
        | None -> Ok()
        | Some path ->
            guarded path (fun () ->
                let existed = File.Exists path
                File.OpenWrite(path).Dispose()

                if not existed then File.Delete path)

    /// Writes figures, where a file was asked for.
    let write (path: string option) figures =
        match path with
        | None -> Ok()
        | Some path -> guarded path (fun () -> File.WriteAllText(path, JsonText.write figures))
