/// A name that a method uses and nothing defines is an error before training, with the nearest name.
module Tests.Methods.MethodCheckTests

open System.Collections.Generic
open Expecto
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.Arrays
open Support.TestRuns

let private withLoss loss (m: Method) = { m with Step = { m.Step with Loss = loss } }
let private objective loss (m: Method) = {
    m with
        Step = {
            m.Step with
                Adversaries = m.Step.Adversaries |> List.map (fun a -> { a with Objective = loss })
        }
}

let private total (x: TorchSharp.torch.Tensor) = x.square().mean()

// A typo, the method that has it, and what the sentence must hold.
let private typos =
    let loss f = withLoss (fun scene -> total (f scene))
    let labelled (scene: LossContext) =
        CrossEntropy.mean (LossContext.head "logits" "clean" "x" scene) (scene.Labels "clas")

    [
        "pass", SimClr.method |> loss (LossContext.embedding "claen" "v1"), [ "pass 'claen'"; "'clean'" ]
        "view",
        SimClr.method |> loss (LossContext.features "clean" "v11"),
        [ "view of pass 'clean' 'v11'"; "Did you mean 'v1'?" ]
        "head",
        Siamese.byol |> loss (LossContext.head "predicter" "p1" "v1"),
        [ "head 'predicter'"; "'predictor'" ]
        "labels", Supervised.classifier |> withLoss labelled, [ "labels 'clas'"; "'class'" ]
        "objective",
        Acl.dualStream |> objective (fun scene -> total (LossContext.embedding "adv" "a3" scene)),
        [ "view of pass 'adv' 'a3'"; "Did you mean 'a1'?" ]
        "measures",
        {
            SimClr.method with
                Step = {
                    SimClr.method.Step with
                        Measures = fun s -> [ "x", number (embedding "clean" "v" s) ]
                }
        },
        [ "view of pass 'clean' 'v'" ]
        "memory",
        {
            SimClr.method with
                Memory = {
                    Memory.none with
                        After = fun s -> Map [ "x", Leaf.Tensor(embedding "cleen" "v1" s) ]
                }
        },
        [ "pass 'cleen'"; "Did you mean 'clean'?" ]
    ]

[<Tests>]
let tests =
    testList "Methods.MethodCheck" [
        for what, method, parts in typos do
            test (sprintf "a typo in the %s is found before training" what) (fun () ->
                balanced (fun () ->
                    let error = List.exactlyOne (MethodCheck.faults method)
                    says parts error "sentence"
                    Expect.equal
                        (refusal (Workbench.train None ignore forever (brief "") method))
                        error
                        "refused"))

        test "a typo in a stage before the method is found too" (fun () ->
            let broken = SimClr.method |> withLoss (fun scene -> total (embedding "clean" "v3" scene))
            let whole = { SimClr.method with Before = [ Stage.Train("teacher", broken) ] }
            says [ "view of pass 'clean' 'v3'" ] (List.exactlyOne (MethodCheck.faults whole)) "sentence")

        test "a name that is wrong later in the run ends it with the same sentence" (fun () ->
            let late: Loss =
                fun scene ->
                    let view = if scene.Progress.Step < 2L then "v1" else "v11"
                    total (embedding "clean" view scene)

            let error =
                refusal (Workbench.train None ignore forever (brief "") (SimClr.method |> withLoss late))
            says [ "view of pass 'clean' 'v11'"; "Did you mean 'v1'?" ] error "sentence")

        test "a key that a map of the loss's own lacks is an error with a sentence" (fun () ->
            let weights = Dictionary<string, float>()
            let loss: Loss = fun scene -> total (embedding "clean" "v1" scene) * weights["w"]
            let error =
                refusal (Workbench.train None ignore forever (brief "") (SimClr.method |> withLoss loss))
            says [ "'w'"; "not there"; "Scene.head" ] error "sentence")
    ]
