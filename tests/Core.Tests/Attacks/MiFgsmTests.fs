/// The fast gradient method with momentum.
module Tests.Attacks.MiFgsmTests

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
open Support.Objectives
open Support

let private law name check =
    testPropertyN 60 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () ->
            let s = scene seed count
            let source = Source seed
            let decay, step = source.Uniform(0.0, 1.2), source.Uniform(0.05, 0.6)
            check decay step { s with Ascent = GradientAttack.momentum decay step s.Ascent.Steps }))

// The slope of a bumpy function of one sample.
let private slope (w: float[]) (x: float[]) = Array.map2 (fun x w -> 7.0 * w * cos (7.0 * w * x) + 0.3) x w

[<Tests>]
let tests =
    testList "Attacks.MiFgsm" [
        law "steps go along the sum of gradients of length 1, older ones worth less" (fun decay step s ->
            let expected =
                (rows s.Origin, rows s.Slopes)
                ||> Array.map2 (fun origin w ->
                    ((origin, times 0.0 origin), [ 1 .. s.Ascent.Steps ])
                    ||> List.fold (fun (x, velocity) _ ->
                        let g = slope w x
                        let velocity = plus (times decay velocity) (times (1.0 / norm1 g) g)
                        let stride =
                            times (step * s.Threat.Radius) (Oracles.steepest s.Threat.Norm velocity)
                        Oracles.project s.Threat origin (plus x stride), velocity)
                    |> fst)

            close 1e-7 (floats (ascend s (bumpy s.Slopes) s.Origin)) (Array.concat expected) "end")

        law "without momentum it is projected gradient ascent from the image" (fun _ step s ->
            let steps = s.Ascent.Steps
            let plain = { s with Ascent = { GradientAttack.pgd step steps with Start = AtInput } }
            let none = { s with Ascent = GradientAttack.momentum 0.0 step steps }
            let objective = bumpy s.Slopes
            let expected = floats (ascend plain objective s.Origin)
            close 1e-9 (floats (ascend none objective s.Origin)) expected "end")

        law "the result lies in ball and box, and depends on the sample alone" (fun _ _ s ->
            let x = ascend s (bumpy s.Slopes) s.Origin
            within 0.0 1.0 (floats x) "box"
            atMost (s.Threat.Radius + 1e-9) (moved s x |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball"

            for i in 0 .. int x.shape[0] - 1 do
                let row (x: Tensor) = x.narrow (0L, int64 i, 1L)
                let alone = { s with Origin = row s.Origin; Draw = { s.Draw with Ids = [| 7L |] } }
                let one = ascend alone (bumpy (row s.Slopes)) alone.Origin
                close 1e-9 (floats one) (Array.item i (rows x)) "row")

        test "where there is no slope nothing moves, and the momentum continues" (fun () ->
            let origin = tensor [ 1; 3 ] [| 0.5; 0.5; 0.5 |]
            let threat = Threat.create Linf 0.4
            let climb objective steps =
                let draw = Rng.create 1UL "a" [| 0L |]
                floats (
                    GradientAttackLoop.ascend
                        draw
                        threat
                        (GradientAttack.momentum 1.0 0.25 steps)
                        objective
                        origin
                )
            Expect.equal (climb (fun x -> (x * 0.0).sum(1L)) 3) [| 0.5; 0.5; 0.5 |] "flat"
            // Rises up to 0.55 and is flat beyond: the second step is momentum alone.
            let ramp (x: Tensor) = x.clamp_max(0.55.ToScalar()).sum(1L)
            close 1e-12 (climb ramp 2) [| 0.7; 0.7; 0.7 |] "gathered")

        test "a decay below 0 is refused" (fun () ->
            refuses [ "decay" ] (fun () -> GradientAttack.momentum -0.1 0.1 3 |> ignore) "decay"
            refuses [ "step" ] (fun () -> GradientAttack.momentum 1.0 -0.1 3 |> ignore) "step")

        AttackCases.law "as an evaluation it evaluates the image twice, and once a step" (fun s ->
            let harm = AttackCases.runBy (Attack.miFgsm 0.2 4) s

            for deed in AttackCases.deeds harm do
                if deed.Success then
                    Expect.equal deed.Forwards (deed.First + 1L) "looks until it fell"
                else
                    Expect.equal (deed.Forwards, deed.Gradients) (6L, 4L) "looks"

            let wrong = Array.map2 (<>) (AttackCases.guesses s.Classify harm.Images) s.Y
            Expect.equal (truths harm.Success) wrong "success")

        testList "published" [
            for case in GoldenValues.ofAttacks "mi_fgsm" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let classify = GoldenValues.classifier case
                    let labels name = GoldenValues.indices [ "inputs"; name ] case
                    let objective x =
                        if GoldenValues.truth [ "params"; "targeted" ] case then
                            (CrossEntropy.perSample (classify x) (labels "target")).neg()
                        else
                            CrossEntropy.perSample (classify x) (labels "y")
                    let param name = GoldenValues.real [ "params"; name ] case
                    let threat = Threat.create (GoldenValues.norm case) (param "eps")
                    let steps = GoldenValues.whole [ "params"; "steps" ] case
                    let ascent = GradientAttack.momentum (param "mu") (param "alpha" / threat.Radius) steps
                    let origin = GoldenValues.array [ "inputs"; "x" ] case
                    let draw = Rng.create 1UL "a" (Array.init (int origin.shape[0]) int64)
                    let x = GradientAttackLoop.ascend draw threat ascent objective origin
                    close
                        (GoldenValues.real [ "tolerance" ] case)
                        (floats x)
                        (GoldenValues.values [ "expected"; "x_adv" ] case)
                        "x_adv")
        ]
    ]
