/// Balls and what adversaries do in them, in all three norms.
module Tests.ThreatModel.ProjectionTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support.Oracles
open Support

let private norms = [ Linf; L2; L1 ]

// Images in their box, points anywhere around, and a threat.
[<NoEquality; NoComparison>]
type private LossContext = { Threat: Threat; Shape: int list; Origin: Tensor; Points: Tensor; Source: Source }

let private scene (seed: int) (count: int) =
    let source = Source seed
    let shape = [ 1 + count % 5; source.Whole(1, 2); source.Whole(1, 3); source.Whole(1, 3) ]
    let size = List.reduce (*) shape
    // Some pixels lie on the border of the box, where the projections have a corner.
    let origin = source.Uniforms(size, -0.3, 1.3) |> Array.map (fun v -> min 1.0 (max 0.0 v))
    let spread = if source.Whole(0, 3) = 0 then 0.05 else 2.0
    let points = origin |> Array.map (fun v -> v + spread * source.Normal())

    {
        Threat = Threat.create (source.Among norms) (source.Uniform(0.0, 1.5))
        Shape = shape
        Origin = tensor shape origin
        Points = tensor shape points
        Source = source
    }

let private unboxed threat = { threat with Box = None }

/// A point of ball and box about an image, anywhere in it.
let private feasible (source: Source) threat (origin: float[]) =
    let d = source.Normals origin.Length
    let d =
        if source.Whole(0, 1) = 0 then
            d
        else
            d |> Array.map (fun v -> if source.Whole(0, 2) = 0 then v else 0.0)
    let radius = threat.Radius * source.Uniform(0.0, 1.0)
    let moved = plus origin (times (radius / max 1e-12 (lengthOf threat.Norm d)) d)
    // The image is in the box, so clipping leads towards it and stays in the ball.
    moved |> Array.map (fun v -> min 1.0 (max 0.0 v))

let private projected s = rows (Projection.project s.Threat s.Origin s.Points)

let private law name check =
    testProperty name (fun (seed: int) (PositiveInt count) -> balanced (fun () -> check (scene seed count)))

let private many norm d count =
    let draw = Rng.create 5UL "ball" (Array.init count int64)
    let origin = torch.zeros ([| int64 count; int64 d |], torch.float64)
    let threat = { Threat.create norm 0.7 with Box = None }
    rows (Projection.randomStart threat draw origin) |> Array.map (times (1.0 / threat.Radius))

