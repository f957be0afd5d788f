namespace AdvContrast.Cli

open System
open System.IO
open AdvContrast.Core.Foundation

/// The figures of a command as a file.
[<RequireQualifiedAccess>]
module Json =

    /// Stands for the program's output in place of a file.
    let private output = "-"

    /// A number as JSON can have it: nothing for one that is not finite.
    let finite (value: float) = if Double.IsFinite value then Some value else None

    /// Whether figures can be written where they are asked for, before the work whose figures they are.
    let check overwrite (path: string option) =
        match path with
        | Some path when path <> output -> OutputFile.check ".json" overwrite path
        | _ -> Ok()

    /// Writes figures, where they were asked for.
    let write (path: string option) figures =
        match path with
        | None -> Ok()
        | Some path when path = output -> Ok(Terminal.raw (JsonText.write figures))
        | Some path -> OutputFile.guarded path (fun () -> File.WriteAllText(path, JsonText.write figures))
