/// FsCheck's properties as tests of the tree.
module AdvContrast.Testing.Property

open System
open Expecto
open FsCheck

let private variable = "ADVCONTRAST_REPLAY"

// Fixed unless said otherwise, so that two runs of the suite meet the same cases.
let private replay () =
    match Environment.GetEnvironmentVariable variable with
    | null
    | "" -> { Rnd = Rnd 1UL; Size = None }
    | text ->
        let numbers = text.Split ','
        let size = if numbers.Length > 2 then Some(int numbers[2]) else None
        let seed = uint64 numbers[0]
        let rnd = if numbers.Length > 1 then Rnd(seed, uint64 numbers[1]) else Rnd seed
        { Rnd = rnd; Size = size }

/// A test that a property holds for `count` cases. A failure tells the smallest case and how to run it again.
let testPropertyN (count: int) name (property: 'testable) =
    testCase name (fun () ->
        let runner = {
            new IRunner with
                member _.OnStartFixture _ = ()
                member _.OnArguments(_, _, _) = ()
                member _.OnShrink(_, _) = ()

                member _.OnFinished(name, result) =
                    let told = Runner.onFinishedToString name result

                    match result with
                    | TestResult.Passed _ -> ()
                    | TestResult.Failed(_, _, _, _, _, at, size) ->
                        failtestf "%s\nreplay: %s=%d,%d,%d" (told.Trim()) variable at.Seed at.Gamma size
                    | TestResult.Exhausted _ -> failtest (told.Trim())
        }

        let config =
            Config.Quick.WithMaxTest(count).WithReplay(Some(replay ())).WithRunner(runner).WithName(name)

        Check.One(config, property))

/// A test that a property holds for 100 cases.
let testProperty name property = testPropertyN 100 name property

/// A test that takes long: it runs under `test --long` and counts as skipped otherwise.
let testLong name (test: unit -> unit) =
    if String.IsNullOrEmpty(Environment.GetEnvironmentVariable "ADVCONTRAST_LONG") then
        ptestCase name test
    else
        testCase name test
