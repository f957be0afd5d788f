/// Runs a tree of tests in order and tells what came of it.
module internal Expecto.Run

open System
open System.Diagnostics
open System.Threading

/// A test with its path from the root.
[<NoEquality; NoComparison>]
type Flat = { Path: string list; Code: TestCode; Pending: bool }

type Outcome =
    | Passed
    | Skipped of string
    | Failed of exn

let fullName test = String.Join(".", test.Path)

let flatten (tests: Test) =
    let rec walk path pending test = seq {
        let within state = pending || state = Pending

        match test with
        | TestCase(code, state) -> { Path = List.rev path; Code = code; Pending = within state }
        | TestList(tests, state) -> yield! tests |> Seq.collect (walk path (within state))
        | TestLabel(label, test, state) -> yield! walk (label :: path) (within state) test
        | Sequenced(_, test) -> yield! walk path pending test
    }

    walk [] false tests |> List.ofSeq

let private outcome (cancel: CancellationToken) test =
    try
        if test.Pending then
            Skipped "pending"
        else
            match test.Code with
            | Sync f -> f ()
            | SyncWithCancel f -> f cancel
            | Async f -> Async.RunSynchronously(f, cancellationToken = cancel)

            Passed
    with
    | :? IgnoreException as e -> Skipped e.Message
    | e -> Failed e

// The frames that a reader can act on: those with a source line, outside this project.
let private frames (e: exn) =
    StackTrace(e, true).GetFrames()
    |> Seq.filter (fun frame ->
        not (isNull (frame.GetFileName())) && frame.GetMethod().Module.Name <> "Expecto.dll")
    |> Seq.truncate 5
    |> Seq.map (fun frame -> $"   at {frame.GetFileName()}:{frame.GetFileLineNumber()}")

let private explain (e: exn) =
    let e =
        match e with
        | :? AggregateException as many when many.InnerExceptions.Count = 1 -> many.InnerException
        | _ -> e

    let text =
        match e with
        | :? ExpectoException -> e.Message
        | _ -> $"{e.GetType().FullName}: {e.Message}"

    let cause = if isNull e.InnerException then [] else [ $"because of {e.InnerException.Message}" ]
    String.Join("\n  ", [ text.ReplaceLineEndings "\n  "; yield! cause; yield! frames e ])

/// Runs the tests; `say` hears each one's name before it starts. Prints failures at once, and at the end the
/// slow tests and the closing line. The exit code is 0 where none failed.
let all (say: string -> unit) (listAll: bool) (cancel: CancellationToken) (tests: Flat list) =
    let results = [
        for test in tests do
            say (fullName test)
            let clock = Stopwatch.StartNew()
            let result = outcome cancel test
            let seconds = clock.Elapsed.TotalSeconds

            match result with
            | Failed e -> printfn "FAILED %s (%.2f s)\n  %s" (fullName test) seconds (explain e)
            | Passed when listAll -> printfn "passed %s (%.2f s)" (fullName test) seconds
            | Skipped why when listAll -> printfn "skipped %s: %s" (fullName test) why
            | _ -> ()

            fullName test, result, seconds
    ]

    for name, _, seconds in results |> List.sortByDescending (fun (_, _, s) -> s) |> List.truncate 10 do
        if seconds > 1.0 then printfn "%7.1f s  %s" seconds name

    let count kind = results |> List.filter (fun (_, result, _) -> kind result) |> List.length
    let failed = count _.IsFailed
    let skipped = count _.IsSkipped
    printfn
        "%d passed, %d failed%s"
        (count _.IsPassed)
        failed
        (if skipped = 0 then "" else $", {skipped} skipped")
    if failed = 0 then 0 else 1
