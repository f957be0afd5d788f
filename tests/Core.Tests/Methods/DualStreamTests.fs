/// Losses of two streams, clean and adversarial, as the methods weigh them.
module Tests.Methods.DualStreamTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support

// Passes and views of the four embeddings of a published case.
let private ofAcl = [
    ("clean", "v1"), "nor1"
    ("clean", "v2"), "nor2"
    ("adv", "a1"), "adv1"
    ("adv", "a2"), "adv2"
]

let private ofDynAcl = [
    ("clean", "v1"), "nor1"
    ("clean-slow", "v2"), "nor2"
    ("adv", "a1"), "adv1"
    ("adv-slow", "a2"), "adv2"
]

// A method's loss and its gradients on a case's embeddings, at some progress.
let private lossOf (m: Method) places progress case =
    let inputs =
        places
        |> List.map (fun (_, name) -> name, (GoldenValues.array [ "inputs"; name ] case).requires_grad_ true)
        |> Map.ofList

    let places = Map.ofList places

    let value =
        m.Step.Loss {
            Progress = progress
            Memory = Map.empty
            Ids = [||]
            Labels = fun _ -> raise UnlabelledException
            Output =
                fun pass view ->
                    let z = inputs[places[(pass, view)]]
                    { Features = z; Embedding = z; Heads = Map.empty }
            Gather = fun z -> z.alias ()
        }

    let gradients = torch.autograd.grad (ResizeArray [ value ], ResizeArray(Map.values inputs))
    number value, Seq.zip inputs.Keys (Seq.map floats gradients) |> List.ofSeq

let private agrees tolerance case (value, gradients) =
    close tolerance [| value |] [| GoldenValues.real [ "published"; "value" ] case |] "value"

    for name, gradient in gradients do
        close tolerance gradient (GoldenValues.values [ "published"; "gradients"; name ] case) name

let private tolerance case = GoldenValues.real [ "tolerance" ] case

[<Tests>]
let tests =
    testList "Methods.DualStream" [
        for case in GoldenValues.ofLosses "loss acl.ds" do
            test
                (GoldenValues.text [ "id" ] case + ": the preset is the published code's, to the last digits")
                (fun () ->
                    let at = Progress.start 1 1
                    lossOf Acl.dualStreamAsPublished ofAcl at case |> agrees 1e-12 case
                    lossOf Acl.dualStream ofAcl at case |> agrees (tolerance case) case)

        for case in GoldenValues.ofLosses "loss dynacl" do
            test (GoldenValues.text [ "id" ] case) (fun () ->
                let whole name = GoldenValues.whole [ "hyper"; name ] case
                // Published epochs count from 1.
                let at = Progress.atEpoch (whole "epoch" - 1) (Progress.start 7 (whole "epochs"))
                let omega = (DynAcl.gain (whole "K")).Run at
                close 1e-12 [| omega |] [| GoldenValues.real [ "hyper"; "omega" ] case |] "omega"
                lossOf DynAcl.method ofDynAcl at case |> agrees (tolerance case) case)

        test "omega takes from the clean stream what it gives to the adversarial one" (fun () ->
            let weighted omega = number (DynAcl.weighted omega (tensor [] [| 2.0 |]) (tensor [] [| 5.0 |]))
            close 1e-12 [| weighted 0.0; weighted 0.5; weighted 1.0 |] [| 3.5; 4.25; 5.0 |] "loss")

        test "augmentation weakens by blocks of fifty epochs, and omega gains with it" (fun () ->
            let at epoch = Progress.atEpoch epoch (Progress.start 3 1000)
            let strengths = [| for epoch in [ 0; 49; 50; 99; 950; 999 ] -> DynAcl.strength.Run(at epoch) |]
            close 1e-12 strengths [| 1.0; 1.0; 0.95; 0.95; 0.05; 0.05 |] "strength"
            let gains = [| for epoch in [ 0; 48; 49; 98; 99; 999 ] -> (DynAcl.gain 50).Run(at epoch) |]
            close 1e-12 gains (times (2.0 / 3.0) [| 0.0; 0.0; 0.05; 0.05; 0.1; 1.0 |]) "omega")

        test
            "A-InfoNCE's pull is the least until the mean has settled and beyond it, and rises to a half"
            (fun () ->
                let pull = AdvCl.pullAt 0.2 30 0.4
                Expect.equal (pull 29 1.0 0.1) 0.2 "while the mean settles"
                Expect.equal (pull 30 1.0 1.1) 0.2 "farther than the mean"
                Expect.equal (pull 30 1.0 0.3) 0.5 "nearer than the bound"
                close
                    1e-12
                    [| pull 30 1.0 1.0; pull 30 1.0 0.7; pull 30 1.0 0.4 |]
                    [| 0.2; 0.35; 0.5 |]
                    "between")
    ]
