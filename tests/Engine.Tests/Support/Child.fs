/// Runs this program again, in an environment and a folder of its own.
module Child

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open Expecto

type Outcome = { Code: int; Lines: string list; Errors: string list }

/// A test that needs Linux, as the loader's special ways do; elsewhere it counts as skipped.
let testLinux = if OperatingSystem.IsLinux() then testCase else ptestCase

let private natives = Path.Combine("runtimes", "linux-x64", "native")

[<DllImport("libc", EntryPoint = "link")>]
extern int private hardLink(string from, string until)

let private link (from: string) (until: string) = if hardLink (from, until) <> 0 then File.Copy(from, until)

/// A copy of this program in a folder of its own, without the bytes of the native libraries.
type Program() =
    let folder =
        Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, $"child-{Guid.NewGuid():N}"))
    let own = Path.Combine(folder.FullName, natives)

    do
        for file in Directory.GetFiles AppContext.BaseDirectory do
            File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName file))

        Directory.CreateDirectory own |> ignore

        for file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, natives)) do
            link file (Path.Combine(own, Path.GetFileName file))

    member _.Folder = folder.FullName
    /// Its native libraries.
    member _.Natives = Directory.GetFiles own
    /// A native library of the program.
    member _.Native name = Path.Combine(own, name)

    /// Puts links to libtorch into a new folder beside the program.
    member _.LinkLibTorch name =
        let libs = Directory.CreateDirectory(Path.Combine(folder.FullName, name)).FullName

        for file in Directory.GetFiles own do
            if not (file.EndsWith "libLibTorchSharp.so") then
                link file (Path.Combine(libs, Path.GetFileName file))

        libs

    interface IDisposable with
        member _.Dispose() = folder.Delete true

/// Runs the program in `folder` with the name of a task and an environment; an empty value removes a variable.
let runIn (folder: string) (environment: (string * string) list) (task: string) : Outcome =
    let info =
        ProcessStartInfo(
            "dotnet",
            [ "exec"; Path.Combine(folder, "Engine.Tests.dll"); "child"; task ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for name, value in [ "ADVCONTRAST_LIBTORCH", ""; "ADVCONTRAST_MALLOC", "" ] @ environment do
        if value = "" then info.Environment.Remove name |> ignore else info.Environment[name] <- value

    use child = Process.Start info
    let errors = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEndAsync()

    if not (child.WaitForExit 120_000) then
        child.Kill true
        failtest "it did not end within two minutes"

    let lines (text: string) =
        text.Split('\n', StringSplitOptions.RemoveEmptyEntries ||| StringSplitOptions.TrimEntries)
        |> List.ofArray

    { Code = child.ExitCode; Lines = lines output.Result; Errors = lines errors.Result }

/// The same in this program's own folder.
let run environment task = runIn AppContext.BaseDirectory environment task
