/// That the test tree tells failures from successes, whoever supplies it.
module Tree

open System
open System.IO
open Expecto
open AdvContrast.Testing.Property

// The exit code of a run of its own, and what it printed.
let private run args tests =
    let out, error = Console.Out, Console.Error
    use printed = new StringWriter()
    Console.SetOut printed
    Console.SetError printed

    try
        let code = runTestsWithCLIArgs [ No_Spinner ] args (testList "inner" tests)
        code, printed.ToString()
    finally
        Console.SetOut out
        Console.SetError error

let private passing = testCase "passes" ignore
let private failing = testCase "fails" (fun () -> Expect.equal 1 2 "one is two")

let tests =
    testList "Tree" [
        testCase "succeeds where all tests pass" (fun () ->
            Expect.equal (run [||] [ passing ] |> fst) 0 "exit code")

        testCase "fails where an expectation fails" (fun () ->
            Expect.equal (run [||] [ passing; failing ] |> fst) 1 "exit code")

        testCase "fails where a test raises" (fun () ->
            Expect.equal
                (run [||] [ testCase "raises" (fun () -> raise (IOException "disk")) ] |> fst)
                1
                "exit code")

        testCase "does not run what is pending, and passes what is skipped" (fun () ->
            let pending = ptestCase "pending" (fun () -> failtest "ran")
            let skipped = testCase "skipped" (fun () -> skiptest "not here")
            Expect.equal (run [||] [ passing; pending; skipped ] |> fst) 0 "exit code")

        testCase "fails where an argument is unknown" (fun () ->
            Expect.notEqual (run [| "--no-such-thing" |] [ passing ] |> fst) 0 "exit code")

        testCase "fails where two tests bear one name" (fun () ->
            Expect.notEqual (run [||] [ passing; passing ] |> fst) 0 "exit code")

        testCase "runs what a filter names" (fun () ->
            Expect.equal (run [| "--filter"; "inner.passes" |] [ passing; failing ] |> fst) 0 "by path"
            Expect.equal
                (run [| "--filter-test-case"; "ass" |] [ passing; failing ] |> fst)
                0
                "by part of the name")

        testCase "fails where a property does not hold" (fun () ->
            let code = run [||] [ testProperty "small" (fun (n: int) -> abs n < 5) ] |> fst
            Expect.equal code 1 "exit code")

        testProperty "holds where a property holds" (fun (a: int) (b: int) -> a + b = b + a)

#if OWN_EXPECTO
        testCase "closes with what passed, failed and was skipped" (fun () ->
            let printed = run [||] [ passing; failing; ptestCase "pending" ignore ] |> snd
            Expect.stringEnds (printed.TrimEnd()) "1 passed, 1 failed, 1 skipped" "closing line"
            Expect.stringContains printed "FAILED inner.fails" "name of what failed"
            Expect.stringContains printed "one is two" "its message"
            Expect.stringEnds ((run [||] [ passing ] |> snd).TrimEnd()) "1 passed, 0 failed" "closing line")

        testCase "tells how to run a failed property again" (fun () ->
            let printed = run [||] [ testProperty "never" (fun (_: int) -> false) ] |> snd
            Expect.isMatch printed @"ADVCONTRAST_REPLAY=\d+,\d+,\d+" "seed, gamma and size")
#endif
    ]
