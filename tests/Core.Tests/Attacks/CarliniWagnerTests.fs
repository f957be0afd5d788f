/// One run of Carlini and Wagner's L2 attack.
module Tests.Attacks.CarliniWagnerTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.CarliniWagnerOracle
open Support

[<Tests>]
let tests =
    testList "Attacks.CarliniWagner" [
        testPropertyN
            60
            "a run on linear classifiers is as a slow one has it"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, classes = 1 + count % 5, source.Whole(2, 4)
                    let model = model source classes
                    let how = {
                        Weight = nan
                        Confidence = source.Among [ 0.0; 0.3 ]
                        Steps = source.Whole(0, 45)
                        Rate = source.Uniform(0.01, 0.2)
                        Abort = source.Among [ true; false ]
                    }
                    let box = source.Among [ Some(0.0, 1.0); Some(-1.0, 2.0); None ]
                    let threat = { Threat.create L2 0.1 with Box = box }
                    // Some pixels on the faces of the box.
                    let pixels =
                        source.Uniforms(6 * n, -0.2, 1.2) |> Array.map (fun v -> min 1.0 (max 0.0 v))
                    let images = tensor [ n; 1; 2; 3 ] pixels
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let targets = y |> Array.map (fun y -> (y + 1) % classes)
                    let weights = Array.init n (fun _ -> 10.0 ** source.Uniform(-2.0, 1.0))
                    let victims = victims (Array.init n int64) images y
                    let victims =
                        if targeted then { victims with Targets = Some(labels targets) } else victims
                    let harm =
                        CarliniWagnerSearch.at how threat (linear model) victims (tensor [ n ] weights)

                    let expected =
                        rows images
                        |> Array.mapi (fun i x ->
                            let target = if targeted then Some targets[i] else None
                            slow how threat model x y[i] target weights[i])

                    same (deeds harm) expected "report"
                    let moved = Array.map2 minus (rows harm.Images) (rows images)
                    close 1e-12 (floats harm.Distance[L2]) (moved |> Array.map norm2) "distance"))

        testPropertyN
            4
            "it is never nearer than the border, and with patience hardly further"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model = model source 2
                    let images = noise source [ 6; 1; 2; 3 ]
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let how = { CarliniWagner.defaults with Steps = 400; Weight = 10.0; Abort = false }
                    let draw = Rng.create 1UL "a" (Array.init 6 int64)
                    let victims = victims draw.Ids images y
                    let far = rows images |> Array.map (border model)
                    let near threat =
                        let harm = (CarliniWagner.attack how).Run draw threat (linear model) victims
                        Array.zip (truths harm.Success) (floats harm.Distance[L2])

                    for far, (found, near) in Array.zip far (near unbound) do
                        if found then
                            Expect.isGreaterThanOrEqual near (far - 1e-9) "unbounded pixels"
                            Expect.isLessThanOrEqual near (1.1 * far + 0.02) "not far beyond"

                        // c |w| outweighs the distance's own pull, and 400 steps of 0.01 get there.
                        if far < 1.0 then Expect.isTrue found "found"

                    for far, (found, near) in Array.zip far (near (Threat.create L2 1.0)) do
                        if found then Expect.isGreaterThanOrEqual near (far - 1e-9) "in a box"))

        // The objective d^2 + c (m - |w| d) falls until d is c |w| / 2.
        testPropertyN 6 "it goes as far as its weight is worth, and no further" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let model = { model source 2 with Offsets = [| 0.0; 0.0 |] }
                let images = noise source [ 4; 1; 2; 3 ]
                let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                let slope = norm2 (minus model.Weights[0] model.Weights[1])
                let far = rows images |> Array.map (border model)
                let how = { CarliniWagner.defaults with Steps = 200; Abort = false }

                let reaches share =
                    let weights = far |> Array.map (fun far -> share * 2.0 * far / slope)
                    let victims = victims [| 0L .. 3L |] images y
                    let harm =
                        CarliniWagnerSearch.at how unbound (linear model) victims (tensor [ 4 ] weights)
                    // Nearer borders are within a few of Adam's strides.
                    Array.zip far (truths harm.Success)
                    |> Array.filter (fun (far, _) -> far > 0.2 && far < 1.0)
                    |> Array.map snd

                Expect.allEqual (reaches 1.5) true "worth it"
                Expect.allEqual (reaches 0.6) false "not worth it"))

        law "a larger weight succeeds at least as often" (fun s ->
            let how = { CarliniWagner.defaults with Steps = 40; Rate = 0.05; Abort = false }

            let found c =
                let weights = tensor [ s.Y.Length ] (Array.create s.Y.Length c)
                truths (CarliniWagnerSearch.at how s.Threat s.Classify s.Victims weights).Success
                |> Array.filter id
                |> Array.length

            Expect.isAscending [ found 0.0; found 0.01; found 0.1; found 1.0; found 10.0 ] "images broken")

        test "a sample that no longer falls leaves at the second of the ten checks of that" (fun () ->
            let s = scene 8 5
            let n = s.Y.Length
            let flat (x: Tensor) =
                (x.reshape [| x.shape[0]; -1L |]).narrow(1L, 0L, 4L) * 0.0
                + tensor [ 4 ] [| 2.0; 0.0; 0.0; 0.0 |]
            let victims = victims s.Victims.Ids s.Victims.Images (Array.create n 0)
            let run how =
                CarliniWagnerSearch.at how s.Threat flat victims (tensor [ n ] (Array.create n 1.0))
            let harm = run { CarliniWagner.defaults with Steps = 30 }
            Expect.allEqual (wholes harm.Forwards) 4L "looks 0 to 3"
            Expect.allEqual (wholes harm.Gradients) 4L "gradients"
            let harm = run { CarliniWagner.defaults with Steps = 30; Abort = false }
            Expect.allEqual (wholes harm.Forwards) 30L "all looks"
            Expect.allEqual (wholes harm.Gradients) 29L "all gradients but the last")

        test "with confidence, another class wins by as much" (fun () ->
            let s = scene 3 5
            let how = {
                CarliniWagner.defaults with
                    Confidence = 0.4
                    Steps = 200
                    Rate = 0.05
                    Weight = 20.0
            }
            let n = s.Y.Length
            let weights = tensor [ n ] (Array.create n how.Weight)
            let harm = CarliniWagnerSearch.at how s.Threat s.Classify s.Victims weights
            let margins = floats (Margin.perSample (s.Classify harm.Images) s.Victims.Labels)
            let won = truths harm.Success
            Expect.contains won true "some are broken"
            Array.iter2 (fun won m -> if won then Expect.isGreaterThan m 0.4 "margin") won margins)

        test "pixels on the faces of the box can leave them" (fun () ->
            // White is class 0, and the border lies halfway to black.
            let model: Oracles.Linear = {
                Weights = [| Array.create 6 1.0; Array.create 6 -1.0 |]
                Offsets = [| -3.0; 3.0 |]
            }
            let images = single (torch.ones ([| 2L; 1L; 2L; 3L |], torch.float64))
            let how = { CarliniWagner.defaults with Steps = 400; Rate = 0.1; Weight = 10.0; Abort = false }
            let draw = Rng.create 1UL "a" [| 0L; 1L |]
            let weight, offset = single (matrix model.Weights), single (tensor [ 2 ] model.Offsets)
            let classify (x: Tensor) =
                torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight, offset)
            let harm =
                (CarliniWagner.attack how).Run
                    draw
                    (Threat.create L2 1.0)
                    classify
                    (victims draw.Ids images [| 0; 0 |])
            Expect.allEqual (truths harm.Success) true "broken"
            Expect.isEmpty harm.Flags "no flags"
            close 0.05 (floats harm.Distance[L2]) (Array.create 2 (0.5 * sqrt 6.0)) "distance")

        test "faults are named" (fun () ->
            let s = scene 1 1
            let run how weights () =
                CarliniWagnerSearch.at
                    how
                    s.Threat
                    s.Classify
                    s.Victims
                    (tensor [ Array.length weights ] weights)
                |> ignore
            let defaults = CarliniWagner.defaults
            let weights = Array.create s.Y.Length 1.0
            refuses [ "weights"; "labels" ] (run defaults [| 1.0; 1.0; 1.0 |]) "a weight for each sample"
            refuses [ "Rate"; "above 0" ] (run { defaults with Rate = 0.0 } weights) "rate"
            refuses [ "Confidence" ] (run { defaults with Confidence = -1.0 } weights) "confidence"
            let attack () = CarliniWagner.attack { defaults with Weight = nan } |> ignore
            refuses [ "Weight" ] attack "weight")
    ]
