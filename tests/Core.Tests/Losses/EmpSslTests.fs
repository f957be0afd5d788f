/// EMP-SSL, many crops of an image, against loops over plain numbers, singular values and closed forms.
module Tests.Losses.EmpSslTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.LossGradients
open Support.Laws

let private unit (rows: float[][]) = rows |> Array.map (fun row -> times (1.0 / norm2 row) row)

// log det of a positive definite matrix, by elimination: the product of the pivots.
let private logDeterminant (a: float[][]) =
    let a = a |> Array.map Array.copy

    Array.init a.Length (fun k ->
        for i in k + 1 .. a.Length - 1 do
            a[i] <- minus a[i] (times (a[i].[k] / a[k].[k]) a[k])

        log a[k].[k])
    |> Array.sum

// The eigenvalues of a symmetric matrix, by Jacobi's rotations.
let private eigenvalues (a: float[][]) =
    let a = a |> Array.map Array.copy
    let n = a.Length

    for _ in 1..50 do
        for p in 0 .. n - 2 do
            for q in p + 1 .. n - 1 do
                let angle = 0.5 * atan2 (2.0 * a[p].[q]) (a[q].[q] - a[p].[p])
                let c, s = cos angle, sin angle

                for row in a do
                    let x, y = row[p], row[q]
                    row[p] <- c * x - s * y
                    row[q] <- s * x + c * y

                let x, y = a[p], a[q]
                a[p] <- minus (times c x) (times s y)
                a[q] <- plus (times s x) (times c y)

    Array.init n (fun i -> a[i].[i])

// Z'Z, d by d, whatever is smaller.
let private gram (z: float[][]) = multiply (Array.transpose z) z

let private scale distortion (z: float[][]) = float z[0].Length / (float z.Length * distortion)

let private rate distortion (crop: float[][]) =
    let z = unit crop

    gram z
    |> Array.mapi (fun i row ->
        row |> Array.mapi (fun j v -> scale distortion z * v + (if i = j then 1.0 else 0.0)))
    |> logDeterminant
    |> (*) 0.5

let private slow invariance distortion (crops: float[][] list) =
    let z = crops |> List.map unit
    let images = crops[0].Length

    let center m = times (1.0 / float z.Length) (z |> List.map (Array.item m) |> List.reduce plus)

    let cosines = [
        for crop in z do
            for m in 0 .. images - 1 do
                cosine crop[m] (center m)
    ]

    -invariance * List.average cosines - List.averageBy (rate distortion) crops

let private fast invariance distortion (crops: Tensor list) = EmpSsl.loss invariance distortion crops

let private value invariance distortion (crops: float[][] list) =
    number (fast invariance distortion (crops |> List.map matrix))

let private drawn count name check =
    testPropertyN count name (fun (seed: int) (PositiveInt n) (PositiveInt d) ->
        balanced (fun () ->
            let source = Source seed
            let n, d = 2 + n % 4, 2 + d % 5
            let crops = [ for _ in 1 .. source.Whole(2, 4) -> source.Rows(n, d) ]
            check source (source.Uniform(0.0, 200.0)) (source.Uniform(0.05, 1.0)) crops))

