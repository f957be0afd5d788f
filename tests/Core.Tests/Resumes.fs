/// That the same seed gives the same bytes, and that a run of every method goes on exactly from a checkpoint.
module Resumes

open Expecto
open TorchSharp
open AdvContrast.Core
open Fixtures
open Laws
open Trials

[<Tests>]
let tests =
    testList "Resumes" [
        for m in Registry.methods @ Registry.asPublished do
            trial m "saved and resumed it goes on bit for bit, and the same seed gives the same run" (fun t ->
                inFolder (fun folder ->
                    let start () = Training.start t
                    let taken = advance 2 t start

                    let hash =
                        try
                            let checkpoint = {
                                Configuration = sizes
                                Input = grey
                                Deployment = Deployment.ofMethod true t.Method
                                Provenance = None
                                State = taken
                            }
                            Expect.isOk (Checkpoint.save folder 2 checkpoint) "saved"
                            Tree.hash (State.toTree taken)
                        finally
                            State.dispose taken

                    let whole = trace 4 t start
                    Expect.equal (fst whole[1]) hash "the same seed"
                    Expect.notEqual (fst whole[2]) hash "a step changes it"
                    let loaded, _ = Expect.wantOk (Checkpoint.load folder) "loaded"
                    Expect.equal (trace 2 t (fun () -> loaded.State)) whole[2..] "resumed"))
    ]
