/// Automatic projected gradient descent with few classes, in training, and as published.
module Tests.Attacks.ApgdFormTests

open Expecto
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
open Support.ApgdOracle
open Support

[<Tests>]
let tests =
    testList "Attacks.ApgdForm" [
        testTheory
            "with few classes other losses and fewer targets stand in, and this is told"
            [ 2, [ "2 classes: the margin in place of DLR" ], 1L; 3, [], 2L; 4, [], 3L; 6, [], 3L ]
            (fun (classes, dlr, runs) ->
                balanced (fun () ->
                    let model, images, y = straight classes classes
                    let how = { Apgd.defaults with Steps = 4 }
                    let run (attack: Attack) targets =
                        attack.Run (Rng.create 1UL "a" ids) (Threat.create Linf 1e-4) (linear model) {
                            victims ids images y with
                                Targets = targets
                        }
                    let told (harm: AttackResult) = List.ofSeq harm.Flags
                    Expect.isEmpty (told (run (Apgd.ce how) None)) "cross-entropy"
                    Expect.isEmpty (told (run (Apgd.margin how) None)) "margin"
                    Expect.equal (told (run (Apgd.dlr how) None)) dlr "DLR"
                    let targeted = [
                        if classes < 4 then
                            sprintf "%d classes: the margin in place of targeted DLR" classes
                    ]
                    let fewer = [
                        if classes < 4 then sprintf "%d classes: %d target(s), not 3" classes (classes - 1)
                    ]
                    let harm = run (Apgd.targeted 3 how) None
                    Expect.equal (told harm) (List.sort (targeted @ fewer)) "APGD-T"
                    Expect.equal (Array.max (wholes harm.Forwards)) (1L + 5L * runs) "a run a target"
                    let harm = run (Fab.attack { Fab.targeted with Targets = Some 3; Steps = 1 }) None
                    Expect.equal (told harm) fewer "FAB-T"
                    let target = labels (y |> Array.map (fun y -> (y + 1) % classes))
                    let aimed = run (Apgd.dlr how) (Some target)
                    Expect.equal (told aimed) targeted "DLR towards targets"
                    Expect.equal
                        (bits (run (Apgd.targeted 3 how) (Some target)).Images)
                        (bits aimed.Images)
                        "given targets, APGD-T has no choice"))

        test
            "two and three linear classes: an image falls exactly where the ball reaches over a border"
            (fun () ->
                for seed in 1..20 do
                    for classes in [ 2; 3 ] do
                        Scope.value (fun () ->
                            let model, images, y = straight seed classes
                            let radius = (Source seed).Uniform(0.02, 0.3)
                            let threat = { Threat.create Linf radius with Box = None }
                            let attack = Apgd.targeted 9 { Apgd.defaults with Steps = 2 }
                            let harm =
                                attack.Run
                                    (Rng.create 1UL "a" ids)
                                    threat
                                    (linear model)
                                    (victims ids images y)
                            let expected =
                                Array.map2 (fun x y -> nearest model x y < radius) (rows images) y
                            Expect.equal (truths harm.Success) expected "broken"))

        test "targets are reached, and nothing else counts" (fun () ->
            for seed in 1..10 do
                Scope.value (fun () ->
                    let s = scene seed 5
                    let target = s.Y |> Array.map (fun y -> (y + 2) % 4)
                    let s = { s with Victims = { s.Victims with Targets = Some(labels target) } }

                    for attack in attacks { Apgd.defaults with Steps = 6 } do
                        let harm = runBy attack s
                        let expected = Array.map2 (=) (guesses s.Classify harm.Images) target
                        Expect.equal (truths harm.Success) expected "success"))

        test "the last success is stored, not the first" (fun () ->
            // One pixel, wrong above 0.5 and the more so the higher: the run climbs on.
            let classify (x: Tensor) =
                let v = x.reshape [| -1L; 1L |]
                torch.cat (ResizeArray [ 0.5 - v; v - 0.5 ], 1L)
            let images = torch.full ([| 1L; 1L; 1L; 1L |], 0.45.ToScalar(), torch.float64)
            let victims = victims [| 0L |] images [| 0 |]
            let harm =
                (Apgd.ce { Apgd.defaults with Steps = 20 }).Run
                    (Rng.create 2UL "a" [| 0L |])
                    (Threat.create Linf 0.3)
                    classify
                    victims
            close 1e-12 (floats harm.Images) [| 0.75 |] "the highest"
            Expect.equal (wholes harm.Forwards) [| 22L |] "every step taken")

        test "a classifier without slope, and one that is not finite, are flagged" (fun () ->
            let s = scene 1 4
            let flags factor =
                let classify x = s.Classify x * factor + tensor [ 4 ] [| 3.0; 2.0; 1.0; 0.0 |]
                let victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)
                let s = { s with Classify = classify; Victims = victims }
                (runBy (Apgd.dlr { Apgd.defaults with Steps = 3 }) s).Flags
            Expect.equal (flags 0.0) (Set [ "zero gradient" ]) "flat"
            Expect.equal (flags nan) (Set [ "gradient not finite"; "logits not finite" ]) "not a number")

        test "images may have any shape" (fun () ->
            let source = Source 1
            let images = noise source [ 2; 3; 5; 2 ]
            let weight = matrix (source.Rows(5, 30))
            let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let y = guesses classify images

            for norm in [ Linf; L2; L1 ] do
                for attack in attacks { Apgd.defaults with Steps = 5 } do
                    let victims = victims [| 1L; 2L |] images y
                    let harm =
                        attack.Run (Rng.create 1UL "a" victims.Ids) (Threat.create norm 0.3) classify victims
                    Expect.equal harm.Images.shape images.shape "shape")

        test "in training it is an ascent like any other" (fun () ->
            for seed in 1..20 do
                Scope.value (fun () ->
                    let s = Objectives.scene seed seed

                    for norm in [ Linf; L2; L1 ] do
                        let threat = { s.Threat with Norm = norm }
                        let ascent = Apgd.ascent { Apgd.defaults with Steps = 7 } norm
                        let s = { s with Threat = threat; Ascent = ascent }
                        let objective = Objectives.bumpy s.Slopes
                        let x = Objectives.ascend s objective s.Origin
                        within 0.0 1.0 (floats x) "box"
                        let lengths = Objectives.moved s x |> Array.map (Oracles.lengthOf norm)
                        atMost (threat.Radius + 1e-9) lengths "ball"

                        if norm <> L1 then
                            let start = floats (objective (Objectives.start s))
                            Array.iter2
                                (fun best start ->
                                    Expect.isGreaterThanOrEqual best start "not below the start")
                                (floats (objective x))
                                start))

        test "a warm start begins at the best point of the earlier attack" (fun () ->
            for seed in 1..20 do
                Scope.value (fun () ->
                    let s = Objectives.scene seed seed
                    let objective = Objectives.bumpy s.Slopes
                    let first = { GradientAttack.pgd 0.4 3 with Start = AtInput; Keep = Best }
                    let second = { first with After = Some(2.0, first); Keep = Last }
                    let wider = { s.Threat with Radius = 2.0 * s.Threat.Radius }
                    let found =
                        Objectives.ascend { s with Threat = wider; Ascent = first } objective s.Origin
                    let begun = Projection.project s.Threat s.Origin found
                    let expected = Objectives.climb s.Threat second objective s.Origin begun
                    let x = Objectives.ascend { s with Ascent = second } objective s.Origin
                    close 1e-12 (floats x) (floats expected) "end"))

        test "the published code's first count can be had, and matters" (fun () ->
            let differs =
                [ 1..25 ]
                |> List.filter (fun seed ->
                    Scope.value (fun () ->
                        let s = scene seed 5
                        let s = { s with Threat = { s.Threat with Norm = Linf } }
                        let images fromZero =
                            let how = { Apgd.defaults with Steps = 8; FirstRiseFromZero = fromZero }
                            bits (runBy (Apgd.dlr how) s).Images
                        images true <> images false))
            Expect.isGreaterThan differs.Length 0 "scenes that differ")

        test "the step size is checked after windows that shrink" (fun () ->
            for steps in 0..300 do
                let gaps = 0 :: Apgd.checkpoints steps |> List.pairwise |> List.map (fun (a, b) -> b - a)
                let part percent = max 1 (percent * steps / 100)

                match gaps with
                | [] -> Expect.isLessThan steps (part 22) "no check at all"
                | first :: _ ->
                    Expect.equal first (part 22) "the first window"

                    for before, after in List.pairwise gaps do
                        Expect.equal after (max (part 6) (before - part 3)) "the next"

                    let last = List.sum gaps
                    Expect.isLessThanOrEqual last steps "within the run"
                    Expect.isGreaterThan (last + max (part 6) (List.last gaps - part 3)) steps "to its end")

        test "in fractions of 100 steps it is the paper's" (fun () ->
            let fractions =
                (0.0, 0.22)
                |> List.unfold (fun (before, now) ->
                    if now > 1.0 then None else Some(now, (now, now + max (now - before - 0.03) 0.06)))
            let expected = fractions |> List.map (fun p -> int (ceil (100.0 * p - 1e-9)))
            Expect.equal (Apgd.checkpoints 100) expected "checkpoints")

        test "no target is refused" (fun () ->
            refuses [ "targets"; "0" ] (fun () -> Apgd.targeted 0 Apgd.defaults |> ignore) "targets")

        testList "published" [
            for case in GoldenValues.ofAttacks "apgd_schedule" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    Expect.equal
                        (Apgd.checkpoints (GoldenValues.whole [ "inputs"; "n_iter" ] case))
                        (GoldenValues.values [ "expected"; "checkpoints" ] case
                         |> Array.map int
                         |> List.ofArray)
                        "checkpoints")

            for case in GoldenValues.ofAttacks "apgd" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let how = { Apgd.defaults with Steps = GoldenValues.whole [ "params"; "n_iter" ] case }
                    let ended, broken = runOf case (Apgd.ascent how (GoldenValues.norm case))
                    let expected key = GoldenValues.values [ "expected"; key ] case
                    let loose, near =
                        GoldenValues.real [ "tolerance"; "loss" ] case,
                        GoldenValues.real [ "tolerance"; "x" ] case
                    relative loose (floats ended.BestValue) (expected "loss_best") "loss_best"
                    close near (floats ended.BestX) (expected "x_best") "x_best"
                    let fooled = broken |> Array.map (fun x -> if x.IsSome then 1.0 else 0.0)
                    Expect.equal fooled (expected "fooled") "fooled"
                    let adversarial = GoldenValues.at [ "expected"; "x_adv" ] case

                    for i in 0 .. broken.Length - 1 do
                        match broken[i] with
                        | Some x -> close near x (GoldenValues.values [] adversarial[i]) "x_adv"
                        | None ->
                            Expect.equal adversarial[i].ValueKind System.Text.Json.JsonValueKind.Null "none")

            for case in GoldenValues.ofAttacks "apgd_l1" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let ended, broken =
                        runOf case (Apgd.stage true (GoldenValues.whole [ "params"; "n_iter" ] case))
                    let expected key = GoldenValues.values [ "expected"; key ] case
                    let allowed = GoldenValues.real [ "tolerance"; "loss_relative" ] case
                    let ratios = Array.map2 (/) (floats ended.BestValue) (expected "loss_best")
                    close allowed ratios (Array.create ratios.Length 1.0) "loss_best"
                    let fooled = broken |> Array.map (fun x -> if x.IsSome then 1.0 else 0.0)
                    Expect.equal fooled (expected "fooled") "fooled")
        ]
    ]
