/// Runs the program as a user does, and reads its output.
module User

open System
open System.Diagnostics
open System.IO
open System.Text.Json
open System.Threading
open Expecto

/// A folder of the test's own, where the program runs.
type Folder() =
    let path = Directory.CreateTempSubdirectory("advcontrast-").FullName
    member _.Path = path
    member _.At(name: string) = Path.Combine(path, name)

    /// Everything below it.
    member _.Entries =
        Directory.GetFileSystemEntries(path, "*", SearchOption.AllDirectories)
        |> Array.map (fun entry -> Path.GetRelativePath(path, entry))
        |> Set.ofArray

    interface IDisposable with
        member _.Dispose() = Directory.Delete(path, true)

type Outcome = { Code: int; Output: string; Complaint: string }

let private here = DirectoryInfo AppContext.BaseDirectory

/// The repository.
let root =
    lazy
        (let isRoot (folder: DirectoryInfo) = File.Exists(Path.Combine(folder.FullName, "build.fsx"))
         (here |> Seq.unfold (fun at -> Some(at, at.Parent)) |> Seq.find isRoot).FullName)

// src/Cli/bin has the same Release/net10.0 below it as this program's own bin.
let private program =
    lazy Path.Combine(root.Value, "src/Cli/bin", here.Parent.Name, here.Name, "advcontrast.dll")

let words (text: string) = text.Split(' ', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

/// Starts `dotnet` in a folder, in the environment of this process and what is given.
let startDotnet (environment: (string * string) list) (folder: Folder) (arguments: string list) =
    // A shell that runs its children in the background has them ignore Ctrl-C; a user's does not.
    let info =
        ProcessStartInfo(
            "env",
            [ "--default-signal=INT"; "dotnet" ] @ arguments,
            WorkingDirectory = folder.Path,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for name, value in environment do
        info.Environment[name] <- value

    Process.Start info

/// Starts the program; the word '' is an empty argument, as in a shell.
let start environment folder arguments =
    let arguments = words arguments |> List.map (fun word -> if word = "''" then "" else word)
    startDotnet environment folder ([ "exec"; program.Value ] @ arguments)

/// Waits until something is there that a program makes.
let waitFor what (isThere: unit -> bool) =
    if not (SpinWait.SpinUntil(isThere, TimeSpan.FromSeconds 30.0)) then failtest ("no " + what)

/// Waits for its end. Whatever it was, a user never sees a stack trace.
let finish (child: Process) =
    let complaint = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEndAsync()

    if not (child.WaitForExit 60_000) then
        child.Kill true
        failtest "it did not end within a minute"

    let outcome = { Code = child.ExitCode; Output = output.Result; Complaint = complaint.Result.Trim() }

    Expect.isNotMatch (outcome.Output + outcome.Complaint) @"(?m)^\s+at |Unhandled exception" "a stack trace"
    outcome

let runIn environment folder arguments =
    use child = start environment folder arguments
    finish child

/// Runs the program, which must succeed, and gives what it printed.
let succeed folder arguments =
    let outcome = runIn [] folder arguments
    Expect.equal outcome.Complaint "" arguments
    Expect.equal outcome.Code 0 arguments
    outcome.Output

/// That it ended as a refusal must: with its exit code and one sentence that says what to do.
let isRefusal code (says: string) outcome =
    Expect.equal outcome.Code code outcome.Complaint
    Expect.hasLength (outcome.Complaint.Split '\n') 1 ("one sentence, not: " + outcome.Complaint)
    Expect.stringStarts outcome.Complaint "advcontrast: " "who speaks"
    Expect.stringContains outcome.Complaint says "what to do"

/// That the program refuses, and leaves the folder as it was.
let refuse folder code says arguments =
    let before = (folder: Folder).Entries
    runIn [] folder arguments |> isRefusal code says
    Expect.equal folder.Entries before "what is in the folder"

/// A test of that in a folder that is prepared first.
let refuses name (prepare: Folder -> unit) code says arguments =
    testCase name (fun () ->
        use folder = new Folder()
        prepare folder
        refuse folder code says arguments)

/// A run of a fraction of a second, without --out.
let tiny = "pretrain --network small --width 4 --images 128 --epochs 1 --batch 32 --optimizer adam"

let private pretrained =
    lazy
        (let folder = new Folder()
         AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> (folder :> IDisposable).Dispose())
         succeed folder (tiny + " --out run") |> ignore
         folder.At "run")

/// Puts a finished tiny run into the folder, as `run`.
let withRun (folder: Folder) =
    Directory.CreateDirectory(folder.At "run") |> ignore

    for file in Directory.GetFiles pretrained.Value do
        File.Copy(file, Path.Combine(folder.At "run", Path.GetFileName file))

let json (folder: Folder) name = (JsonDocument.Parse(File.ReadAllText(folder.At name))).RootElement

/// The names of an object's fields, in alphabetical order.
let names (element: JsonElement) = [ for field in element.EnumerateObject() -> field.Name ] |> List.sort
