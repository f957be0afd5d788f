/// Methods with their published quirks beside the same without: different where they should be, and only there.
module Tests.Methods.PresetTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.SmallMethods
open Tests.Methods

// What a step gives in double precision: its loss, gradients, running statistics.
type private Given = { Loss: float[]; Gradients: Map<string, float[]>; Statistics: Map<string, float[]> }

let private wide (x: Tensor) = if x.is_floating_point () then x.``to`` torch.float64 else x.alias ()

let private wideModel (model: Model) = {
    model with
        Weights = Map.map (fun _ -> wide) (fst model.Weights), Map.map (fun _ -> wide) (snd model.Weights)
}

let private given (m: Method) : Given =
    trying m (fun t ->
        let state =
            inScope (Trainer.start t)
            |> State.toTree
            |> Map.map (fun _ leaf ->
                match leaf with
                | Leaf.Tensor x -> Leaf.Tensor(wide x)
                | other -> other)
            |> State.ofTree

        let batch = Trainer.nextBatch t state.Progress
        let batch = { batch with Images = batch.Images |> Map.map (fun _ -> wide) }
        let machine = { t.Machine with Frozen = t.Machine.Frozen |> Map.map (fun _ -> wideModel) }
        let loss scene = number (t.Method.Step.Loss scene)
        let method = t.Method |> measuring (fun scene -> [ "loss", loss scene ])
        let outcome = TrainStep.run machine method everything state batch

        {
            Loss = [| snd outcome.Measures.Head |]
            Gradients = outcome.Gradients |> Map.map (fun _ -> floats)
            Statistics = outcome.Buffers |> Map.map (fun _ -> floats)
        })

let private differ (a: Map<string, float[]>) (b: Map<string, float[]>) =
    Expect.equal (Seq.toList a.Keys) (Seq.toList b.Keys) "names"
    a |> Map.exists (fun name x -> normInf (minus x b[name]) > 1e-12)

// Whether loss, gradients and statistics are others than those of the method without the quirks.
let private quirks = [
    "clae-n-pair", (false, false, true)
    "acl-ds", (true, true, false)
    "a-infonce-ip", (true, true, true)
    "a-infonce-hn", (true, true, true)
    "a-infonce-ip-hn", (true, true, true)
    "rocl", (true, true, false)
    "a-infonce-rocl-ip", (true, true, false)
    "a-infonce-rocl-hn", (true, true, false)
    "a-infonce-rocl-ip-hn", (true, true, false)
    "dynacl++", (true, true, true)
    "acl-air", (true, true, false)
    "dynacl-air", (true, true, false)
    "robust-emp-ssl", (false, true, true)
    // Its quirk is the rate.
    "cf-amc-ssl", (false, false, false)
]

let private find name = Expect.wantOk (MethodRegistry.find name) name

[<Tests>]
let tests =
    testList "Methods.Preset" [
        test "each preset is named after a method, and compared with it here" (fun () ->
            let names = MethodRegistry.asPublished |> List.map (fun m -> m.Name.Replace(":as-published", ""))
            // C-LEAD's is another method: made once against a classifier, not at every step.
            Expect.equal (List.sort names) (List.sort ("c-lead" :: List.map fst quirks)) "names"

            for m in MethodRegistry.asPublished do
                Expect.stringEnds m.Name ":as-published" "name"
                Expect.isNonEmpty m.Quirks m.Name)

        for name, differences in quirks do
            test (name + ": differs from its preset where it should") (fun () ->
                let plain, published = given (find name), given (find (name + ":as-published"))
                let found =
                    normInf (minus plain.Loss published.Loss) > 1e-12,
                    differ plain.Gradients published.Gradients,
                    differ plain.Statistics published.Statistics
                Expect.equal found differences "loss, gradients, statistics")

        test "C-LEAD's preset starts from its classifier and draws images to stored attacks on it" (fun () ->
            let preset = find "c-lead:as-published"

            trying preset (fun t ->
                let state = inScope (Trainer.start t)
                let classifier = t.Machine.Frozen["classifier"]
                let name = "conv3.weight"
                Expect.equal
                    (bits (weight name state.Online))
                    (bits (weight name classifier.Weights))
                    "weights to start from"
                let batch = Trainer.nextBatch t state.Progress
                Expect.equal (Seq.toList batch.Images.Keys) [ "cw"; "image"; "pgd" ] "images"
                Expect.notEqual (bits batch.Images["pgd"]) (bits batch.Images["cw"]) "two attacks"
                let outcome = TrainStep.run t.Machine t.Method everything state batch
                Expect.isGreaterThan outcome.Loss 0.0 "a step"))

        // From the image itself TRADES' objective has no slope, so what DynACL++'s preset follows is rounding.
        for m in MethodRegistry.asPublished |> List.filter (fun m -> m.Name <> "dynacl++:as-published") do
            for at in 0 .. m.Step.Adversaries.Length - 1 do
                trial m (sprintf "adversary %d raises what it is to raise" (at + 1)) (fun t ->
                    let state = inScope (advance 3 t (fun () -> Trainer.start t))
                    let flat, raised = EveryMethodTests.climb t state at
                    Expect.isGreaterThan raised flat "its objective")

        test "DynACL++ attacks from beside the image, its preset from the image itself" (fun () ->
            let start name = (List.exactlyOne (find name).Step.Adversaries).Ascent.Start
            Expect.equal (start "dynacl++") (Gaussian 0.001) "noise"
            Expect.equal (start "dynacl++:as-published") AtInput "where there is no slope")

        test "CF-AMC-SSL's published rate moves three times as fast" (fun () ->
            // A vector's first update is its gradient times the rate and a constant.
            let rate name step =
                let g: Parameters = Map [ "bias", torch.ones [| 1L |] ]
                let rule = (find name).Recipe.Optimizer
                let at = { Progress.start 30 10 with Step = step }
                let updates, _ = rule.Update at g g (rule.Init g)
                number updates["bias"]

            let top = rate "cf-amc-ssl" 0L
            let parts name = [| for step in [ 0L; 100L; 200L; 300L ] -> rate name step / top |]
            close 1e-6 (parts "cf-amc-ssl") [| 1.0; 0.75; 0.25; 0.0 |] "once"
            close 1e-6 (parts "cf-amc-ssl:as-published") [| 1.0; 0.0; 1.0; 0.0 |] "three times")
    ]
