/// The gradient-attack template.
module Ascents

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws

let private perSample (x: Tensor) = x.reshape([| x.shape[0]; -1L |]).sum(1L)

// One linear function a sample, and a bumpy one.
let private linear (w: Tensor) : Objective = fun x -> perSample (x * w)
let private bumpy (w: Tensor) : Objective = fun x -> perSample ((x * w * 7.0).sin() + x * 0.3)

[<NoEquality; NoComparison>]
type private Scene = { Threat: Threat; Ascent: Ascent; Origin: Tensor; Slopes: Tensor; Draw: Draw }

let private starts = [ AtInput; Uniform true; Uniform false; Sphere; Gaussian 0.2 ]

let private scene (seed: int) (count: int) =
    let source = Source seed
    let shape = [ 1 + count % 4; source.Whole(1, 2); 2; source.Whole(1, 3) ]
    let size = List.reduce (*) shape
    let pixels = source.Uniforms(size, -0.2, 1.2) |> Array.map (fun v -> min 1.0 (max 0.0 v))

    {
        Threat = Threat.create (source.Among [ Linf; L2; L1 ]) (source.Uniform(0.01, 0.8))
        Ascent = {
            Ascent.pgd (source.Uniform(0.05, 0.7)) (source.Whole(0, 6)) with
                Start = source.Among starts
                Keep = if source.Whole(0, 1) = 0 then Last else Best
        }
        Origin = tensor shape pixels
        Slopes = tensor shape (source.Normals size)
        Draw =
            Draw.create
                (uint64 (abs (int64 seed)))
                "attack"
                (Array.init shape[0] (fun i -> int64 (3 * i + 1)))
    }

let private law name check =
    testProperty name (fun (seed: int) (PositiveInt count) -> balanced (fun () -> check (scene seed count)))

let private ascend s = GradientAttack.ascend s.Draw s.Threat s.Ascent
let private start s = GradientAttack.start s.Threat s.Ascent s.Draw s.Origin
let private moved s x = Array.map2 minus (rows x) (rows s.Origin)

// Goes up from a given point by the template's parts, and gives the last point.
let private climb threat ascent objective origin x0 =
    let look x =
        let value, gradient = GradientAttack.look true objective x
        value, Option.get gradient

    let first = GradientAttack.first origin x0 (look x0)

    let last =
        (first, [ 2 .. ascent.Steps ])
        ||> List.fold (fun now _ ->
            let x, memory = GradientAttack.next threat ascent now
            GradientAttack.advance now x memory (look x))

    fst (GradientAttack.next threat ascent last)

let private ofCase case =
    let radius = Reference.real [ "params"; "eps" ] case
    Reference.norm case,
    radius,
    Reference.whole [ "params"; "steps" ] case,
    Reference.real [ "params"; "alpha" ] case

