module NativeHeapTests

open Child
open Expecto

let private faults environment =
    let outcome = run environment "allocate"
    Expect.equal (outcome.Code, outcome.Errors) (0, []) "exit code, standard error"
    float (outcome.Lines.Head.Replace("faults ", ""))

[<Tests>]
let tests =
    testList "NativeHeap" [
        testLinux "the memory of freed tensors is kept, unless the environment says otherwise" (fun () ->
            let kept = faults []

            for setting in [ "ADVCONTRAST_MALLOC", "default"; "MALLOC_TOP_PAD_", "131072" ] do
                Expect.isGreaterThan (faults [ setting ]) (10.0 * (kept + 1.0)) $"page faults with {setting}")
    ]
