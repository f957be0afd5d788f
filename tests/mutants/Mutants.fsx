/// Puts the faults of faults.txt into a copy of the source, one by one, and sees whether the tests find each.
module Mutants

open System
open System.IO
open System.Text.RegularExpressions

/// Runs a program: what it printed or, where it failed, what it printed and complained of.
type Ask = string -> string list -> Result<string, string>

type Fault = {
    Name: string
    File: string
    /// Paths of test lists, as --filter takes them; the first name is that of the test program.
    Lists: string list
    Before: string
    After: string
}

type Verdict =
    | Caught of tests: int * first: string
    | Survived
    /// The fault itself is at fault: its text is not there, or what it makes does not compile.
    | Bad of why: string

let private list = "tests/mutants/faults.txt"
let private copy = "artifacts/mutants"
let private copied path = Path.Combine(copy, path)

// --- the list

let private fault =
    Regex(
        @"^\[(?<name>.+)\]\nfile: (?<file>.+)\ntests: (?<tests>.+)\n"
        + @"(?<before>(?:-.*\n)+)(?<after>(?:\+.*\n)*)",
        RegexOptions.Multiline
    )

// A fragment's lines without the sign and the space before them.
let private fragment (text: string) = Regex.Replace(text.TrimEnd '\n', "^[-+] ?", "", RegexOptions.Multiline)

let private parse () : Result<Fault list, string> =
    let text = File.ReadAllText(list).ReplaceLineEndings "\n" + "\n"

    let stray =
        fault.Replace(text, "").Split '\n'
        |> Array.tryFind (fun line -> line.Trim() <> "" && not (line.StartsWith '#'))

    match stray with
    | Some line -> Error $"{list}: '{line}' belongs to no fault"
    | None ->
        Ok [
            for m in fault.Matches text do
                let part (name: string) = m.Groups[name].Value

                {
                    Name = part "name"
                    File = part "file"
                    Lists = (part "tests").Split(", ") |> List.ofArray
                    Before = fragment (part "before")
                    After = fragment (part "after")
                }
        ]

// --- the copy

let private files folder =
    Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
    |> Array.filter (fun path -> not (Regex.IsMatch(path, @"/(bin|obj)/")))

// Makes the copy what the working tree is. What has not changed keeps its time, so a build has less to do.
let private refresh () =
    let same (a: string) (b: string) =
        File.Exists b && File.ReadAllBytes(a).AsSpan().SequenceEqual(File.ReadAllBytes b)

    let wanted = [
        for path in Directory.GetFiles "." do
            Path.GetFileName path
        for folder in [ "src"; "tests"; ".config"; ".paket"; "paket-files"; "artifacts/native" ] do
            if Directory.Exists folder then yield! files folder
    ]

    for path in wanted do
        if not (same path (copied path)) then
            Directory.CreateDirectory(Path.GetDirectoryName(copied path)) |> ignore
            File.Copy(path, copied path, true)
            File.SetLastWriteTimeUtc(copied path, DateTime.UtcNow)

    for folder in [ copied "src"; copied "tests" ] do
        for path in files folder |> Array.except (List.map copied wanted) do
            File.Delete path

let private program (path: string) = path.Split('.')[0] + ".Tests"

// Debug: unoptimised, so that no test program holds a copy of what it tests. Servers that outlive the build
// would keep its output open.
let private build (ask: Ask) options name =
    let project = Directory.GetFiles(copied $"tests/{name}", "*.??proj")[0]
    let quiet = [ "-v:quiet"; "-nologo"; "-nodeReuse:false"; "-p:UseSharedCompilation=false" ]
    ask "dotnet" ([ "msbuild"; project ] @ quiet @ options) |> Result.map ignore

// The failures among the tests of a list. A program that crashes or does not end has failed one.
let private failures (ask: Ask) path =
    let name = program path
    let assembly = copied $"tests/{name}/bin/Debug/net10.0/{name}.dll"
    let result = ask "timeout" [ "300"; "dotnet"; "exec"; assembly; "--filter"; path ]
    let printed = result |> Result.defaultWith id
    let closing = Regex.Match(printed, @"^(\d+) passed, (\d+) failed", RegexOptions.Multiline)
    let first = Regex.Match(printed, @"^FAILED (.+) \(", RegexOptions.Multiline).Groups[1].Value

    match result with
    | Ok _ when closing.Success && closing.Groups[1].Value <> "0" -> 0, ""
    | Ok _ -> 1, $"{path} names no test"
    | Error _ when closing.Success -> int closing.Groups[2].Value, first
    | Error _ -> 1, $"{path} did not come to its end"

let private failuresOf ask lists =
    let results = lists |> List.map (failures ask)
    let first = results |> List.tryFind (fun (count, _) -> count > 0)
    List.sumBy fst results, first |> Option.map snd |> Option.defaultValue ""

// --- one fault

let private compileError (printed: string) =
    let line = printed.Split '\n' |> Array.tryFind (fun line -> line.Contains ": error ")
    defaultArg line (printed.Trim())

let private judge ask fault =
    let file = copied fault.File
    let text = if File.Exists file then File.ReadAllText file else ""

    match text.Split(fault.Before).Length - 1 with
    | 1 ->
        File.WriteAllText(file, text.Replace(fault.Before, fault.After))

        try
            let built =
                fault.Lists
                |> List.map program
                |> List.distinct
                |> List.map (build ask [])
                |> List.tryFind _.IsError

            match built with
            | Some(Error printed) -> Bad $"does not compile: {compileError printed}"
            | _ ->
                match failuresOf ask fault.Lists with
                | 0, _ -> Survived
                | count, first -> Caught(count, first)
        finally
            File.WriteAllText(file, text)
    | count -> Bad $"its text is {count} times in {fault.File}"

// --- all of them

/// Tries the faults whose names are given, or all. What is wrong with the list, the build or the tests before
/// any fault is an error; otherwise how many faults were found, and how many not.
let run (ask: Ask) (say: string -> unit) (names: string list) : Result<int * int, string> =
    let unknown faults =
        names |> List.tryFind (fun name -> faults |> List.forall (fun fault -> fault.Name <> name))

    let sound faults =
        let lists = faults |> List.collect _.Lists |> List.distinct
        say "mutants: building a copy without faults"
        refresh ()

        let built =
            lists
            |> List.map program
            |> List.distinct
            |> List.map (build ask [ "-restore" ])
            |> List.tryFind _.IsError

        match built with
        | Some(Error printed) -> Error $"the copy does not build: {compileError printed}"
        | _ ->
            match failuresOf ask lists with
            | 0, _ -> Ok faults
            | _, first -> Error $"a test fails without any fault: {first}"

    let attempt fault =
        let clock = Diagnostics.Stopwatch.StartNew()
        let verdict = judge ask fault

        let told =
            match verdict with
            | Caught(1, first) -> $"caught by 1 test: {first}"
            | Caught(count, first) -> $"caught by {count} tests, the first {first}"
            | Survived -> "SURVIVED " + String.Join(", ", fault.Lists)
            | Bad why -> $"ERROR: {why}"

        say $"{fault.Name}: {told} ({clock.Elapsed.TotalSeconds:F0} s)"
        verdict

    parse ()
    |> Result.bind (fun faults ->
        match unknown faults with
        | Some name -> Error $"{list} has no fault '{name}'"
        | None -> faults |> List.filter (fun f -> names.IsEmpty || List.contains f.Name names) |> sound)
    |> Result.map (fun faults ->
        let verdicts = faults |> List.map attempt
        let caught = verdicts |> List.filter _.IsCaught |> List.length
        caught, verdicts.Length - caught)