let tests =
    testList "Ascents" [
        // On a linear function each coordinate goes its way until ball or box end it.
        law "Linf: the closed form on a linear function" (fun s ->
            let threat = { s.Threat with Norm = Linf }
            let stride = (Ascent.pgd 0.3 s.Ascent.Steps).Next

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
            let step = (Ascent.pgd 0.3 s.Ascent.Steps).Next
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
                Expect.equal looks (s.Ascent.Steps + best) "looks at the objective"))

        law "a sample's result depends on its id alone" (fun s ->
            let together = rows (ascend s (bumpy s.Slopes) s.Origin)

            for i in 0 .. together.Length - 1 do
                let row (x: Tensor) = x.narrow (0L, int64 i, 1L)
                let draw = { s.Draw with Ids = [| s.Draw.Ids[i] |] }
                let alone =
                    GradientAttack.ascend draw s.Threat s.Ascent (bumpy (row s.Slopes)) (row s.Origin)
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
            let draw = Draw.create 1UL "s" (Array.init 2000 int64)
            let offsets threat start =
                let x = GradientAttack.start threat { Ascent.fgsm with Start = start } draw origin
                Array.map2 minus (rows x) (rows origin)

            Expect.all (offsets threat AtInput) (fun d -> normInf d = 0.0) "the image itself"

            for norm in [ Linf; L2; L1 ] do
                let lengths = offsets { threat with Norm = norm } Sphere |> Array.map (Oracles.lengthOf norm)
                close 1e-9 lengths (Array.create 2000 0.5) "on the sphere"

            let noise = offsets { threat with Radius = 100.0 } (Gaussian 0.2) |> Array.concat
            close 0.01 [| mean noise; sqrt (variance noise) |] [| 0.0; 0.2 |] "normal noise"
            atMost (0.5 + 1e-12) (offsets threat (Gaussian 9.0) |> Array.map norm2) "noise is projected"

            let boxed = { threat with Box = Some(0.0, 1.0); Radius = 0.8 }
            let uniform clipped =
                offsets boxed (Uniform clipped) |> Array.concat |> Array.map abs |> Array.max
            Expect.isLessThanOrEqual (uniform true) 0.5 "clipped"
            Expect.isGreaterThan (uniform false) 0.6 "not clipped"
            let whole = GradientAttack.start boxed { Ascent.fgsm with Start = Uniform false } draw origin
            Expect.equal (floats whole) (floats (Ball.randomStart boxed draw origin)) "uniform in the ball")

        law "a look gives value and gradient, and a graph to nobody" (fun s ->
            let value, gradient = GradientAttack.look true (bumpy s.Slopes) s.Origin
            close 1e-12 (floats value) (floats (bumpy s.Slopes s.Origin)) "value"
            let shape = s.Origin.shape |> Array.map int |> List.ofArray
            let f (x: float[]) = floats (bumpy s.Slopes (tensor shape x)) |> Array.sum
            close 1e-6 (floats gradient.Value) (slopes 1e-5 f (floats s.Origin)) "gradient"
            Expect.isFalse (value.requires_grad || gradient.Value.requires_grad) "graph"
            let alone, none = GradientAttack.look false (bumpy s.Slopes) s.Origin
            Expect.equal (floats alone) (floats value) "value alone"
            Expect.isNone none "no gradient"
            use _ = torch.no_grad ()
            let again = GradientAttack.look true (bumpy s.Slopes) s.Origin |> snd |> Option.get
            Expect.equal (floats again) (floats gradient.Value) "where gradients are switched off")

        test "a value without dimension counts for every sample" (fun () ->
            let x = noise (Source 1) [ 3; 2 ]
            let value, gradient = GradientAttack.look true (fun x -> x.square().sum()) x
            Expect.equal value.shape [| 3L |] "a value a sample"
            Expect.equal (Array.distinct (floats value)).Length 1 "the same for all"
            close 1e-12 (floats gradient.Value) (floats (x * 2.0)) "gradient")

        test "advancing keeps the better of two points for each sample" (fun () ->
            let column values = tensor [ 3; 1 ] values
            let origin = column [| 0.0; 0.0; 0.0 |]
            let first =
                GradientAttack.first
                    origin
                    (column [| 1.0; 2.0; 3.0 |])
                    (tensor [ 3 ] [| 1.0; 5.0; 3.0 |], column [| 0.1; 0.2; 0.3 |])
            let x = column [| 4.0; 5.0; 6.0 |]
            let second =
                GradientAttack.advance
                    first
                    x
                    (Map [ "m", Whole 3L ])
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
                GradientAttack.first x (x + 1.0) (values, x + 2.0) with
                    Memory = Map [ "momentum", Value(x + 3.0); "step", Whole 7L ]
            }
            let picked = GradientAttack.select (torch.tensor [| 2L; 0L |]) state
            let expected (x: Tensor) =
                let all = rows x
                Array.append all[2] all[0]

            for before, after in Seq.zip (GradientAttack.tensors state) (GradientAttack.tensors picked) do
                Expect.equal (floats after) (expected before) "rows"

            Expect.hasLength (GradientAttack.tensors picked) 9 "tensors"
            Expect.isTrue
                (match picked.Memory["step"] with
                 | Whole 7L -> true
                 | _ -> false)
                "a number stays")

        law "a rule's memory goes from step to step" (fun s ->
            // The sum of all gradients so far.
            let next threat (now: Iterate) =
                let sum =
                    match Map.tryFind "sum" now.Memory with
                    | Some(Value sum) -> sum + now.Gradient
                    | _ -> now.Gradient.clone ()
                now.X + Ball.steepest threat.Norm sum * (0.1 * threat.Radius), Map [ "sum", Value sum ]

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

        test "steps are counted in radii, and FGSM is one whole step from the image" (fun () ->
            let origin, w =
                torch.zeros ([| 1L; 4L |], torch.float64) + 0.5, tensor [ 1; 4 ] [| 1.0; -2.0; 0.0; 0.5 |]
            let draw = Draw.create 1UL "a" [| 0L |]
            let fgsm radius =
                floats (GradientAttack.ascend draw (Threat.create Linf radius) Ascent.fgsm (linear w) origin)
            Expect.equal (fgsm 0.1) [| 0.6; 0.4; 0.5; 0.6 |] "a pixel without slope stays"
            Expect.equal (fgsm 0.0) (floats origin) "no radius"
            Expect.equal (fgsm 0.9) [| 1.0; 0.0; 0.5; 1.0 |] "the box ends it"
            refuses [ "step" ] (fun () -> Ascent.pgd -0.1 3 |> ignore) "a step back")

        test "a long ascent holds no more tensors than a short one" (fun () ->
            let s = scene 4 4
            let highest = ResizeArray<int64>()
            let objective x =
                highest.Add torch.Tensor.TotalCount
                bumpy s.Slopes x
            ascend { s with Ascent = { s.Ascent with Steps = 30; Keep = Best } } objective s.Origin |> ignore
            Expect.hasLength highest 31 "looks"
            Expect.equal
                (Seq.max highest)
                (highest |> Seq.skip 2 |> Seq.head)
                "live tensors at the third look and at the fullest")

        testList "published" [
            for case in Reference.ofAttacks "fgsm" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let classify = Reference.classifier case
                    let labels name = Reference.indices [ "inputs"; name ] case
                    let objective x =
                        if Reference.truth [ "params"; "targeted" ] case then
                            (CrossEntropy.perSample (classify x) (labels "target")).neg()
                        else
                            CrossEntropy.perSample (classify x) (labels "y")
                    let origin = Reference.array [ "inputs"; "x" ] case
                    let threat =
                        Threat.create (Reference.norm case) (Reference.real [ "params"; "eps" ] case)
                    let draw = Draw.create 1UL "a" [| 0L; 1L; 2L; 3L |]
                    let x = GradientAttack.ascend draw threat Ascent.fgsm objective origin
                    close
                        (Reference.real [ "tolerance" ] case)
                        (floats x)
                        (Reference.values [ "expected"; "x_adv" ] case)
                        "x_adv")

            for case in Reference.ofAttacks "pgd" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let classify = Reference.classifier case
                    let labels name = Reference.indices [ "inputs"; name ] case
                    let targeted = Reference.truth [ "params"; "targeted" ] case

                    let objective (x: Tensor) =
                        let z = classify x

                        if Reference.text [ "params"; "loss" ] case = "margin" then
                            let y = (labels "y").unsqueeze 1L
                            let others =
                                z.scatter (1L, y, torch.full_like (y, (-1e9).ToScalar(), torch.float64))
                            others.amax ([| 1L |]) - z.gather(1L, y).squeeze 1L
                        elif targeted then
                            (CrossEntropy.perSample z (labels "target")).neg()
                        else
                            CrossEntropy.perSample z (labels "y")

                    let norm, radius, steps, stride = ofCase case
                    let threat = Threat.create norm radius
                    let input name = Reference.array [ "inputs"; name ] case
                    let x =
                        climb threat (Ascent.pgd (stride / radius) steps) objective (input "x") (input "x0")
                    let tolerance = Reference.real [ "tolerance" ] case
                    close tolerance (floats x) (Reference.values [ "expected"; "x_last" ] case) "x_last"
                    let ce =
                        CrossEntropy.perSample (classify x) (labels (if targeted then "target" else "y"))
                    relative
                        tolerance
                        (floats ce)
                        (Reference.values [ "expected"; "ce_last" ] case)
                        "ce_last")

            for case in Reference.ofLosses "attack acl.pgd" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let part name = Reference.array [ "network"; name ] case
                    let w1, b1, w2, b2 = part "W1", part "b1", part "W2", part "b2"
                    let net (x: Tensor) =
                        torch.nn.functional.linear (torch.nn.functional.linear(x, w1, b1).tanh(), w2, b2)
                    let hyper name = Reference.real [ "hyper"; name ] case
                    let radius = hyper "epsilon"
                    let threat = Threat.create Linf radius
                    let ascent =
                        Ascent.pgd (hyper "step" / radius) (Reference.whole [ "hyper"; "steps" ] case)
                    let x = Reference.array [ "inputs"; "x" ] case
                    let begun = x + Reference.array [ "inputs"; "start" ] case
                    // Rows alternate between the two views of an image.
                    let view (offset: int64) (x: Tensor) =
                        x.reshape([| -1L; 2L; x.shape[1] |]).select(1L, offset)
                    let contrast a b = InfoNce.ntXent (hyper "T") (net a) (net b)
                    let expected = rows (Reference.array [ "published"; "x_adv" ] case)

                    let raised =
                        if Reference.truth [ "hyper"; "second_view_clean" ] case then
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
                        (Reference.real [ "tolerance" ] case)
                        (floats raised)
                        (Array.concat expected)
                        "x_adv")
        ]
    ]
