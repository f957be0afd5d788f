/// The smallest moves onto hyperplanes within the box, in all three norms.
module Tests.Attacks.HyperplaneTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support.Oracles
open Support.HyperplaneOracle
open Support

// m points of each image, with a slope for each image and a value for each point.
[<NoEquality; NoComparison>]
type private LossContext = {
    Norm: Norm
    Box: (float * float) option
    Slopes: float[][]
    Points: float[][][]
    Values: float[][]
    Source: Source
}

let private scene (seed: int) (count: int) =
    let source = Source seed
    let m, n, d = source.Whole(1, 3), 1 + count % 5, source.Whole(1, 20)
    // Some pixels lie on the faces of the box, some do not matter, and some slopes are alike.
    let clipped v = min 1.0 (max 0.0 v)
    let slope () = source.Normals d |> Array.map (fun w -> if source.Whole(0, 5) = 0 then 0.0 else w)
    let slope () =
        if source.Whole(0, 3) = 0 then slope () |> Array.map (fun w -> float (sign w)) else slope ()
    let spread = source.Among [ 0.1; 1.0; 10.0 ]

    {
        Norm = source.Among [ Linf; L2; L1 ]
        Box = source.Among [ Some(0.0, 1.0); Some(-0.5, 1.25); None ]
        Slopes = Array.init n (fun _ -> slope ())
        Points =
            Array.init m (fun _ -> Array.init n (fun _ -> source.Uniforms(d, -0.3, 1.3) |> Array.map clipped))
        Values = Array.init m (fun _ -> times spread (source.Normals n))
        Source = source
    }

let private tensors s =
    let m, n, d = s.Points.Length, s.Slopes.Length, s.Slopes[0].Length
    tensor [ n; d ] (Array.concat s.Slopes),
    tensor [ m; n; d ] (Array.concat (Array.concat s.Points)),
    tensor [ m; n ] (Array.concat s.Values)

let private moved s : float[][] =
    let slopes, points, values = tensors s
    floats (Hyperplane.moves s.Norm s.Box slopes points values) |> Array.chunkBySize s.Slopes[0].Length

// Every point with its image's slope and its own value.
let private each s = [|
    for p in 0 .. s.Points.Length - 1 do
        for i in 0 .. s.Slopes.Length - 1 do
            s.Slopes[i], s.Values[p][i], s.Points[p][i]
|]

let private law name check =
    testProperty name (fun (seed: int) (PositiveInt count) -> balanced (fun () -> check (scene seed count)))

// A point of the box on the border, somewhere between two random ones on either side of it.
let private onBorder (source: Source) (low, high) slope value (x: float[]) =
    let at u = value + dot slope (minus u x)
    // Corners as well, so that borders near the rim of the box are met.
    let point () =
        let corner = source.Whole(0, 1) = 0
        Array.init x.Length (fun i ->
            if corner then
                (if slope[i] * float (source.Among [ 1; 1; 1; -1 ]) > 0.0 then high else low)
            else
                source.Uniform(low, high))
    let mirrored u = u |> Array.map (fun v -> low + high - v)
    let a = point ()
    let b = if source.Whole(0, 1) = 0 then point () else mirrored a
    let share = at a / (at a - at b)
    if at a * at b < 0.0 then Some(plus (times (1.0 - share) a) (times share b)) else None

