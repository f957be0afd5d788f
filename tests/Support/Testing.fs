/// What the test programs share: finding their tests, running them one after another and printing failures.
module AdvContrast.Testing

open System
open System.IO
open System.Reflection
open System.Text.RegularExpressions
open Expecto
open Expecto.Impl
open FsCheck

// --- running

let private variable = "ADVCONTRAST_REPLAY"

// The variable holds SEED, or SEED,GAMMA,SIZE as a failure prints them. Without it a fixed seed is used.
let private replay () =
    let given = Environment.GetEnvironmentVariable variable

    match (if String.IsNullOrEmpty given then "1" else given).Split ',' with
    | [| seed; gamma; size |] -> uint64 seed, uint64 gamma, Some(int size)
    | numbers ->
        let start = Rnd(uint64 numbers[0])
        start.Seed, start.Gamma, None

let private seeded tests =
    let withReplay (config: FsCheckConfig) = {
        config with
            replay = config.replay |> Option.orElseWith (replay >> Some)
    }

    tests
    |> Test.replaceTestCode (fun name code ->
        let code =
            match code with
            | AsyncFsCheck(config, stress, check) -> AsyncFsCheck(config, stress, withReplay >> check)
            | other -> other

        testLabel name (TestCase(code, Normal)))

// Drops the stack frames of libraries and the middle of a long text, and turns FsCheck's seed into a command.
let private readable name (text: string) =
    let frames = Regex(@"^ +at (Expecto|FsCheck|Microsoft\.FSharp|System)\..*\n?", RegexOptions.Multiline)
    let focus = Regex @"Focus on error:\s+\w+ \((\d+)UL, (\d+)UL, Some (\d+)\).*"
    let command = $"Replay: {variable}=$1,$2,$3 dotnet fsi build.fsx test --filter \"{name}\""
    let text = focus.Replace(frames.Replace(text.Trim(), ""), command).TrimEnd()

    let text = if text.Length <= 6000 then text else text[..2999] + "\n...\n" + text[text.Length - 3000 ..]

    text.ReplaceLineEndings "\n  "

// Whether garbage is collected before each test, so that a finalizer that fails ends the program.
let private collects =
    not (String.IsNullOrEmpty(Environment.GetEnvironmentVariable "ADVCONTRAST_COLLECT"))

let private collect () =
    GC.Collect()
    GC.WaitForPendingFinalizers()

// Writes to the console as it is before the run: Expecto then replaces it by a writer that pads short lines.
let private printer (out: TextWriter) debug =
    let failed name text (time: TimeSpan) = async {
        out.WriteLine $"FAILED {name} (%.2f{time.TotalSeconds} s)\n  {readable name text}"
    }

    let summary (config: ExpectoConfig) (run: TestRunSummary) = async {
        for test, result in
            run.results |> List.sortByDescending (fun (_, r) -> r.duration) |> List.truncate 10 do
            if result.duration.TotalSeconds > 1.0 then
                out.WriteLine $"%7.1f{result.duration.TotalSeconds} s  {config.joinWith.format test.name}"

        let skipped = if run.ignored.IsEmpty then "" else $", {run.ignored.Length} skipped"
        out.WriteLine $"{run.passed.Length} passed, {run.failed.Length + run.errored.Length} failed{skipped}"
    }

    {
        TestPrinters.silent with
            beforeEach =
                fun name _ -> async {
                    if debug then out.WriteLine $"running {name}"
                    if collects then collect ()
                }
            failed = failed
            exn = fun name error -> failed name (string error)
            summary = summary
    }

/// Runs tests one after another and prints `N passed, N failed[, N skipped]` as the last line. `args` are
/// Expecto's (`--filter PATH`, ...); `--debug` prints each test's name before it starts. The exit code is 0
/// where none failed.
let run (args: string[]) (tests: Test) : int =
    let settings = [
        Printer(printer Console.Out (Array.contains "--debug" args))
        No_Spinner
        Colours 0
        Fail_On_Focused_Tests
    ]

    tests |> seeded |> testSequenced |> runTestsWithCLIArgs settings args

// Expecto does not find a list without the attribute, or one that is not public.
let private marked (program: Assembly) =
    testCase "every list of tests is marked" (fun () ->
        let all = BindingFlags.Static ||| BindingFlags.Public ||| BindingFlags.NonPublic

        let lost = [
            for holder in program.GetTypes() do
                for list in holder.GetProperties all |> Seq.filter (fun p -> p.PropertyType = typeof<Test>) do
                    let isPublic = list.GetMethod.IsPublic
                    let isMarked = list.IsDefined typeof<TestsAttribute>

                    if (isPublic || isMarked) && not (isPublic && isMarked && holder.IsVisible) then
                        $"{holder.Name}.{list.Name}"
        ]

        Expect.equal lost [] "lists that do not run")

/// Runs the lists of tests that this program marks with `[<Tests>]`, under one name. The exit code is 0 where
/// there are tests and none failed.
let main (name: string) (args: string[]) : int =
    match TestDiscovery.testFromThisAssembly () with
    | Some tests -> run args (testList name [ tests; marked (Assembly.GetEntryAssembly()) ])
    | None ->
        eprintfn $"{name} has no tests"
        1

// --- tests

/// A test that a property holds for `count` cases.
let testPropertyN (count: int) (name: string) property =
    testPropertyWithConfig { FsCheckConfig.defaultConfig with maxTest = count } name property

/// A test that takes long: it runs under `test --long` and counts as skipped otherwise.
let testLong (name: string) (test: unit -> unit) =
    let long = Environment.GetEnvironmentVariable "ADVCONTRAST_LONG"
    (if String.IsNullOrEmpty long then ptestCase else testCase) name test

/// These fail where a number is NaN, and Expecto's own do not.
module Expect =
    let isLessThan a b message =
        if not (a < b) then failtestf "%s. Expected %A to be less than %A." message a b

    let isLessThanOrEqual a b message =
        if not (a <= b) then failtestf "%s. Expected %A to be less than or equal to %A." message a b
