/// Runs that come to nothing: they stop, and leave no poisoned checkpoint.
module Tests.Training.FiniteCheckTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.TestRuns
open Support

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
    testList "Training.FiniteCheck" [
        for what, problem, spoil in
            [
                "vanish", "has length 0", (fun (z: Tensor) -> z * 0.0)
                "are not finite", "not finite", (fun z -> z * nan)
                "overflow", "not finite", (fun z -> z * 1e38 * 1e38)
            ] do
            test (sprintf "embeddings that %s stop the run, and its last checkpoint is good" what) (fun () ->
                inFolder (fun folder ->
                    // In the middle of the second epoch of three steps.
                    let before = Autograd.liveTensors ()

                    match train folder (spoiled 4L spoil) with
                    | Error [ Error.Diverged(step, text) ] ->
                        Expect.equal step 5L "the step"
                        Expect.stringContains text problem "what is wrong"
                    | other -> failtestf "a divergence was expected: %A" (other |> Result.map ignore)

                    Expect.equal (Autograd.liveTensors ()) before "nothing left"
                    let checkpoint, warning = Expect.wantOk (Checkpoint.load folder) "loaded"
                    Expect.isNone warning "no warning"
                    Expect.equal checkpoint.State.Progress.Step 3L "of the last epoch's end"

                    for x in State.tensors checkpoint.State do
                        Expect.all (floats x) Double.IsFinite "a number"

                    State.dispose checkpoint.State

                    // With a loss that can be computed the run resumes from there.
                    let resumed = Workbench.resumeOf id folder ignore forever (spoiled -1L id)
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
                | Error [ Error.Diverged(step, problem) ] ->
                    Expect.stringContains problem "row 0 of 8 has length 0" "what is wrong"
                    Expect.equal step 4L "before the second epoch's first step"
                | other -> failtestf "a divergence was expected: %A" (other |> Result.map ignore)

                Expect.equal (Autograd.liveTensors ()) before "nothing left"
                Expect.isTrue (Checkpoint.existsIn folder) "the first epoch's checkpoint"))

        test "a run that diverges at once leaves no checkpoint" (fun () ->
            inFolder (fun folder ->
                let error = refusal (train folder (spoiled 0L (fun z -> z * 0.0)))
                says [ "step 1"; "learning rate" ] error "sentence"
                Expect.isFalse (Checkpoint.existsIn folder) "none"))

        test "an embedding of zeros is named with its image, view and pass" (fun () ->
            // All embeddings of this network are 0: its last batch norm has no weight and no shift.
            let head =
                Named.create "zero" (fun (network: Network) ->
                    let zero (output: Output) = { output with Embedding = output.Embedding * 0.0 }

                    {
                        network with
                            Apply =
                                fun call p b x ->
                                    let output, buffers = network.Apply call p b x
                                    zero output, buffers
                            Fold =
                                fun fixed' ->
                                    let run = network.Fold fixed'
                                    fun x -> zero (run x)
                    })

            for m, pass in [ SimClr.method, "clean"; Acl.adversarialToAdversarial, "adv" ] do
                let error = refusal (Workbench.train None ignore forever (brief "") { m with Head = head })
                says
                    [ "step 1"; "embedding of image"; sprintf "pass '%s'" pass; "is zero"; "wider" ]
                    error
                    m.Name)

        test
            "the parameter, statistic or optimizer state that is not finite is named, or the gradient"
            (fun () ->
                let m = SimClr.method |> updating (adam 1e-3)
                use data = SmallMethods.middles 24

                SmallMethods.tryingOn data m (fun t ->
                    let state = SmallMethods.inScope (Trainer.start t)
                    let gradients = TensorTree.under "gradient" (TensorTree.ofTensors (fst state.Online))
                    Expect.isNone (FiniteCheck.ofTree gradients (State.toTree state)) "a sound state"
                    let parameters, buffers = state.Online
                    let spoilt name (tensors: Map<string, Tensor>) =
                        tensors |> Map.add name (tensors[name] * infinity)
                    let named (tree: TensorTree) (state: State) =
                        Expect.wantSome (FiniteCheck.ofTree tree (State.toTree state)) "a problem"

                    let statistic = "bn5.running_var@clean"
                    let text = named gradients { state with Online = parameters, spoilt statistic buffers }
                    Expect.stringContains text ("'online/buffers/" + statistic + "'") "a statistic"
                    let text =
                        named gradients { state with Online = spoilt "conv1.weight" parameters, buffers }
                    Expect.stringContains text "'online/parameters/conv1.weight'" "a parameter"
                    let memory = Map [ "queue", Leaf.Tensor(torch.tensor [| 1.0f; nanf |]) ]
                    Expect.stringContains
                        (named gradients { state with Memory = memory })
                        "'memory/queue' holds 1 values of 2"
                        "memory"
                    let broken =
                        TensorTree.under
                            "gradient"
                            (TensorTree.ofTensors (spoilt "conv2.weight" parameters))
                    Expect.stringContains
                        (named broken { state with Memory = memory })
                        "'gradient/conv2.weight'"
                        "its cause"))

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
