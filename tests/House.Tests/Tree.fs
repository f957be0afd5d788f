/// That a test program tells failures from successes and says what failed.
module Tree

open System
open System.IO
open Expecto
open AdvContrast.Testing
open AdvContrast

// The exit code of a run of its own, and what it printed.
let private run args tests =
    let out = Console.Out
    use printed = new StringWriter()
    Console.SetOut printed

    try
        let code = Testing.run args (testList "inner" tests)
        code, printed.ToString()
    finally
        Console.SetOut out

let private passing = testCase "passes" ignore
let private failing = testCase "fails" (fun () -> Expect.equal 1 2 "one is two")

[<Tests>]
let tests =
    testList "Tree" [
        testCase "succeeds where all tests pass" (fun () ->
            Expect.equal (run [||] [ passing ] |> fst) 0 "exit code")

        testCase "fails where an expectation fails" (fun () ->
            Expect.notEqual (run [||] [ passing; failing ] |> fst) 0 "exit code")

        testCase "fails where a test raises" (fun () ->
            Expect.notEqual
                (run [||] [ testCase "raises" (fun () -> raise (IOException "disk")) ] |> fst)
                0
                "exit code")

        testCase "does not run what is pending, and passes what is skipped" (fun () ->
            let pending = ptestCase "pending" (fun () -> failtest "ran")
            let skipped = testCase "skipped" (fun () -> skiptest "not here")
            Expect.equal (run [||] [ passing; pending; skipped ] |> fst) 0 "exit code")

        testCase "runs what a filter names" (fun () ->
            Expect.equal (run [| "--filter"; "inner.passes" |] [ passing; failing ] |> fst) 0 "by path"
            Expect.equal
                (run [| "--filter-test-case"; "ass" |] [ passing; failing ] |> fst)
                0
                "by part of the name")

        testCase "closes with what passed, failed and was skipped" (fun () ->
            let raising = testCase "raises" (fun () -> raise (IOException "disk"))
            let printed = run [||] [ passing; failing; raising; ptestCase "pending" ignore ] |> snd
            Expect.stringEnds printed "\n1 passed, 2 failed, 1 skipped\n" "closing line"
            Expect.isMatch printed @"(?m)^FAILED inner\.fails \(" "name of what failed"
            Expect.stringContains printed "one is two" "its message"
            Expect.isMatch printed @"at .*Tree\.fs:line \d+" "its place"
            Expect.stringContains printed "System.IO.IOException: disk" "the exception"
            Expect.equal (run [||] [ passing ] |> snd) "1 passed, 0 failed\n" "closing line")

        testCase "tests a property on the same cases in every run" (fun () ->
            let cases () =
                let seen = ResizeArray()
                run [||] [ testProperty "holds" (fun (n: int) -> seen.Add n) ] |> ignore
                List.ofSeq seen

            let first = cases ()
            Expect.hasLength first 100 "cases"
            Expect.equal (cases ()) first "the same cases")

        testCase "prints the command that tests a property on the failing case first" (fun () ->
            let mutable cases = 0

            let never = [
                testProperty "never" (fun (n: int) ->
                    cases <- cases + 1
                    n < 40)
            ]

            let printed = run [||] never |> snd
            Expect.isGreaterThan cases 20 "cases before the failure and after it"
            let replay = Text.RegularExpressions.Regex.Match(printed, @"ADVCONTRAST_REPLAY=(\d+,\d+,\d+)")
            Expect.stringContains printed "dotnet fsi build.fsx test --filter \"inner.never\"" "command"
            Environment.SetEnvironmentVariable("ADVCONTRAST_REPLAY", replay.Groups[1].Value)

            try
                Expect.stringContains (run [||] never |> snd) "Failed after 1 test." "the replay"
            finally
                Environment.SetEnvironmentVariable("ADVCONTRAST_REPLAY", null))

        testCase "holds no number to be less than another where one is NaN" (fun () ->
            for a, b in [ nan, 1.0; 1.0, nan; nan, nan ] do
                Expect.throws (fun () -> Testing.Expect.isLessThan a b "less") "less"
                Expect.throws (fun () -> Testing.Expect.isLessThanOrEqual a b "at most") "at most")
    ]