[<Tests>]
let tests =
    testList "ThreatModel.Projection" [
        law "lengths are the norms" (fun s ->
            for norm in norms do
                let expected = rows s.Points |> Array.map (lengthOf norm)
                relative 1e-12 (floats (Projection.length norm s.Points)) expected "length"
                let expected = Array.map2 minus (rows s.Points) (rows s.Origin) |> Array.map (lengthOf norm)
                relative 1e-12 (floats (Projection.distance norm s.Origin s.Points)) expected "distance")

        law "a projection lies in ball and box" (fun s ->
            let projected = projected s
            within 0.0 1.0 (Array.concat projected) "box"
            let distances = Array.map2 minus projected (rows s.Origin) |> Array.map (lengthOf s.Threat.Norm)
            atMost (s.Threat.Radius + 1e-9) distances "ball")

        law "a projection equals the slow one, with a box and without" (fun s ->
            for threat in [ s.Threat; unboxed s.Threat ] do
                let expected =
                    Array.map2 (Oracles.project threat) (rows s.Origin) (rows s.Points) |> Array.concat
                close 1e-9 (floats (Projection.project threat s.Origin s.Points)) expected "projected")

        law "projecting twice is projecting once" (fun s ->
            let once = Projection.project s.Threat s.Origin s.Points
            close 1e-9 (floats (Projection.project s.Threat s.Origin once)) (floats once) "float64"
            let origin, once = single s.Origin, single once
            let once = Projection.project s.Threat origin once
            close 1e-6 (floats (Projection.project s.Threat origin once)) (floats once) "float32")

        law "a point inside stays" (fun s ->
            let inside = rows s.Origin |> Array.collect (feasible s.Source s.Threat)
            let projected = Projection.project s.Threat s.Origin (tensor s.Shape inside)
            close 1e-12 (floats projected) inside "inside")

        law "no point of ball and box is nearer than the projection (Linf, L1)" (fun s ->
            for norm in [ Linf; L1 ] do
                let threat = { s.Threat with Norm = norm }
                let projected = rows (Projection.project threat s.Origin s.Points)

                (rows s.Origin, rows s.Points, projected)
                |||> Array.zip3
                |> Array.iter (fun (origin, point, nearest) ->
                    let distance = norm2 (minus point nearest)

                    for _ in 1..20 do
                        let other = feasible s.Source threat origin
                        // Towards the projection as well, where competitors are closest.
                        let between = plus (times 0.1 other) (times 0.9 nearest)
                        Expect.isLessThanOrEqual distance (norm2 (minus point other) + 1e-9) "anywhere"
                        Expect.isLessThanOrEqual distance (norm2 (minus point between) + 1e-9) "close by"))

        law "projections bring no two points further apart" (fun s ->
            let others = tensor s.Shape (s.Source.Uniforms(List.reduce (*) s.Shape, -2.0, 3.0))
            let after = Array.map2 minus (projected s) (rows (Projection.project s.Threat s.Origin others))
            let before = Array.map2 minus (rows s.Points) (rows others)
            Array.iter2
                (fun a b -> Expect.isLessThanOrEqual (norm2 a) (norm2 b + 1e-9) "distance")
                after
                before)

        law "each sample is projected for itself, and in its own type" (fun s ->
            let projected = Projection.project s.Threat s.Origin s.Points
            let alone row (x: Tensor) = x.narrow (0L, row, 1L)
            let ones =
                Array.init s.Shape[0] (fun row ->
                    floats (
                        Projection.project
                            s.Threat
                            (alone (int64 row) s.Origin)
                            (alone (int64 row) s.Points)
                    ))
            close 1e-12 (floats projected) (Array.concat ones) "slices"
            Expect.equal projected.shape s.Origin.shape "shape"
            let halved = Projection.project s.Threat (single s.Origin) (single s.Points)
            Expect.equal halved.dtype torch.float32 "type"
            close 1e-5 (floats halved) (floats projected) "in single precision")

        law "a radius of nought is the original" (fun s ->
            let threat = { s.Threat with Radius = 0.0 }
            close 1e-12 (floats (Projection.project threat s.Origin s.Points)) (floats s.Origin) "projected"
            let draw = Rng.create 1UL "start" (Array.init s.Shape[0] int64)
            Expect.equal (floats (Projection.randomStart threat draw s.Origin)) (floats s.Origin) "start")

        test "what is borrowed is not changed" (fun () ->
            let s = scene 3 4
            let before = bits s.Origin, bits s.Points
            Projection.project s.Threat s.Origin s.Points |> ignore
            Projection.randomStart s.Threat (Rng.create 1UL "s" (Array.init s.Shape[0] int64)) s.Origin
            |> ignore
            Expect.equal (bits s.Origin, bits s.Points) before "bytes")

        test "different shapes are refused with both named" (fun () ->
            let a, b = torch.zeros [| 2L; 3L |], torch.zeros [| 3L; 2L |]
            let parts = [ "[2; 3]"; "[3; 2]" ]
            refuses parts (fun () -> Projection.project (Threat.create L2 1.0) a b |> ignore) "project"
            refuses parts (fun () -> Projection.distance L2 a b |> ignore) "distance")

        law "the steepest direction has length 1 and no other rises faster" (fun s ->
            for norm in norms do
                Array.map2
                    (fun (gradient: float[]) direction ->
                        close 1e-9 [| lengthOf norm direction |] [| 1.0 |] "length"

                        let rise = dot gradient direction
                        let dual =
                            match norm with
                            | Linf -> norm1 gradient
                            | L2 -> norm2 gradient
                            | L1 -> normInf gradient
                        relative 1e-9 [| rise |] [| dual |] "rise"

                        for _ in 1..20 do
                            let other = s.Source.Normals gradient.Length
                            let other = times (1.0 / lengthOf norm other) other
                            Expect.isLessThanOrEqual (dot gradient other) (rise + 1e-9) "competitors")
                    (rows s.Points)
                    (rows (Projection.steepest norm s.Points))
                |> ignore)

        test "where there is no gradient there is no direction, and no NaN" (fun () ->
            for norm in norms do
                let zero = torch.zeros ([| 2L; 3L; 2L; 2L |], torch.float64)
                Expect.all (floats (Projection.steepest norm zero)) ((=) 0.0) "direction"
                Expect.all (floats (Projection.length norm zero)) ((=) 0.0) "length"
                let threat = Threat.create norm 0.5
                Expect.equal
                    (floats (Projection.project threat (zero + 0.5) (zero + 0.5)))
                    (floats (zero + 0.5))
                    "projected")

        test "among equal slopes L1 takes one coordinate" (fun () ->
            let direction = floats (Projection.steepest L1 (tensor [ 1; 4 ] [| 0.0; -2.0; 2.0; -2.0 |]))
            Expect.equal (norm1 direction) 1.0 "length"
            Expect.hasCountOf direction 1u ((<>) 0.0) "coordinates")

        testList "random starts" [
            for norm in norms do
                for d in [ 1; 2; 5 ] do
                    test (sprintf "%A in %d dimensions fill the ball evenly" norm d) (fun () ->
                        let offsets = many norm d 4000
                        let lengths = offsets |> Array.map (lengthOf norm)
                        atMost (1.0 + 1e-6) lengths "inside"
                        // A ball of r radii holds the r^d-th part of the volume.
                        let shares = lengths |> Array.map (fun r -> r ** float d)
                        Expect.isLessThan (distanceFromUniform shares) (1.95 / sqrt 4000.0) "radii"

                        for i in 0 .. d - 1 do
                            let along = offsets |> Array.map (Array.item i)
                            within -0.05 0.05 [| mean along |] "no side is preferred"
                            Expect.exists along (fun v -> v > 0.3) "one side"
                            Expect.exists along (fun v -> v < -0.3) "the other"

                        let spread i = offsets |> Array.map (Array.item i) |> variance
                        close 0.03 (Array.init d spread) (Array.create d (spread 0)) "all coordinates alike")
        ]

        law "a start lies in the ball, before any clipping, and depends on the sample's id alone" (fun s ->
            let ids = Array.init s.Shape[0] (fun i -> int64 (7 * i + 1))
            let draw = Rng.create 9UL "start" ids
            let starts = rows (Projection.randomStart s.Threat draw s.Origin)
            let distances = Array.map2 minus starts (rows s.Origin) |> Array.map (lengthOf s.Threat.Norm)
            atMost (s.Threat.Radius + 1e-6) distances "ball"

            for row in 0 .. ids.Length - 1 do
                let origin = s.Origin.narrow (0L, int64 row, 1L)
                let alone = Projection.randomStart s.Threat { draw with Ids = [| ids[row] |] } origin
                close 1e-12 (floats alone) starts[row] "alone")

        testList "published" [
            for case in GoldenValues.ofAttacks "ball_projection" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let threat = {
                        Norm = GoldenValues.norm case
                        Radius = GoldenValues.real [ "params"; "eps" ] case
                        Box =
                            Some(
                                GoldenValues.real [ "params"; "lo" ] case,
                                GoldenValues.real [ "params"; "hi" ] case
                            )
                    }

                    let input name = GoldenValues.array [ "inputs"; name ] case
                    let projected = Projection.project threat (input "x") (input "u")
                    let expected = GoldenValues.values [ "expected"; "projected" ] case
                    close (GoldenValues.real [ "tolerance" ] case) (floats projected) expected "projected")
        ]
    ]
