/// The fast adaptive boundary attack again and again, towards targets, and what it says of itself.
module Tests.Attacks.FabFormTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.HyperplaneOracle
open Support.FabCases
open Support

[<Tests>]
let tests =
    testList "Attacks.FabForm" [
        test "later runs depend on the seed and the image's id" (fun () ->
            let s = scene 4 5
            // Each run of one step evaluates its start and the point after the step.
            let begun run draw =
                let seen = ResizeArray<float[]>()
                let classify (x: Tensor) =
                    seen.Add(floats x)
                    s.Classify x
                let how = { brisk with Restarts = run + 1; Steps = 1 }
                runBy (Fab.minimal how) { s with Classify = classify; Draw = draw } |> ignore
                seen[2 * run + 1]

            let other = { s.Draw with Seed = 99UL }
            let shifted = { s.Draw with Ids = s.Draw.Ids |> Array.map ((+) 1L) }
            let first, second = begun 0 s.Draw, begun 1 s.Draw
            Expect.notEqual second first "another beginning"
            Expect.notEqual (begun 2 s.Draw) second "and another"
            Expect.notEqual (begun 1 other) second "seed"
            Expect.notEqual (begun 1 shifted) second "id"
            Expect.equal (begun 0 other) first "the first run draws nothing")

        law "a later run begins within half the radius, and half of what was found" (fun s ->
            for norm in [ Linf; L2; L1 ] do
                let s = { s with Threat = { s.Threat with Norm = norm } }
                let one = runBy (Fab.minimal brisk) s
                let nearest =
                    Array.map2
                        (fun found d -> if found then d else infinity)
                        (truths one.Success)
                        (floats one.Distance[norm])
                let seen = ResizeArray<float[][]>()
                let classify (x: Tensor) =
                    seen.Add(rows x)
                    s.Classify x
                let how = { brisk with Restarts = 2 }
                runBy (Fab.minimal how) { s with Classify = classify } |> ignore
                let right = Array.indexed (wrong s) |> Array.filter (snd >> not) |> Array.map fst

                let originals = rows s.Victims.Images
                right
                |> Array.iteri (fun place i ->
                    // The clean look, and the first run's 12 steps of two.
                    let beginnings = seen[25]
                    let begun = minus beginnings[place] originals[i]
                    let most = 0.5 * min nearest[i] s.Threat.Radius
                    Expect.isLessThanOrEqual (Oracles.lengthOf norm begun) (most + 1e-9) "half"))

        law "the images given stay as they were, and the results lie in the box" (fun s ->
            let low, high = 0.2, 0.7
            let images = s.Victims.Images.clamp (low.ToScalar(), high.ToScalar())
            let before = bits images
            let s = {
                s with
                    Threat = { s.Threat with Box = Some(low, high) }
                    Victims = { s.Victims with Images = images }
            }
            let seen = ResizeArray<float[]>()
            let classify (x: Tensor) =
                seen.Add(floats x)
                s.Classify x

            for how in forms do
                let harm = runBy (Fab.minimal (again how)) { s with Classify = classify }
                Expect.equal (bits images) before "the images given"
                within low high (floats harm.Images) "box"
                Expect.isFalse harm.Images.requires_grad "gradient attached"

            for x in seen do
                within (low - 1e-15) (high + 1e-15) x "every look")

        law "the classifier sees as many rows as are counted" (fun s ->
            let mutable seen = 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                s.Classify x

            for how in forms do
                for attack in [ Fab.minimal how; Fab.attack (again how) ] do
                    seen <- 0L
                    let harm = runBy attack { s with Classify = classify }
                    // The verdict on what is stored is not the attack's.
                    Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"

            let looks how = wholes (runBy (Fab.minimal how) s).Forwards
            let slopes how = wholes (runBy (Fab.minimal how) s).Gradients
            let right count = wrong s |> Array.map (fun wrong -> if wrong then 0L else count)
            // The net has four classes: 3 borders, 12 steps of two looks each.
            Expect.equal (looks brisk) (right 24L |> Array.map ((+) 1L)) "FAB's looks"
            Expect.equal (slopes brisk) (right 36L) "FAB's gradients"
            let targeted = { brisk with Targets = Some 2; Restarts = 2 }
            Expect.equal (looks targeted) (right 96L |> Array.map ((+) 1L)) "FAB-T's looks"
            Expect.equal (slopes targeted) (right 48L) "FAB-T's gradients")

        test "FAB-T goes to the likeliest classes first" (fun () ->
            // Borders at 0.05 and 0.2 pixels; the nearer one is that of the unlikelier class, which is steep.
            let model: Oracles.Linear = {
                Weights = [| [| 0.0; 0.0 |]; [| 1.0; 0.0 |]; [| 0.0; 8.0 |] |]
                Offsets = [| 0.7; 0.0; -3.7 |]
            }
            let images = tensor [ 1; 1; 1; 2 ] [| 0.5; 0.5 |]
            let victims = victims [| 0L |] images [| 0 |]
            let near how =
                let threat = Threat.create L2 1.0
                let harm = (Fab.minimal how).Run (drawOf victims) threat (linear model) victims
                (floats harm.Distance[L2])[0]
            let within low v = within low (1.01 * low) [| v |] "distance"
            within 0.2 (near { Fab.targeted with Targets = Some 1 })
            within 0.05 (near { Fab.targeted with Targets = Some 2 })
            within 0.05 (near Fab.targeted)
            within 0.05 (near Fab.untargeted))

        law "with targets, only the target counts" (fun s ->
            let targets = guesses s.Classify s.Victims.Images |> Array.map (fun g -> (g + 1) % 4)
            let s = { s with Victims = { s.Victims with Targets = Some(labels targets) } }

            for how in forms do
                let harm = runBy (Fab.minimal { how with Steps = 40 }) s
                let reached = Array.map2 (=) (guesses s.Classify harm.Images) targets
                Expect.equal (truths harm.Success) reached "success"

                Array.iter2
                    (fun reached first -> Expect.equal (first > 0L) reached "first success")
                    reached
                    (wholes harm.FirstSuccess))

        test "targets on linear classifiers are reached where their region is nearest" (fun () ->
            let source = Source 5
            let model = model source 3 12
            let victims, y = plain source model [ 6; 3; 2; 2 ]
            let targets = y |> Array.map (fun y -> (y + 1) % 3)
            let victims = { victims with Targets = Some(labels targets) }
            let threat = { Threat.create L2 1.0 with Box = None }
            let harm = (Fab.minimal Fab.targeted).Run (drawOf victims) threat (linear model) victims
            Expect.allEqual (truths harm.Success) true "all reached"
            // No nearer than the border with the label, which is only one of the target's.
            let least =
                rows victims.Images
                |> Array.mapi (fun i x ->
                    let z = model.Logits x
                    (z[y[i]] - z[targets[i]]) / norm2 (minus model.Weights[y[i]] model.Weights[targets[i]]))
            Array.iter2
                (fun least far -> Expect.isGreaterThanOrEqual far (least - 1e-9) "distance")
                least
                (floats harm.Distance[L2]))

        test "a flat classifier is told, and so are logits that are no numbers" (fun () ->
            let s = scene 8 5
            let flat factor (x: Tensor) =
                (x.reshape [| x.shape[0]; -1L |]).narrow(1L, 0L, 4L) * factor
                + tensor [ 4 ] [| 2.0; 0.0; 0.0; 0.0 |]
            let victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)

            for how in forms do
                let harm = (Fab.minimal how).Run s.Draw s.Threat (flat 0.0) victims
                Expect.contains harm.Flags "zero gradient" "flat"
                Expect.allEqual (truths harm.Success) false "broken"
                Expect.equal (bits harm.Images) (bits victims.Images) "images"
                let steep (x: Tensor) = flat 1.0 x + (x.sum () * 0.0 + 1.0).log() * infinity
                let harm = (Fab.minimal how).Run s.Draw s.Threat steep victims
                Expect.isTrue (harm.Flags.Contains "gradient not finite") "not finite"
                within 0.0 1.0 (floats harm.Images) "finite images")

        test "single precision stays so" (fun () ->
            let s = scene 8 5
            let w1 = single (matrix ((Source 3).Rows(4, 6)))
            let classify (x: Tensor) =
                Scope.tensor (fun () -> torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], w1))
            let images = single s.Victims.Images
            let victims = victims s.Victims.Ids images (guesses classify images)

            for norm in [ Linf; L2; L1 ] do
                let harm = (Fab.minimal Fab.targeted).Run s.Draw (Threat.create norm 0.1) classify victims
                Expect.equal harm.Images.dtype torch.float32 "type"
                within 0.0 1.0 (floats harm.Images) "box"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses classify harm.Images) (guesses classify images))
                    "success")

        test "faults are named" (fun () ->
            let build (how: Fab) () = Fab.minimal how |> ignore
            refuses [ "Overshoot"; "0" ] (build { brisk with Overshoot = 0.0 }) "overshoot"
            refuses [ "Lean"; "-1" ] (build { brisk with Lean = -1.0 }) "lean"
            refuses [ "Backward" ] (build { brisk with Backward = nan }) "backward"
            refuses [ "Targets"; "0" ] (build { brisk with Targets = Some 0 }) "targets"
            let s = scene 2 3
            let run () = FabSearch.at brisk s.Threat s.Classify s.Victims s.Victims.Labels |> ignore
            refuses [ "rivals"; "[n; r]" ] run "rivals")

        testList "published" [
            for case in GoldenValues.ofAttacks "fab" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let classify = GoldenValues.classifier case
                    let images = GoldenValues.array [ "inputs"; "x" ] case
                    let y = GoldenValues.values [ "inputs"; "y" ] case |> Array.map int
                    let param key = GoldenValues.real [ "params"; key ] case
                    let how = {
                        Targets = None
                        Steps = GoldenValues.whole [ "params"; "n_iter" ] case
                        Lean = param "alpha_max"
                        Overshoot = param "eta"
                        Backward = param "beta"
                        Restarts = 1
                    }
                    let victims = victims (Array.init y.Length int64) images y
                    let norm = GoldenValues.norm case
                    let threat = Threat.create norm 1.0

                    let harm =
                        if GoldenValues.truth [ "params"; "targeted" ] case then
                            let rivals = (GoldenValues.indices [ "inputs"; "target" ] case).unsqueeze 1L
                            FabSearch.at how threat classify victims rivals
                        else
                            (Fab.minimal how).Run (drawOf victims) threat classify victims

                    Expect.allEqual (truths harm.Success) true "found"
                    let allowed = GoldenValues.real [ "tolerance"; "x" ] case
                    let expected key = GoldenValues.values [ "expected"; key ] case
                    close allowed (floats harm.Images) (expected "x_adv") "x_adv"
                    let shares = Array.map2 (/) (floats harm.Distance[norm]) (expected "distance")
                    let allowed = GoldenValues.real [ "tolerance"; "distance_relative" ] case
                    within (1.0 - allowed) (1.0 + allowed) shares "distance")
        ]
    ]
