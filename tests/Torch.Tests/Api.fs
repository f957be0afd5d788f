/// That our public names are TorchSharp's: every member with the same signature, and overload groups whole.
module Api

open System
open System.Diagnostics
open System.IO
open System.Reflection
open Expecto
open AdvContrast.Torch.Engine
open TorchSharp

let private root =
    let rec up (folder: DirectoryInfo) =
        if isNull folder || File.Exists(Path.Combine(folder.FullName, "paket.dependencies")) then
            folder
        else
            up folder.Parent

    match up (DirectoryInfo AppContext.BaseDirectory) with
    | null -> Environment.CurrentDirectory
    | folder -> folder.FullName

let private lists = Path.GetFullPath(Path.Combine(root, "..", "shared", "torchsharp"))

let private needLists () =
    if TorchEngine.Current.Source <> "system" then skiptest "only with TorchSource=system"

    if not (File.Exists(Path.Combine(lists, "api-dump.fsx"))) then
        skiptest "the list of TorchSharp's API is not beside this repository"

/// Our members, a line each, as the list's own program prints them.
let private ours =
    lazy
        (let start = ProcessStartInfo("dotnet", RedirectStandardOutput = true, RedirectStandardError = true)
         for argument in
             [ "fsi"; Path.Combine(lists, "api-dump.fsx"); typeof<torch>.Assembly.Location; "TorchSharp" ] do
             start.ArgumentList.Add argument

         use dump = Process.Start start
         let errors = dump.StandardError.ReadToEndAsync()
         let text = dump.StandardOutput.ReadToEnd()
         dump.WaitForExit()
         if dump.ExitCode <> 0 then failtestf "the list of our API: %s" errors.Result
         text.Split('\n', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray)

let private theirs = lazy (File.ReadAllLines(Path.Combine(lists, "api-0.106.0.txt")) |> List.ofArray)

/// The group of overloads to which a line belongs: its type and name.
let private group (line: string) =
    match line.IndexOf "::" with
    | -1 -> None
    | i ->
        let name = line.Substring(i + 2)
        let name = if name.StartsWith "static " then name.Substring 7 else name
        Some(line.Substring(0, i), name.Substring(0, name.IndexOfAny [| '('; '['; '<'; ' '; ':' |]))

// Two overloads cannot differ by the names of their parameters alone; where the list has both, one is meant.
let private anonymous (line: string) = line.Replace("dataArray", "rawArray")

let tests =
    testList "Api" [
        testCase "every public member is TorchSharp's" (fun () ->
            needLists ()
            let known = set theirs.Value
            let foreign = ours.Value |> List.filter (known.Contains >> not)
            Expect.isGreaterThan ours.Value.Length 1000 "our list"
            Expect.equal foreign [] "members that TorchSharp has not")

        testCase "overload groups are whole" (fun () ->
            needLists ()
            let present = ours.Value |> List.choose group |> set
            let held = ours.Value |> List.map anonymous |> set

            let missing =
                theirs.Value
                |> List.filter (fun line -> group line |> Option.exists present.Contains)
                |> List.filter (anonymous >> held.Contains >> not)

            Expect.equal missing [] "overloads that are not there")
    ]