[<Tests>]
let tests =
    testList "Losses.EmpSsl" [
        drawn 100 "equals the formula, number by number, for either Gram matrix" (fun _ w e crops ->
            relative 1e-10 [| value w e crops |] [| slow w e crops |] "value")

        drawn
            30
            "the coding rate is half the sum of log(1 + d / (n e) s^2) over singular values s"
            (fun _ _ e crops ->
                let rates =
                    crops
                    |> List.averageBy (fun crop ->
                        let z = unit crop
                        eigenvalues (gram z) |> Array.sumBy (fun s2 -> 0.5 * log (1.0 + scale e z * s2)))

                relative 1e-10 [| value 0.0 e crops |] [| -rates |] "value")

        drawn 100 "sees neither order nor rotation nor length" (fun source w e crops ->
            invariant source (fast w e) crops
            let order = source.Order crops.Length
            let permutedCrops = crops |> Array.ofList |> permuted order |> List.ofArray
            relative 1e-10 [| value w e permutedCrops |] [| value w e crops |] "crops in another order")

        drawn 20 "gradients equal finite differences, in every crop" (fun _ w e crops ->
            // Lengths are kept from 0: near it slopes change too fast for differences.
            let crops =
                crops
                |> List.map (
                    Array.map (fun row ->
                        if norm2 row < 0.3 then plus row (Array.create row.Length 1.0) else row)
                )
            sloped [] (slow (w / 20.0) e) (fast (w / 20.0) e) crops)

        test "orthonormal embeddings reach the bound, -198 for 100 images of 1024 numbers" (fun () ->
            let crop = torch.eye (100L, 1024L, torch.float64)
            let bound = -50.0 * log (1.0 + 1024.0 / 20.0)
            Expect.equal (round bound) -198.0 "bound"
            relative 1e-12 [| number (fast 0.0 0.2 [ crop; crop ]) |] [| bound |] "coding rate"
            relative 1e-12 [| number (fast 200.0 0.2 [ crop; crop ]) |] [| bound - 200.0 |] "crops alike")

        drawn 100 "nothing is below the bound of orthonormal embeddings" (fun _ w e crops ->
            let n, d = float crops[0].Length, float crops[0].[0].Length
            // Of fewer dimensions than images: all directions alike.
            let bound = -0.5 * min n d * log (1.0 + d / (n * e) * max 1.0 (n / d))
            Expect.isGreaterThan (value w e crops) (bound - w - 1e-9) "value")

        testProperty "a collapsed network has the least rate" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let n, d = source.Whole(2, 6), source.Whole(1, 6)
                let same = Array.create n (source.Normals d)
                relative
                    1e-10
                    [| value 200.0 0.2 [ same; same ] |]
                    [| -200.0 - 0.5 * log (1.0 + float d / 0.2) |]
                    "value"))

        test "crops that cancel have a value and a gradient" (fun () ->
            let crop = matrix ((Source 1).Rows(3, 4))
            let value, gradients = withGradients (fast 200.0 0.2) [ crop; crop.neg () ]
            relative 1e-10 [| value |] [| -(rate 0.2 (rows crop)) |] "no closeness"
            Expect.all (gradients |> List.map Option.get |> Array.concat) System.Double.IsFinite "gradient")

        test "single precision holds for 4096 embeddings, spread and all but collapsed" (fun () ->
            let source = Source 2

            for n, d in [ 1024, 16; 64, 256 ] do
                let center = source.Normals d

                for noise in [ 1.0; 1e-3 ] do
                    let crops = [
                        for _ in 1 .. 4096 / n ->
                            matrix (
                                source.Rows(n, d) |> Array.map (fun row -> plus center (times noise row))
                            )
                    ]
                    let expected, slopes = withGradients (fast 200.0 0.2) crops
                    let value, gradients = withGradients (fast 200.0 0.2) (crops |> List.map single)
                    relative 1e-5 [| value |] [| expected |] "value"
                    let flat found = found |> List.map Option.get |> Array.concat
                    let off = norm2 (minus (flat gradients) (flat slopes)) / norm2 (flat slopes)
                    Expect.isLessThan off 1e-3 $"gradient of {n} by {d}, noise {noise}")

        test "half precision is summed in single precision" (fun () ->
            let source = Source 3
            halves (fast 200.0 0.2) [ for _ in 1..3 -> source.Rows(4, 5) ])

        test "faults are named" (fun () ->
            let ones (shape: int64 list) = torch.ones (Array.ofList shape, torch.float64)
            let good = ones [ 3L; 2L ]
            let zero = matrix [| [| 1.0; 1.0 |]; [| 0.0; 0.0 |]; [| 1.0; 1.0 |] |]
            let loss invariance distortion crops () = EmpSsl.loss invariance distortion crops |> ignore

            for name, parts, call in
                [
                    "invariance", [ "invariance" ], loss -1.0 0.2 [ good; good ]
                    "distortion", [ "distortion" ], loss 200.0 0.0 [ good; good ]
                    "no crop", [ "crops"; "at least 2"; "0" ], loss 200.0 0.2 []
                    "one crop", [ "crops"; "at least 2"; "1" ], loss 200.0 0.2 [ good ]
                    "one image",
                    [ "crops[0]"; "at least 2"; "[1; 2]" ],
                    loss 200.0 0.2 [ ones [ 1L; 2L ]; good ]
                    "rank", [ "crops[1]"; "[n; d]" ], loss 200.0 0.2 [ good; ones [ 3L ] ]
                    "shapes", [ "crops[2]"; "[4; 2]" ], loss 200.0 0.2 [ good; good; ones [ 4L; 2L ] ]
                    "no direction", [ "crops[1]"; "row 1" ], loss 200.0 0.2 [ good; zero ]
                ] do
                refuses parts call name)
    ]
