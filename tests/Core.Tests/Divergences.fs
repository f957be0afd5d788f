/// Runs that come to nothing: they stop, and leave no poisoned checkpoint.
module Divergences

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open Arrays
open Fixtures
open Laws
open Making
open Working

// SimCLR with a loss of its own after some steps.
let private spoiled step (spoil: Tensor -> Tensor) =
    let contrast: Loss =
        fun scene ->
            let a, b = embedding "clean" "v1" scene, embedding "clean" "v2" scene
            let a = if scene.Progress.Step = step then spoil a else a.alias ()
            InfoNce.ntXent 0.5 a b

    let m = SimClr.method |> updating (adam 1e-3)
    { m with Name = "spoiled"; Step = { m.Step with Loss = contrast } }

let private train folder m = Workbench.train (Some folder) ignore forever (brief "") m

[<Tests>]
let tests =
    testList "Divergences" [
        for what, spoil in
            [
                "vanish", (fun (z: Tensor) -> z * 0.0)
                "are not finite", (fun z -> z * nan)
                "overflow", (fun z -> z * 1e38 * 1e38)
            ] do
            test (sprintf "embeddings that %s stop the run, and its last checkpoint is good" what) (fun () ->
                inFolder (fun folder ->
                    // In the middle of the second epoch of three steps.
                    let before = Autograd.liveTensors ()

                    match train folder (spoiled 4L spoil) with
                    | Error [ Error.Diverged(step, loss) ] ->
                        Expect.equal step 5L "the step"
                        Expect.isNaN loss "its loss"
                    | other -> failtestf "a divergence was expected: %A" (other |> Result.map ignore)

                    Expect.equal (Autograd.liveTensors ()) before "nothing left"
                    let checkpoint, warning = Expect.wantOk (Checkpoint.load folder) "loaded"
                    Expect.isNone warning "no warning"
                    Expect.equal checkpoint.State.Progress.Step 3L "of the last epoch's end"

                    for x in State.tensors checkpoint.State do
                        Expect.all (floats x) Double.IsFinite "a number"

                    State.dispose checkpoint.State

                    // With a loss that can be computed the run goes on from there.
                    let resumed = Workbench.resumeOf folder ignore forever (spoiled -1L id)
                    let whole = Workbench.train None ignore forever (brief "") (spoiled -1L id)
                    Expect.equal
                        (weightsOf (Expect.wantOk (told resumed) "resumed"))
                        (weightsOf (Expect.wantOk (told whole) "whole"))
                        "as if nothing had happened"))

        test "a network that has collapsed before a coreset is chosen stops the run too" (fun () ->
            inFolder (fun folder ->
                let collapsing: Coreset = {
                    Text = "none"
                    HeldOut = 1
                    Due = fun p -> p.Epoch = 1
                    Choose = fun _ _ -> raise (EmbeddingException("row 0 of 8 has length 0.", "view1"))
                }

                let m = { spoiled -1L id with Sampling = Chosen collapsing }
                let before = Autograd.liveTensors ()

                match train folder m with
                | Error [ Error.Diverged(step, _) ] ->
                    Expect.equal step 4L "before the second epoch's first step"
                | other -> failtestf "a divergence was expected: %A" (other |> Result.map ignore)

                Expect.equal (Autograd.liveTensors ()) before "nothing left"
                Expect.isTrue (Checkpoint.existsIn folder) "the first epoch's checkpoint"))

        test "a run that diverges at once leaves no checkpoint" (fun () ->
            inFolder (fun folder ->
                let error = refusal (train folder (spoiled 0L (fun z -> z * 0.0)))
                says [ "step 1"; "--learning-rate" ] error "sentence"
                Expect.isFalse (Checkpoint.existsIn folder) "none"))

        test "a fault of the method is no divergence" (fun () ->
            inFolder (fun folder ->
                let before = Autograd.liveTensors ()
                let narrowed = spoiled 1L (fun z -> z.narrow (1L, 0L, 3L))
                let mutable raised = None

                try
                    train folder narrowed |> ignore
                with e ->
                    raised <- Some e

                match raised with
                | Some(:? EmbeddingException) -> failtest "a wrong shape is no collapse"
                | Some(:? ArgumentException as e) -> Expect.stringContains e.Message "view2" "what is wrong"
                | other -> failtestf "an ArgumentException was expected: %A" other

                Expect.equal (Autograd.liveTensors ()) before "nothing left"))
    ]
