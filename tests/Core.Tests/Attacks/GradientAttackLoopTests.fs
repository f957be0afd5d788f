/// The gradient-attack template.
module Tests.Attacks.GradientAttackLoopTests

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
open Support.Objectives
open Support

[<Tests>]
let tests =
    testList "Attacks.GradientAttackLoop" [
        // On a linear function each coordinate goes its way until ball or box end it.
        law "Linf: the closed form on a linear function" (fun s ->
            let threat = { s.Threat with Norm = Linf }
            let stride = (GradientAttack.pgd 0.3 s.Ascent.Steps).Next

            for begins in [ AtInput; Uniform true ] do
                let s = { s with Threat = threat; Ascent = { s.Ascent with Start = begins; Next = stride } }
                let reach = 0.3 * threat.Radius * float s.Ascent.Steps

                let expected =
                    (floats (start s), floats s.Origin, floats s.Slopes)
                    |||> Array.map3 (fun from x w ->
                        let to' = from + reach * float (sign w)
                        min 1.0 (max 0.0 (min (x + threat.Radius) (max (x - threat.Radius) to'))))

                close 1e-12 (floats (ascend s (linear s.Slopes) s.Origin)) expected "corner")

        law "L2 and L1: the closed form on a linear function without a box" (fun s ->
            let step = (GradientAttack.pgd 0.3 s.Ascent.Steps).Next
            let reach = s.Threat.Radius * min 1.0 (0.3 * float s.Ascent.Steps)

            for norm in [ L2; L1 ] do
                let threat = { s.Threat with Norm = norm; Box = None }
                let s = { s with Threat = threat; Ascent = { s.Ascent with Start = AtInput; Next = step } }

                let expected =
                    Array.map2
                        (fun x w -> plus x (times reach (Oracles.steepest norm w)))
                        (rows s.Origin)
                        (rows s.Slopes)

                close 1e-9 (floats (ascend s (linear s.Slopes) s.Origin)) (Array.concat expected) "end")

        law "the result lies in ball and box, whatever the start" (fun s ->
            let x = ascend s (bumpy s.Slopes) s.Origin
            within 0.0 1.0 (floats x) "box"
            atMost (s.Threat.Radius + 1e-9) (moved s x |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball"
            Expect.equal x.shape s.Origin.shape "shape"
            Expect.equal x.dtype s.Origin.dtype "type")

        law "in single precision too" (fun s ->
            let s = { s with Origin = single s.Origin; Slopes = single s.Slopes }
            let x = ascend s (bumpy s.Slopes) s.Origin
            within 0.0 1.0 (floats x) "box"
            Expect.equal x.dtype torch.float32 "type"
            atMost (s.Threat.Radius + 1e-5) (moved s x |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball")

        law "what is borrowed is not changed, and no gradient is attached" (fun s ->
            let before = bits s.Origin, bits s.Slopes
            let weight = s.Slopes.detach().clone().requires_grad_ true
            let mark = torch.ones_like weight
            weight.grad <- mark
            let x = ascend s (bumpy weight) s.Origin
            Expect.isFalse x.requires_grad "gradient attached"
            let images = s.Origin.detach().clone().requires_grad_ true
            Expect.isFalse (ascend s (bumpy weight) images).requires_grad "attached to images that want one"
            Expect.isFalse (obj.ReferenceEquals(x, s.Origin)) "never the argument itself"
            Expect.equal (bits s.Origin, bits s.Slopes) before "bytes"
            Expect.equal (bits weight.grad) (bits mark) "gradients of parameters")

        law "the best of the visited points is never below the start, and more steps never lower it" (fun s ->
            let s = { s with Ascent = { s.Ascent with Keep = Best; Start = Uniform true } }
            let objective = bumpy s.Slopes
            let values steps =
                let s = { s with Ascent = { s.Ascent with Steps = steps } }
                floats (objective (ascend s objective s.Origin))
            let all = [ for steps in 0..5 -> values steps ]
            close 1e-12 all[0] (floats (objective (start s))) "no step: the start"

            for fewer, more in List.pairwise all do
                Array.iter2 (fun f m -> Expect.isGreaterThanOrEqual m (f - 1e-12) "more steps") fewer more

            let last = { s with Ascent = { s.Ascent with Keep = Last; Steps = 5 } }
            Array.iter2
                (fun best last -> Expect.isGreaterThanOrEqual best (last - 1e-12) "not below the last point")
                all[5]
                (floats (objective (ascend last objective s.Origin))))

        law "the last point is the last, the best the best of all that were visited" (fun s ->
            let visited = ResizeArray<float[][] * float[]>()
            let objective x =
                let value = bumpy s.Slopes x
                visited.Add(rows x, floats value)
                value
            let s = { s with Ascent = { s.Ascent with Keep = Best; Steps = 4; Start = Uniform true } }
            let best = rows (ascend s objective s.Origin)

            for i in 0 .. best.Length - 1 do
                let image, _ = visited |> Seq.map (fun (x, value) -> x[i], value[i]) |> Seq.maxBy snd
                close 1e-12 best[i] image "best"

            let last = { s with Ascent = { s.Ascent with Keep = Last } }
            let expected = climb s.Threat s.Ascent objective s.Origin (start s)
            close 1e-12 (floats (ascend last objective s.Origin)) (floats expected) "last")

        testProperty "a gradient a step, and one more look where the best is wanted" (fun (seed: int) ->
            balanced (fun () ->
                let s = scene seed 3
                let mutable looks = 0
                let objective x =
                    looks <- looks + 1
                    bumpy s.Slopes x
                ascend s objective s.Origin |> ignore
                let best = if s.Ascent.Keep = Best && s.Ascent.Steps > 0 then 1 else 0
                Expect.equal looks (s.Ascent.Steps + best) "evaluations of the objective"))

        law "a sample's result depends on its id alone" (fun s ->
            let together = rows (ascend s (bumpy s.Slopes) s.Origin)

            for i in 0 .. together.Length - 1 do
                let row (x: Tensor) = x.narrow (0L, int64 i, 1L)
                let draw = { s.Draw with Ids = [| s.Draw.Ids[i] |] }
                let alone =
                    GradientAttackLoop.ascend draw s.Threat s.Ascent (bumpy (row s.Slopes)) (row s.Origin)
                close 1e-9 (floats alone) together[i] "row")

        law "a joint objective raises all samples together" (fun s ->
            let joint x = (bumpy s.Slopes x).sum()
            let s = { s with Ascent = { s.Ascent with Keep = Best; Start = AtInput; Steps = 4 } }
            let value x = number (joint x)
            Expect.isGreaterThanOrEqual
                (value (ascend s joint s.Origin))
                (value s.Origin - 1e-12)
                "not below the start"
            let last = { s with Ascent = { s.Ascent with Keep = Last } }
            let each = ascend last (bumpy s.Slopes) s.Origin
            close
                1e-12
                (floats (ascend last joint s.Origin))
                (floats each)
                "the gradient of a sum is each one's")

        test "starts are what they say" (fun () ->
            let threat = { Threat.create L2 0.5 with Box = None }
            let origin = torch.zeros ([| 2000L; 3L |], torch.float64) + 0.5
            let draw = Rng.create 1UL "s" (Array.init 2000 int64)
            let offsets threat start =
                let x =
                    GradientAttackLoop.start threat { GradientAttack.fgsm with Start = start } draw origin
                Array.map2 minus (rows x) (rows origin)

            Expect.all (offsets threat AtInput) (fun d -> normInf d = 0.0) "the image itself"

            for norm in [ Linf; L2; L1 ] do
                let lengths = offsets { threat with Norm = norm } Sphere |> Array.map (Oracles.lengthOf norm)
                close 1e-9 lengths (Array.create 2000 0.5) "on the sphere"

            let noise = offsets { threat with Radius = 100.0 } (Gaussian 0.2) |> Array.concat
            close 0.01 [| mean noise; sqrt (variance noise) |] [| 0.0; 0.2 |] "normal noise"
            Expect.all
                (offsets threat (Gaussian 9.0))
                (fun d -> norm2 d > 0.5)
                "noise goes where it goes: the first gradient is taken there"

            let boxed = { threat with Box = Some(0.0, 1.0); Radius = 0.8 }
            let uniform clipped =
                offsets boxed (Uniform clipped) |> Array.concat |> Array.map abs |> Array.max
            Expect.isLessThanOrEqual (uniform true) 0.5 "clipped"
            Expect.isGreaterThan (uniform false) 0.6 "not clipped"
            let whole =
                GradientAttackLoop.start boxed { GradientAttack.fgsm with Start = Uniform false } draw origin
            Expect.equal
                (floats whole)
                (floats (Projection.randomStart boxed draw origin))
                "uniform in the ball")

        test "steps are counted in radii, and FGSM is one whole step from the image" (fun () ->
            let origin, w =
                torch.zeros ([| 1L; 4L |], torch.float64) + 0.5, tensor [ 1; 4 ] [| 1.0; -2.0; 0.0; 0.5 |]
            let draw = Rng.create 1UL "a" [| 0L |]
            let fgsm radius =
                floats (
                    GradientAttackLoop.ascend
                        draw
                        (Threat.create Linf radius)
                        GradientAttack.fgsm
                        (linear w)
                        origin
                )
            Expect.equal (fgsm 0.1) [| 0.6; 0.4; 0.5; 0.6 |] "a pixel without slope stays"
            Expect.equal (fgsm 0.0) (floats origin) "no radius"
            Expect.equal (fgsm 0.9) [| 1.0; 0.0; 0.5; 1.0 |] "the box ends it"
            refuses [ "step" ] (fun () -> GradientAttack.pgd -0.1 3 |> ignore) "a step back")

        test "a long ascent holds no more tensors than a short one" (fun () ->
            let s = scene 4 4
            let highest = ResizeArray<int64>()
            let objective x =
                highest.Add(Autograd.liveTensors ())
                bumpy s.Slopes x
            ascend { s with Ascent = { s.Ascent with Steps = 30; Keep = Best } } objective s.Origin |> ignore
            Expect.hasLength highest 31 "looks"
            Expect.equal
                (Seq.max highest)
                (highest |> Seq.skip 2 |> Seq.head)
                "live tensors at the third look and at the fullest")
    ]
