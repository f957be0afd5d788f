/// Embeddings that no loss can use, and networks that collapse.
module Tests.Losses.EmbeddingsTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open Support.Arrays
open Support.Laws

// The exception with which a call is refused.
let private raised (call: unit -> unit) : ArgumentException =
    try
        call ()
        failtest "nothing was refused"
    with :? ArgumentException as e ->
        e

let private ofValues call (row: int) message =
    let e = raised call
    Expect.isTrue (e :? EmbeddingException) message
    Expect.stringContains e.Message $"row {row} " message

let private ofShapes (parts: string list) call message =
    Expect.isFalse ((raised call) :? EmbeddingException) message
    refuses parts call message

let private good = [| [| 1.0; 2.0 |]; [| -1.0; 3.0 |]; [| 0.5; 0.0 |] |]
let private lost = [| [| 1.0; 2.0 |]; [| nan; 3.0 |]; [| 0.5; infinity |] |]
let private zero = [| [| 1.0; 2.0 |]; [| 0.0; 1.0 |]; [| 0.0; 0.0 |] |]

/// A loss of two views: fewest rows, and whether it asks for directions.
let private twins: (string * int64 * bool * string list * (Tensor -> Tensor -> Tensor)) list = [
    "N-pair", 2L, true, [ "anchors"; "positives" ], NPair.loss 0.5
    "instance spreading", 2L, true, [ "view1"; "view2" ], InstanceSpread.loss 0.5 1.0
    "Barlow Twins", 2L, false, [ "view1"; "view2" ], BarlowTwins.loss 0.005
    "VICReg", 2L, false, [ "view1"; "view2" ], VicReg.loss 25.0 25.0 1.0
    "BYOL's predictions", 1L, true, [ "p1"; "p2" ], (fun a b -> Byol.loss a b a b)
    "BYOL's targets", 1L, true, [ "z1"; "z2" ], (fun a b -> Byol.loss (matrix good) (matrix good) a b)
    "SimSiam", 1L, true, [ "p1"; "p2" ], (fun a b -> SimSiam.loss a b a b)
]

