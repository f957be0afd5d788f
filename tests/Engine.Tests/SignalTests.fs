module SignalTests

open Child
open Expecto

[<Tests>]
let tests =
    testList "Signals" [
        testCase "threads that multiplied bfloat16 matrices catch null references" (fun () ->
            let outcome = run [] "catch-after-products"
            Expect.equal (outcome.Code, outcome.Lines, outcome.Errors) (0, [ "caught 80" ], []) "outcome")
    ]
