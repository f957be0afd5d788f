/// Files of data sets, and how they are refused.
module Support.DataFiles

open System.IO
open Expecto
open AdvContrast.Core.Foundation
open Support.Arrays
open Support.Laws

/// Random bytes, each below a number.
let bytesOf (source: Source) n below = Array.init n (fun _ -> byte (source.Whole(0, below - 1)))

/// Writes a file below a folder, and the folders that it is in.
let write (folder: string) (name: string) (bytes: byte[]) =
    let path = Path.Combine(folder, name)
    Directory.CreateDirectory(Path.GetDirectoryName path) |> ignore
    File.WriteAllBytes(path, bytes)

/// That a file of this name is refused as damaged, in words that hold all of these.
let damaged name (parts: string list) result message =
    match wantError result message with
    | Error.Damaged(at, problem) ->
        Expect.stringContains at name (message + ": path")

        for part in parts do
            Expect.stringContains problem part message
    | other -> failtestf "%s: another kind of error: %A" message other

/// That something is missing, told in words that hold all of these.
let missing (parts: string list) result message =
    let error = wantError result message
    Expect.equal (Error.exitCode error) 4 message
    says parts error message
