/// The parts of the gradient-attack template, and published attacks made of them.
module Tests.Attacks.GradientAttackTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.Objectives
open Support

let private ofCase case =
    let radius = GoldenValues.real [ "params"; "eps" ] case
    GoldenValues.norm case,
    radius,
    GoldenValues.whole [ "params"; "steps" ] case,
    GoldenValues.real [ "params"; "alpha" ] case

[<Tests>]
let tests =
    testList "Attacks.GradientAttack" [
        law "a look gives value and gradient, and a graph to nobody" (fun s ->
            let value, gradient = GradientAttackLoop.look true (bumpy s.Slopes) s.Origin
            close 1e-12 (floats value) (floats (bumpy s.Slopes s.Origin)) "value"
            let shape = s.Origin.shape |> Array.map int |> List.ofArray
            let f (x: float[]) = floats (bumpy s.Slopes (tensor shape x)) |> Array.sum
            close 1e-6 (floats gradient.Value) (slopes 1e-5 f (floats s.Origin)) "gradient"
            Expect.isFalse (value.requires_grad || gradient.Value.requires_grad) "graph"
            let alone, none = GradientAttackLoop.look false (bumpy s.Slopes) s.Origin
            Expect.equal (floats alone) (floats value) "value alone"
            Expect.isNone none "no gradient"
            use _ = torch.no_grad ()
            let again = GradientAttackLoop.look true (bumpy s.Slopes) s.Origin |> snd |> Option.get
            Expect.equal (floats again) (floats gradient.Value) "where gradients are switched off")

        test "a value without dimension counts for every sample" (fun () ->
            let x = noise (Source 1) [ 3; 2 ]
            let value, gradient = GradientAttackLoop.look true (fun x -> x.square().sum()) x
            Expect.equal value.shape [| 3L |] "a value a sample"
            Expect.equal (Array.distinct (floats value)).Length 1 "the same for all"
            close 1e-12 (floats gradient.Value) (floats (x * 2.0)) "gradient")

        test "advancing keeps the better of two points for each sample" (fun () ->
            let column values = tensor [ 3; 1 ] values
            let origin = column [| 0.0; 0.0; 0.0 |]
            let first =
                GradientAttackLoop.first
                    origin
                    (column [| 1.0; 2.0; 3.0 |])
                    (tensor [ 3 ] [| 1.0; 5.0; 3.0 |], column [| 0.1; 0.2; 0.3 |])
            let x = column [| 4.0; 5.0; 6.0 |]
            let second =
                GradientAttackLoop.advance
                    first
                    x
                    (Map [ "m", Leaf.Int 3L ])
                    (tensor [ 3 ] [| 2.0; 4.0; 3.0 |], column [| 0.4; 0.5; 0.6 |])
            Expect.equal (floats second.BestX) [| 4.0; 2.0; 3.0 |] "best points; of equals the earlier"
            Expect.equal (floats second.BestValue) [| 2.0; 5.0; 3.0 |] "best values"
            Expect.equal (floats second.BestGradient) [| 0.4; 0.2; 0.3 |] "gradients there"
            Expect.equal (floats second.Previous) [| 1.0; 2.0; 3.0 |] "the point before"
            Expect.equal
                (floats second.X, floats second.Value)
                ([| 4.0; 5.0; 6.0 |], [| 2.0; 4.0; 3.0 |])
                "the point now"
            Expect.equal second.Index 1 "steps made"
            Expect.isTrue (second.Memory.ContainsKey "m") "memory")

        test "a selection takes the rows of everything, the rule's memory too" (fun () ->
            let source = Source 1
            let x = noise source [ 4; 2 ]
            let values = tensor [ 4 ] (source.Normals 4)
            let state = {
                GradientAttackLoop.first x (x + 1.0) (values, x + 2.0) with
                    Memory = Map [ "momentum", Leaf.Tensor(x + 3.0); "step", Leaf.Int 7L ]
            }
            let picked = GradientAttackLoop.select (torch.tensor [| 2L; 0L |]) state
            let expected (x: Tensor) =
                let all = rows x
                Array.append all[2] all[0]

            for before, after in
                Seq.zip (GradientAttackLoop.tensors state) (GradientAttackLoop.tensors picked) do
                Expect.equal (floats after) (expected before) "rows"

            Expect.hasLength (GradientAttackLoop.tensors picked) 9 "tensors"
            Expect.isTrue
                (match picked.Memory["step"] with
                 | Leaf.Int 7L -> true
                 | _ -> false)
                "a number stays")

        law "a rule's memory goes from step to step" (fun s ->
            // The sum of all gradients so far.
            let next threat (now: Iterate) =
                let sum =
                    match Map.tryFind "sum" now.Memory with
                    | Some(Leaf.Tensor sum) -> sum + now.Gradient
                    | _ -> now.Gradient.clone ()
                now.X + Projection.steepest threat.Norm sum * (0.1 * threat.Radius),
                Map [ "sum", Leaf.Tensor sum ]

            let s = {
                s with
                    Ascent = { s.Ascent with Next = next; Steps = 4; Start = AtInput; Keep = Last }
            }
            let w = rows s.Slopes
            let slope i (x: float[]) = Array.map2 (fun x w -> 7.0 * w * cos (7.0 * w * x) + 0.3) x w[i]

            let expected =
                rows s.Origin
                |> Array.mapi (fun i origin ->
                    ((origin, Array.map (fun _ -> 0.0) origin), [ 1..4 ])
                    ||> List.fold (fun (x, sum) _ ->
                        let sum = plus sum (slope i x)
                        let step = times (0.1 * s.Threat.Radius) (Oracles.steepest s.Threat.Norm sum)
                        Oracles.project s.Threat origin (plus x step), sum)
                    |> fst)

            close 1e-7 (floats (ascend s (bumpy s.Slopes) s.Origin)) (Array.concat expected) "end")

        testList "published" [
            for case in GoldenValues.ofAttacks "fgsm" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let classify = GoldenValues.classifier case
                    let labels name = GoldenValues.indices [ "inputs"; name ] case
                    let objective x =
                        if GoldenValues.truth [ "params"; "targeted" ] case then
                            (CrossEntropy.perSample (classify x) (labels "target")).neg()
                        else
                            CrossEntropy.perSample (classify x) (labels "y")
                    let origin = GoldenValues.array [ "inputs"; "x" ] case
                    let threat =
                        Threat.create (GoldenValues.norm case) (GoldenValues.real [ "params"; "eps" ] case)
                    let draw = Rng.create 1UL "a" [| 0L; 1L; 2L; 3L |]
                    let x = GradientAttackLoop.ascend draw threat GradientAttack.fgsm objective origin
                    close
                        (GoldenValues.real [ "tolerance" ] case)
                        (floats x)
                        (GoldenValues.values [ "expected"; "x_adv" ] case)
                        "x_adv")

            for case in GoldenValues.ofAttacks "pgd" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let classify = GoldenValues.classifier case
                    let labels name = GoldenValues.indices [ "inputs"; name ] case
                    let targeted = GoldenValues.truth [ "params"; "targeted" ] case

                    let objective (x: Tensor) =
                        let z = classify x

                        if GoldenValues.text [ "params"; "loss" ] case = "margin" then
                            Margin.perSample z (labels "y")
                        elif targeted then
                            (CrossEntropy.perSample z (labels "target")).neg()
                        else
                            CrossEntropy.perSample z (labels "y")

                    let norm, radius, steps, stride = ofCase case
                    let threat = Threat.create norm radius
                    let input name = GoldenValues.array [ "inputs"; name ] case
                    let x =
                        climb
                            threat
                            (GradientAttack.pgd (stride / radius) steps)
                            objective
                            (input "x")
                            (input "x0")
                    let tolerance = GoldenValues.real [ "tolerance" ] case
                    close tolerance (floats x) (GoldenValues.values [ "expected"; "x_last" ] case) "x_last"
                    let ce =
                        CrossEntropy.perSample (classify x) (labels (if targeted then "target" else "y"))
                    relative
                        tolerance
                        (floats ce)
                        (GoldenValues.values [ "expected"; "ce_last" ] case)
                        "ce_last")

            for case in GoldenValues.ofLosses "attack acl.pgd" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let part name = GoldenValues.array [ "network"; name ] case
                    let w1, b1, w2, b2 = part "W1", part "b1", part "W2", part "b2"
                    let net (x: Tensor) =
                        torch.nn.functional.linear (torch.nn.functional.linear(x, w1, b1).tanh(), w2, b2)
                    let hyper name = GoldenValues.real [ "hyper"; name ] case
                    let radius = hyper "epsilon"
                    let threat = Threat.create Linf radius
                    let ascent =
                        GradientAttack.pgd
                            (hyper "step" / radius)
                            (GoldenValues.whole [ "hyper"; "steps" ] case)
                    let x = GoldenValues.array [ "inputs"; "x" ] case
                    let begun = x + GoldenValues.array [ "inputs"; "start" ] case
                    // Rows alternate between the two views of an image.
                    let view (offset: int64) (x: Tensor) =
                        x.reshape([| -1L; 2L; x.shape[1] |]).select(1L, offset)
                    let contrast a b = InfoNce.ntXent (hyper "T") (net a) (net b)
                    let expected = rows (GoldenValues.array [ "published"; "x_adv" ] case)

                    let raised =
                        if GoldenValues.truth [ "hyper"; "second_view_clean" ] case then
                            let first =
                                climb
                                    threat
                                    ascent
                                    (fun a -> contrast a (view 1L x))
                                    (view 0L x)
                                    (view 0L begun)
                            torch.stack([| first; view 1L x |], 1L).reshape x.shape
                        else
                            climb threat ascent (fun both -> contrast (view 0L both) (view 1L both)) x begun

                    close
                        (GoldenValues.real [ "tolerance" ] case)
                        (floats raised)
                        (Array.concat expected)
                        "x_adv")
        ]
    ]
