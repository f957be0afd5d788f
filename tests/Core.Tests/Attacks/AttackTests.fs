/// Attacks as an evaluation runs them.
module Tests.Attacks.AttackTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

[<Tests>]
let tests =
    testList "Attacks.Attack" [
        // The whole report against a loop over plain arrays, one sample at a time.
        testPropertyN
            150
            "on linear classifiers all is as a slow attack has it"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, classes = 1 + count % 5, source.Whole(2, 4)
                    let model: Oracles.Linear = {
                        Weights = source.Rows(classes, 6)
                        Offsets = source.Normals classes
                    }
                    let images = noise source [ n; 1; 2; 3 ]
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let y =
                        y |> Array.map (fun g -> if source.Whole(0, 9) = 0 then (g + 1) % classes else g)
                    let targets = y |> Array.map (fun y -> (y + 1) % classes)
                    let threat = Threat.create (source.Among [ Linf; L2; L1 ]) (source.Uniform(0.02, 0.5))
                    let stride, steps, restarts =
                        source.Uniform(0.1, 0.6), source.Whole(0, 6), source.Whole(1, 3)
                    let ascent = {
                        GradientAttack.pgd stride steps with
                            Restarts = restarts
                            Start = if source.Whole(0, 1) = 0 then AtInput else Uniform true
                    }
                    let draw = Rng.create 3UL "evaluate" (Array.init n int64)

                    let starts = [
                        for number in 0 .. restarts - 1 do
                            let draw = Rng.sub (sprintf "restart %d" number) draw
                            rows (GradientAttackLoop.start threat ascent draw images)
                    ]

                    let harm =
                        (Attack.ofAscent CrossEntropy.perSample ascent).Run draw threat (linear model) {
                            Ids = draw.Ids
                            Images = images
                            Labels = labels y
                            Targets = if targeted then Some(labels targets) else None
                        }

                    let expected =
                        rows images
                        |> Array.mapi (fun i image ->
                            let target = if targeted then Some targets[i] else None
                            let starts = starts |> List.map (Array.item i)
                            Oracles.attack threat stride steps starts model image y[i] target)

                    same (deeds harm) expected "report"))

        testPropertyN
            60
            "two classes and a linear model: an image falls exactly where the ball reaches over the border"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model: Oracles.Linear = { Weights = source.Rows(2, 6); Offsets = [| 0.0; 0.0 |] }
                    // Away from the box, so that the ball alone ends it.
                    let images = noise source [ 8; 1; 2; 3 ] * 0.2 + 0.4
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)

                    for norm in [ Linf; L2; L1 ] do
                        let across = minus model.Weights[0] model.Weights[1]
                        let reach =
                            match norm with
                            | Linf -> norm1 across
                            | L2 -> norm2 across
                            | L1 -> normInf across
                        let radius = source.Uniform(0.02, 0.3)
                        let threat = { Threat.create norm radius with Box = None }
                        let ascent = { GradientAttack.pgd 0.5 2 with Start = AtInput }
                        let ids = Array.init 8 int64
                        let attack = Attack.ofAscent CrossEntropy.perSample ascent
                        let harm =
                            attack.Run (Rng.create 1UL "a" ids) threat (linear model) (victims ids images y)
                        let margin x = abs ((model.Logits x)[0] - (model.Logits x)[1])
                        let expected = rows images |> Array.map (fun x -> margin x < radius * reach)
                        Expect.equal (truths harm.Success) expected "broken"))

        law "results lie in ball and box, and the images given stay as they were" (fun s ->
            let before = bits s.Victims.Images
            let harm = run s
            Expect.equal (bits s.Victims.Images) before "the images given"
            within 0.0 1.0 (floats harm.Images) "box"
            let moved = Array.map2 minus (rows harm.Images) (rows s.Victims.Images)
            atMost (s.Threat.Radius + 1e-5) (moved |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball"

            for norm in [ Linf; L2; L1 ] do
                close
                    1e-9
                    (floats harm.Distance[norm])
                    (moved |> Array.map (Oracles.lengthOf norm))
                    "distance")

        law "success is that of the stored image" (fun s ->
            let harm = run s
            let expected = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
            Expect.equal (truths harm.Success) expected "misclassified"
            Expect.equal
                (wholes harm.FirstSuccess |> Array.map (fun f -> f >= 0L))
                expected
                "a first success")

        law "an image that is wrong already is left alone" (fun s ->
            let harm = run s
            let wrong = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y

            for wrong, image, deed in Array.zip3 wrong (rows s.Victims.Images) (deeds harm) do
                if wrong then
                    let alone: Oracles.Deed = {
                        Image = image
                        Success = true
                        First = 0L
                        Forwards = 1L
                        Gradients = 0L
                    }
                    Expect.equal deed alone "one look")

        law "a radius of nought changes nothing" (fun s ->
            let s = { s with Threat = { s.Threat with Radius = 0.0 } }
            let harm = run s
            close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images"
            Expect.equal
                (truths harm.Success)
                (Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y)
                "success")

        law "without steps, or with steps of nought, the start is all there is" (fun s ->
            for ascent in [ GradientAttack.pgd 0.3 0; GradientAttack.pgd 0.0 4 ] do
                let s = { s with Ascent = ascent }
                let harm = run s
                let starts =
                    GradientAttackLoop.start s.Threat s.Ascent (Rng.sub "restart 0" s.Draw) s.Victims.Images
                    |> rows
                let right = Array.map2 (=) (guesses s.Classify s.Victims.Images) s.Y

                for right, image, start in Array.zip3 right (rows harm.Images) starts do
                    if right then close 1e-9 image start "start")

        test "a target that is reached already is reached at the image itself" (fun () ->
            let s = scene 5 5
            let target = guesses s.Classify s.Victims.Images
            let harm = run { s with Victims = { s.Victims with Targets = Some(labels target) } }
            Expect.allEqual (truths harm.Success) true "success"
            Expect.allEqual (wholes harm.FirstSuccess) 0L "at once"
            Expect.equal (bits harm.Images) (bits s.Victims.Images) "images")

        law "a targeted attack succeeds where the target is what the classifier says" (fun s ->
            let target = s.Y |> Array.map (fun y -> (y + 2) % 4)
            let harm = run { s with Victims = { s.Victims with Targets = Some(labels target) } }
            Expect.equal
                (truths harm.Success)
                (Array.map2 (=) (guesses s.Classify harm.Images) target)
                "success")

        test "a classifier without slope is flagged, and nothing moves it" (fun () ->
            let s = scene 1 4
            let flat (x: Tensor) =
                (x.reshape [| x.shape[0]; -1L |]).narrow(1L, 0L, 4L) * 0.0
                + tensor [ 4 ] [| 2.0; 0.0; 0.0; 0.0 |]
            let y = Array.create s.Y.Length 0
            let s = {
                s with
                    Classify = flat
                    Victims = victims s.Victims.Ids s.Victims.Images y
                    Ascent = { s.Ascent with Steps = 3; Restarts = 1 }
            }
            let harm = run s
            Expect.equal harm.Flags (Set [ "zero gradient" ]) "flag"
            Expect.allEqual (wholes harm.ZeroGradients) 3L "all gradients of all images"
            Expect.allEqual (truths harm.Success) false "no success")

        law "a gradient that is 0 everywhere is counted for the image that has it" (fun s ->
            // Flat where the first pixel says so.
            let chosen = s.Victims.Images |> rows |> Array.map (fun image -> image[0] < 0.5)
            let classify (x: Tensor) =
                let z = s.Classify x
                torch.where (
                    x.reshape([| x.shape[0]; -1L |]).narrow(1L, 0L, 1L).lt(0.5.ToScalar()),
                    z.detach (),
                    z
                )
            // The first pixel stays on its side.
            let s = { s with Threat = Threat.create Linf 1e-9; Classify = classify }
            let harm = run s
            let expected =
                Array.map2 (fun chosen g -> if chosen then g else 0L) chosen (wholes harm.Gradients)
            Expect.equal (wholes harm.ZeroGradients) expected "counts"
            Expect.equal (harm.Flags.Contains "zero gradient") (Array.sum expected > 0L) "flag")

        test "a classifier that is not finite is flagged, and the stored images stay finite" (fun () ->
            let s = scene 1 4
            let broken x = s.Classify x * nan
            let harm = run { s with Classify = broken; Ascent = { s.Ascent with Steps = 3 } }
            Expect.equal harm.Flags (Set [ "gradient not finite"; "logits not finite" ]) "flag"
            Expect.allEqual (truths harm.Success) false "nothing is broken"
            within 0.0 1.0 (floats harm.Images) "images")

        test "a sound classifier raises no flag" (fun () ->
            Expect.equal (run (scene 1 4)).Flags Set.empty "flags")

        test "an attack touches no gradient of the parameters and keeps nothing alive" (fun () ->
            let source = Source 2
            let weight = (matrix (source.Rows(4, 6))).requires_grad_ true
            let mark = torch.ones_like weight
            weight.grad <- mark
            let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let s = scene 2 4
            let before = Autograd.liveTensors ()

            Scope.value (fun () ->
                let harm = run { s with Classify = classify; Ascent = GradientAttack.pgd 0.2 5 }
                Expect.hasLength (Attack.tensors harm) 12 "tensors of a result"
                Expect.equal (Autograd.liveTensors () - before) 12L "nothing but the result lives")

            Expect.equal (Autograd.liveTensors () - before) 0L "nothing lives"
            Expect.equal (bits weight.grad) (bits mark) "gradients of parameters")

        law "on the divergence it raises that, and uses labels for the verdict alone" (fun s ->
            let clean = s.Classify s.Victims.Images
            let divergence x = floats (Trades.divergence clean (s.Classify x))
            let harm = runBy (Attack.trades 0.3 4) s
            let draw = Rng.sub "restart 0" s.Draw
            let start = GradientAttackLoop.start s.Threat (GradientAttack.trades 0.3 4) draw s.Victims.Images
            let began = divergence (Projection.project s.Threat s.Victims.Images start)

            for ended, began, deed in Array.zip3 (divergence harm.Images) began (deeds harm) do
                if not deed.Success then
                    Expect.isGreaterThanOrEqual ended (began - 1e-12) "divergence"
                    Expect.equal (deed.Forwards, deed.Gradients) (6L, 4L) "the image, the start, four steps")

        test "a start outside the box is brought into it: an evaluation never leaves the threat" (fun () ->
            for start in [ Uniform false; Gaussian 0.5 ] do
                let s = scene 3 5
                let seen = ResizeArray<float>()
                let classify x =
                    seen.AddRange(floats x)
                    s.Classify x
                run {
                    s with
                        Classify = classify
                        Threat = Threat.create Linf 0.4
                        Ascent = { s.Ascent with Start = start; Steps = 2 }
                }
                |> ignore
                within 0.0 1.0 (seen.ToArray()) (sprintf "every point evaluated, from %A" start))
    ]
