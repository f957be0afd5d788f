/// Attacks on classifiers that answer by chance: means over passes (expectation over transformation).
module Tests.Attacks.RandomisedClassifierTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases

// A linear classifier of two classes whose slope is another in every pass, drawn from numbers of its own;
// what it draws is written down.
let private shaky (source: Source) deviation (weights: float[][]) =
    let drawn = ResizeArray<float[][]>()

    let classify (x: Tensor) =
        let now = weights |> Array.map (Array.map (fun w -> w + deviation * source.Normal()))
        drawn.Add now
        Scope.tensor (fun () -> torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], matrix now))

    classify, drawn

let private lead (logits: Tensor) = logits.select (1L, 1L) - logits.select (1L, 0L)

let private meanOf (drawn: float[][] seq) =
    let slopes = drawn |> Seq.map (fun w -> minus w[1] w[0]) |> Array.ofSeq
    Array.init slopes[0].Length (fun i -> slopes |> Array.averageBy (Array.item i))

[<Tests>]
let tests =
    testList "Attacks.RandomisedClassifier" [
        testProperty
            "value and gradient are the means over the passes"
            (fun (seed: int) (PositiveInt passes) ->
                balanced (fun () ->
                    let source = Source seed
                    let passes = 1 + passes % 25
                    let classify, drawn = shaky source 0.7 (source.Rows(2, 6))
                    let images = noise source [ 3; 1; 2; 3 ]
                    let value, gradient = GradientAttackLoop.averaged passes true (classify >> lead) images
                    Expect.hasLength drawn passes "passes"
                    let slope = meanOf drawn
                    close 1e-12 (floats value) (rows images |> Array.map (dot slope)) "value"
                    close 1e-12 (floats gradient.Value) (Array.replicate 3 slope |> Array.concat) "gradient"
                    drawn.Clear()
                    let value, none = GradientAttackLoop.averaged passes false (classify >> lead) images
                    Expect.isNone none "no gradient asked for"
                    let slope = meanOf drawn
                    close 1e-12 (floats value) (rows images |> Array.map (dot slope)) "value alone"))

        test "an ascent steps along the sign of the mean" (fun () ->
            for seed in 1..20 do
                Scope.value (fun () ->
                    let source = Source seed
                    let classify, drawn = shaky source 2.0 (source.Rows(2, 6))
                    let images = noise source [ 2; 1; 2; 3 ] * 0.2 + 0.4
                    let draw = Rng.create 1UL "a" [| 0L; 1L |]
                    let ascent = { GradientAttack.pgd 1.0 1 with Start = AtInput; Passes = 20 }
                    let x =
                        GradientAttackLoop.ascend
                            draw
                            (Threat.create Linf 0.1)
                            ascent
                            (classify >> lead)
                            images
                    let moved = minus (floats x) (floats images)
                    let signs = meanOf drawn |> Array.map (fun g -> 0.1 * float (sign g))
                    close 1e-12 moved (Array.append signs signs) "step"))

        law "a classifier that always answers the same is attacked as by one pass" (fun s ->
            let once, often = run s, run { s with Ascent = { s.Ascent with Passes = 3 } }

            for once, often in Array.zip (deeds once) (deeds often) do
                close 1e-9 often.Image once.Image "image"
                Expect.equal (often.Success, often.First) (once.Success, once.First) "verdict and points"
                Expect.equal
                    (often.Forwards - 1L)
                    (3L * (once.Forwards - 1L))
                    "passes, but for the clean image"
                Expect.equal often.Gradients (3L * once.Gradients) "gradients")

        test "the passes counted are the passes made, APGD's in every norm too" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                for attack in
                    [
                        Apgd.ce { Apgd.defaults with Steps = 6; Passes = 4 }
                        Apgd.targeted 2 { Apgd.defaults with Steps = 6; Passes = 4 }
                        Attack.ofAscent CrossEntropy.perSample {
                            GradientAttack.pgd 0.3 4 with
                                Passes = 5
                                Restarts = 2
                        }
                    ] do
                    let s = scene 4 5
                    let s = { s with Threat = { s.Threat with Norm = norm } }
                    let mutable seen, sloped = 0L, 0L
                    let classify (x: Tensor) =
                        seen <- seen + x.shape[0]
                        if x.requires_grad then sloped <- sloped + x.shape[0]
                        s.Classify x
                    let harm = runBy attack { s with Classify = classify }
                    Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "forwards"
                    Expect.equal sloped (Array.sum (wholes harm.Gradients)) "gradients"
                    Expect.isGreaterThan sloped 0L "some")

        testTheory
            "a point counts where more than half of its passes are won"
            [ 1, false; 2, false; 3, true; 4, true ]
            (fun (wins, broken) ->
                balanced (fun () ->
                    let mutable call = -1
                    // The clean image is right; of each four passes some are won.
                    let classify (x: Tensor) =
                        call <- call + 1
                        let won = call > 0 && (call - 1) % 4 < wins
                        let z = if won then [| 0.0; 3.0 |] else [| 3.0; 0.0 |]
                        x.reshape([| x.shape[0]; -1L |]).sum(1L, true) * 0.0 + tensor [ 2 ] z
                    let images = noise (Source 1) [ 2; 1; 2; 3 ]
                    let draw = Rng.create 1UL "a" [| 0L; 1L |]
                    let ascent = { GradientAttack.pgd 0.5 2 with Start = AtInput; Passes = 4 }
                    let harm =
                        (Attack.ofAscent CrossEntropy.perSample ascent).Run
                            draw
                            (Threat.create Linf 0.1)
                            classify
                            (victims draw.Ids images [| 0; 0 |])
                    let first = if broken then 1L else -1L
                    Expect.allEqual (wholes harm.FirstSuccess) first "the first point after the clean one"
                    // Three points without a success, each of four passes.
                    let looks = if broken then 5L else 13L
                    Expect.allEqual (wholes harm.Forwards) looks "passes"))

        test "means over passes find what single passes lose in the noise" (fun () ->
            let broken passes =
                [ 1..6 ]
                |> List.sumBy (fun seed ->
                    Scope.value (fun () ->
                        let source = Source seed
                        // The margin is certain, its slope is not.
                        let weights = source.Rows(2, 60)
                        let images = noise source [ 10; 1; 6; 10 ] * 0.2 + 0.4
                        let across = minus weights[1] weights[0]
                        let y = rows images |> Array.map (fun x -> if dot across x > 0.0 then 1 else 0)
                        let classify (x: Tensor) =
                            let noisy =
                                weights |> Array.map (Array.map (fun w -> w + 4.0 * source.Normal()))
                            let flat = x.reshape [| x.shape[0]; -1L |]
                            let sure = torch.nn.functional.linear (flat.detach (), matrix weights)
                            let slope = torch.nn.functional.linear (flat, matrix noisy)
                            sure + slope - slope.detach ()
                        let reach = norm1 across
                        let margins = rows images |> Array.map (fun x -> abs (dot across x) / reach)
                        let radius = 1.4 * Array.max margins
                        let ascent = { GradientAttack.pgd 1.0 1 with Start = AtInput; Passes = passes }
                        let draw = Rng.create 1UL "a" (Array.init 10 int64)
                        let harm =
                            (Attack.ofAscent CrossEntropy.perSample ascent).Run
                                draw
                                { Threat.create Linf radius with Box = None }
                                classify
                                (victims draw.Ids images y)
                        truths harm.Success |> Array.filter id |> Array.length))

            Expect.isGreaterThan (broken 20) (broken 1) "images broken")

        test "AutoAttack's version for chance is APGD on two losses, on means of 20 passes" (fun () ->
            let rand = Expect.wantSome (AutoAttack.find "AutoAttack-rand") "by name"
            Expect.equal
                [ for name, attack in rand.Stages -> name, attack.Text ]
                [
                    "apgd-ce", "APGD-CE, 100 steps, 20 passes each"
                    "apgd-dlr", "APGD-DLR, 100 steps, 20 passes each"
                ]
                "stages"
            let s = pick [| 0; 1 |] (scene 5 5)
            let right = guesses s.Classify s.Victims.Images
            let s = {
                s with
                    Threat = Threat.create Linf 1e-6
                    Victims = victims s.Victims.Ids s.Victims.Images right
            }
            let harm = runBy (snd rand.Stages.Head) s
            Expect.allEqual (wholes harm.Forwards) (1L + 101L * 20L) "forward passes"
            Expect.allEqual (wholes harm.Gradients) (100L * 20L) "gradients")

        test "no pass is refused" (fun () ->
            let look () =
                GradientAttackLoop.averaged 0 true (fun x -> x.sum ()) (torch.zeros [| 1L |]) |> ignore
            refuses [ "passes"; "0" ] look "passes")
    ]
