/// That the same seed gives the same bytes, and that a run of every method resumes exactly from a checkpoint.
module Tests.Runs.ResumeEqualityTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Fixtures
open Support.Laws
open Support.SmallMethods

[<Tests>]
let tests =
    testList "Runs.ResumeEquality" [
        for m in MethodRegistry.methods @ MethodRegistry.asPublished do
            trial
                m
                "saved and resumed it continues bit for bit, and the same seed gives the same run"
                (fun t ->
                    inFolder (fun folder ->
                        let start () = Trainer.start t
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
                                TensorTree.hash (State.toTree taken)
                            finally
                                State.dispose taken

                        let whole = trace 4 t start
                        Expect.equal (fst whole[1]) hash "the same seed"
                        Expect.notEqual (fst whole[2]) hash "a step changes it"
                        let loaded, _ = Expect.wantOk (Checkpoint.load folder) "loaded"
                        Expect.equal (trace 2 t (fun () -> loaded.State)) whole[2..] "resumed"))
    ]