[<Tests>]
let tests =
    testList "Attacks.Hyperplane" [
        law "a move is as the slow one has it" (fun s ->
            let expected = each s |> Array.map (fun (w, v, x) -> slowMove s.Norm s.Box w v x) |> Array.concat
            relative 1e-9 (Array.concat (moved s)) expected "move")

        law "it ends in the box, and on the border or, out of reach, on every face that helps" (fun s ->
            Array.zip (each s) (moved s)
            |> Array.iter (fun ((w, v, x), move) ->
                let ended = plus x move

                for low, high in Option.toList s.Box do
                    within (low - 1e-12) (high + 1e-12) ended "box"

                if unreachable s.Box w v x then
                    close 1e-12 (Array.map abs move) (roomOf s.Box w v x) "faces"
                else
                    close (1e-9 * (1.0 + abs v)) [| v + dot w move |] [| 0.0 |] "border"))

        law "no other point of border and box is nearer" (fun s ->
            let box = Option.defaultValue (-3.0, 4.0) s.Box

            Array.zip (each s) (moved s)
            |> Array.iter (fun ((w, v, x), move) ->
                if not (unreachable s.Box w v x) then
                    for _ in 1..20 do
                        for other in Option.toList (onBorder s.Source box w v x) do
                            let other = minus other x
                            // Towards the move as well, where competitors are closest.
                            let between = plus (times 0.05 other) (times 0.95 move)
                            let size = lengthOf s.Norm move
                            Expect.isLessThanOrEqual size (lengthOf s.Norm other + 1e-9) "anywhere"
                            Expect.isLessThanOrEqual size (lengthOf s.Norm between + 1e-9) "close by"))

        law "without a box its length is the value over the slope's dual length" (fun s ->
            let s = { s with Box = None }
            let lengths = moved s |> Array.map (lengthOf s.Norm)
            let expected =
                each s
                |> Array.map (fun (w, v, _) ->
                    let dual = dualOf s.Norm w
                    if dual = 0.0 then 0.0 else abs v / dual)
            relative 1e-9 lengths expected "length")

        law "on the border nothing moves" (fun s ->
            let ended = Array.map2 (fun (_, _, x) move -> plus x move) (each s) (moved s)
            let left = Array.map2 (fun (w, v, _) move -> v + dot w move) (each s) (moved s)
            let byPoint all = Array.chunkBySize s.Slopes.Length all
            // What was out of reach is at all the faces that help already.
            let again = { s with Points = byPoint ended; Values = byPoint left }
            atMost 1e-9 (Array.concat (moved again) |> Array.map abs) "moves again")

        law "a function times a number has the same border" (fun s ->
            let scaled factor = {
                s with
                    Slopes = s.Slopes |> Array.map (times factor)
                    Values = s.Values |> Array.map (times factor)
            }

            for factor in [ 0.01; 700.0; -1.0 ] do
                relative 1e-9 (Array.concat (moved (scaled factor))) (Array.concat (moved s)) "scaled")

        law "each point is moved for itself, in its own type" (fun s ->
            let slopes, points, values = tensors s
            let together = Hyperplane.moves s.Norm s.Box slopes points values
            let alone =
                Array.init s.Points.Length (fun p ->
                    Array.init s.Slopes.Length (fun i ->
                        let p, i = int64 p, int64 i
                        Hyperplane.moves
                            s.Norm
                            s.Box
                            (slopes.narrow (0L, i, 1L))
                            (points.narrow(0L, p, 1L).narrow(1L, i, 1L))
                            (values.narrow(0L, p, 1L).narrow(1L, i, 1L))
                        |> floats)
                    |> Array.concat)
            relative 1e-12 (Array.concat alone) (floats together) "slices"
            Expect.equal together.shape points.shape "shape"
            let halved = Hyperplane.moves s.Norm s.Box (single slopes) (single points) (single values)
            Expect.equal halved.dtype torch.float32 "type")

        law "thousands of pixels end on the border too" (fun s ->
            let n, d = 2, 3072
            let slopes = tensor [ n; d ] (s.Source.Normals(n * d))
            let points = tensor [ 1; n; 3; 32; 32 ] (s.Source.Uniforms(n * d, 0.0, 1.0))
            let values = tensor [ 1; n ] (s.Source.Uniforms(n, -600.0, 600.0))
            let slopes = slopes.reshape [| int64 n; 3L; 32L; 32L |]
            let moves = Hyperplane.moves s.Norm (Some(0.0, 1.0)) slopes points values
            let ended = points + moves
            within 0.0 1.0 (floats ended) "box"
            let left = values + (moves * slopes).reshape([| 1L; int64 n; -1L |]).sum(2L)
            close 1e-7 (floats left) (Array.create n 0.0) "border")

        test "where there is no slope, or none that is a number, nothing moves" (fun () ->
            let points = tensor [ 2; 1; 3 ] [| 0.0; 0.5; 1.0; 0.2; 0.3; 0.4 |]
            let values = tensor [ 2; 1 ] [| 1.0; -1.0 |]

            for slope in [ 0.0; 9e-9; nan ] do
                for box in [ Some(0.0, 1.0); None ] do
                    for norm in [ Linf; L2; L1 ] do
                        let slopes = tensor [ 1; 3 ] (Array.create 3 slope)
                        let moves = floats (Hyperplane.moves norm box slopes points values)
                        Expect.all moves ((=) 0.0) (sprintf "%g %A" slope norm))

        test "what is borrowed is not changed" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let slopes, points, values = tensors { scene 3 4 with Norm = norm }
                let before = bits slopes, bits points, bits values
                Hyperplane.moves norm (Some(0.0, 1.0)) slopes points values |> ignore
                Expect.equal (bits slopes, bits points, bits values) before "bytes")

        test "shapes that do not fit are refused with both named" (fun () ->
            let slopes, points, values =
                torch.zeros [| 2L; 3L |], torch.zeros [| 4L; 2L; 3L |], torch.zeros [| 4L; 2L |]
            let call slopes points values () = Hyperplane.moves L2 None slopes points values |> ignore
            refuses [ "points"; "[2; 3]"; "[4; 3]" ] (call slopes (torch.zeros [| 4L; 3L |]) values) "points"
            refuses [ "values"; "[2; 4]"; "[4; 2; 3]" ] (call slopes points (values.t ())) "values"
            refuses [ "values"; "[m; n]"; "[4]" ] (call slopes points (torch.zeros [| 4L |])) "rank")

        testList "published" [
            for case in GoldenValues.ofAttacks "hyperplane_projection" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let input name = GoldenValues.array [ "inputs"; name ] case
                    let param key = GoldenValues.real [ "params"; key ] case
                    let norm = GoldenValues.norm case
                    let x, w, b = input "x", input "w", input "b"
                    let value = (w * x).sum 1L - b
                    let move =
                        Hyperplane.moves
                            norm
                            (Some(param "lo", param "hi"))
                            w
                            (x.unsqueeze 0L)
                            (value.unsqueeze 0L)
                    let expected key = GoldenValues.values [ "expected"; key ] case
                    let tolerance = GoldenValues.real [ "tolerance" ] case
                    close tolerance (floats move) (expected "delta") "delta"
                    close
                        tolerance
                        (floats (Projection.length norm (move.squeeze 0L)))
                        (expected "norm")
                        "norm"
                    let left = floats (value + (move * w).sum(2L).squeeze 0L) |> Array.map abs
                    let reached = left |> Array.map (fun left -> if left < 1e-9 then 1.0 else 0.0)
                    Expect.equal reached (expected "reachable") "reachable")
        ]
    ]