[<Tests>]
let tests =
    testList "Losses.Embeddings" [
        testProperty
            "a row is refused where it is not finite or has no length, and the first is named"
            (fun (seed: int) (PositiveInt n) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, d = 1 + n % 6, source.Whole(1, 4)
                    let odd = [| nan; infinity; -infinity |]

                    let x =
                        Array.init n (fun _ ->
                            match source.Whole(0, 5) with
                            | 0 -> Array.zeroCreate d
                            | 1 ->
                                Array.init d (fun j -> if j = d - 1 then odd[source.Whole(0, 2)] else 1.0)
                            | _ -> source.Normals d)

                    let finite row = Array.forall Double.IsFinite row
                    let directed row = finite row && norm2 row > 0.0

                    for check, sound in [ Embeddings.finite, finite; Embeddings.check, directed ] do
                        // Rows and columns of a transposed tensor lie otherwise in memory.
                        for tensor in [ matrix x; (matrix (Array.transpose x)).t(); single (matrix x) ] do
                            match Array.tryFindIndex (sound >> not) x with
                            | None -> check "z" 1L tensor
                            | Some row -> ofValues (fun () -> check "z" 1L tensor) row "row"))

        test "what is wrong with a row is told" (fun () ->
            let says part x =
                Expect.stringContains (raised (fun () -> Embeddings.check "z" 1L x)).Message part part
            says "not finite" (matrix lost)
            says "length 0" (matrix zero)
            says "(Parameter 'z')" (matrix zero)
            says "longer than its type can hold" (single (matrix [| [| 1e30; 1e30 |] |])))

        test "half precision is measured in single precision" (fun () ->
            Embeddings.check "z" 1L ((matrix [| [| 6e4; 6e4 |] |]).``to`` torch.float16)
            let tiny = (matrix [| [| 1e-4; 1e-4 |] |]).``to`` torch.float16
            Embeddings.check "z" 1L tiny)

        test "gradients flow past the check" (fun () ->
            let x = (matrix good).requires_grad_ true
            Embeddings.check "x" 1L x
            let slope = torch.autograd.grad (ResizeArray [ x.sum () ], ResizeArray [ x ])
            Expect.equal (floats slope[0]) (Array.create 6 1.0) "gradient")

        test "faults of shape are not of values" (fun () ->
            let zeros (shape: int64 list) = torch.zeros (Array.ofList shape, torch.float64)
            let whole = torch.zeros ([| 2L; 2L |], torch.int64)

            for name, parts, x in
                [
                    "rank", [ "z"; "[n; d]"; "[3]" ], zeros [ 3L ]
                    "type", [ "z"; "floating point"; "Int64" ], whole
                    "rows", [ "z"; "at least 2 rows"; "[1; 2]" ], zeros [ 1L; 2L ]
                    "columns", [ "z"; "at least 1 column"; "[2; 0]" ], zeros [ 2L; 0L ]
                ] do
                for check in [ Embeddings.finite; Embeddings.check; Embeddings.unit ] do
                    ofShapes parts (fun () -> check "z" 2L x) name

            let pair = [ "a", zeros [ 2L; 2L ]; "b", zeros [ 2L; 3L ] ]
            ofShapes
                [ "b"; "a"; "[2; 3]"; "[2; 2]" ]
                (fun () -> Embeddings.together 1L pair)
                "shapes come first")

        test "unit rows are told from others" (fun () ->
            Embeddings.unit "queue" 1L (matrix [| [| 0.6; 0.8 |]; [| 0.0; -1.005 |] |])

            for length in [ 0.98; 1.02 ] do
                let call () = Embeddings.unit "queue" 1L (matrix [| [| 1.0; 0.0 |]; [| 0.0; length |] |])
                ofShapes [ "queue"; "row 1" ] call $"length {length}"

            ofValues (fun () -> Embeddings.unit "queue" 1L (matrix zero)) 2 "no length")

        test "values of another device are left alone" (fun () ->
            let far = torch.zeros ([| 2L; 2L |], device = torch.device "meta")
            Embeddings.check "z" 1L far
            refuses [ "z" ] (fun () -> Embeddings.check "z" 3L far) "its shape is known")

        testList "losses" [
            for name, least, directed, arguments, loss in twins do
                test name (fun () ->
                    let call a b () = loss a b |> ignore
                    let good, lost, zero = matrix good, matrix lost, matrix zero
                    let first, second = arguments[0], arguments[1]
                    ofShapes [ first; "[n; d]" ] (call (good.flatten ()) good) "rank"
                    ofShapes [ second; "[3; 2]"; "[2; 2]" ] (call good (good.narrow (0L, 0L, 2L))) "shapes"
                    let few = good.narrow (0L, 0L, least - 1L)
                    ofShapes [ first; $"at least {least} rows" ] (call few few) "too few"
                    Expect.isTrue (Double.IsFinite(number (loss good good))) "enough"

                    for argument, a, b in [ first, lost, good; second, good, lost ] do
                        ofValues (call a b) 1 "not finite"
                        refuses [ argument ] (call a b) "its name"

                    if directed then
                        ofValues (call zero good) 2 "no direction"
                        ofValues (call good zero) 2 "no direction of the second"
                    else
                        Expect.isTrue
                            (Double.IsFinite(number (loss zero good)))
                            "a zero row is as good as any")

            test "weights" (fun () ->
                let x = matrix good

                for part, call in
                    [
                        "lambda", (fun () -> BarlowTwins.loss -0.1 x x)
                        "invariance", (fun () -> VicReg.loss nan 1.0 1.0 x x)
                        "variance", (fun () -> VicReg.loss 1.0 -1.0 1.0 x x)
                        "covariance", (fun () -> VicReg.loss 1.0 1.0 infinity x x)
                        "spread", (fun () -> InstanceSpread.loss 0.5 -1.0 x x)
                        "temperature", (fun () -> InstanceSpread.loss 0.0 1.0 x x)
                        "temperature", (fun () -> NPair.loss -0.5 x x)
                    ] do
                    refuses [ part ] (call >> ignore) part)
        ]

        testProperty
            "the deviation of embeddings equals the formula, whatever their lengths"
            (fun (seed: int) (PositiveInt n) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, d = 2 + n % 6, source.Whole(1, 5)
                    let x = source.Rows(n, d)
                    let unit = x |> Array.map (fun row -> times (1.0 / norm2 row) row)
                    let expected = Array.transpose unit |> Array.averageBy (variance >> sqrt)
                    relative 1e-10 [| FeatureStd.deviation (matrix x) |] [| expected |] "value"
                    let longer = x |> Array.map (times (source.Uniform(0.1, 10.0)))
                    relative 1e-10 [| FeatureStd.deviation (matrix longer) |] [| expected |] "scaled"))

        test "a healthy network deviates by 1 / sqrt(d), a collapsed one by nothing" (fun () ->
            let source = Source 1
            let healthy = FeatureStd.deviation (single (matrix (source.Rows(4096, 64))))
            relative 0.01 [| healthy * 8.0 |] [| 1.0 |] "healthy"
            let same = Array.create 5 (source.Normals 64)
            close 1e-9 [| FeatureStd.deviation (matrix same) |] [| 0.0 |] "one embedding for all"
            Expect.equal (FeatureStd.deviation (torch.zeros ([| 5L; 3L |]))) 0.0 "no length"
            refuses
                [ "embeddings"; "at least 2" ]
                (fun () -> FeatureStd.deviation (matrix [| [| 1.0; 2.0 |] |]) |> ignore)
                "one image"
            ofValues (fun () -> FeatureStd.deviation (matrix lost) |> ignore) 1 "not finite")
    ]
