/// Affine changes of place by given magnitudes.
module Tests.Augment.AffineOpsTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

let private fill = 0.3
let private magnitudes (values: float list) : Tensor = torch.tensor (Array.ofList values)

// What a warp makes of images where the pixel at row r, column c of image i is taken from `from i r c`.
let private takenFrom (from: int -> int -> int -> int * int) (x: Tensor) =
    let channels, h, w = int x.shape[1], int x.shape[2], int x.shape[3]

    rows x
    |> Array.mapi (fun i image -> [|
        for ch in 0 .. channels - 1 do
            for r in 0 .. h - 1 do
                for c in 0 .. w - 1 do
                    let r, c = from i r c
                    if r < 0 || c < 0 || r >= h || c >= w then fill else pixel image h w ch r c
    |])
    |> Array.concat

let private picture n channels h w = noise (Source(h * w)) [ n; channels; h; w ]

let private kinds: (string * (float -> Tensor -> Tensor -> Tensor)) list = [
    "shear along rows", AffineOps.shearX
    "shear along columns", AffineOps.shearY
    "translation along rows", AffineOps.translateX
    "translation along columns", AffineOps.translateY
    "rotation", AffineOps.rotate
]

// The place that a pixel is taken from, in pixels from the upper left corner of the image.
let private source name magnitude (h: int) (w: int) (y: float, x: float) =
    let middleY, middleX = float h / 2.0, float w / 2.0
    let angle = magnitude * Math.PI / 180.0

    match name with
    | "shear along rows" -> y, x - magnitude * y
    | "shear along columns" -> y - magnitude * x, x
    | "translation along rows" -> y, x - magnitude
    | "translation along columns" -> y - magnitude, x
    | _ ->
        middleY + sin angle * (x - middleX) + cos angle * (y - middleY),
        middleX + cos angle * (x - middleX) - sin angle * (y - middleY)

[<Tests>]
let tests =
    testList "Augment.AffineOps" [
        for name, warp in kinds do
            test (name + ": the nearest pixel, image by image") (fun () ->
                let amounts =
                    if name = "rotation" then [ -135.0; -31.7; -10.0; 0.0; 3.3; 20.0; 77.7; 400.0 ]
                    elif name.StartsWith "shear" then [ -0.99; -0.31; -0.1; 0.0; 0.05; 0.3; 0.66; 2.0 ]
                    else [ -14.49; -3.2; -0.7; 0.0; 0.4; 1.0; 5.8; 40.0 ]

                for channels, h, w in [ 3, 8, 8; 1, 9, 7; 3, 6, 11 ] do
                    let x = picture amounts.Length channels h w
                    let warped = warp fill (magnitudes amounts) x
                    Expect.equal warped.shape x.shape "shape"
                    Expect.equal warped.dtype torch.float64 "type"
                    let mutable compared = 0

                    for i, (before, after) in Seq.indexed (Seq.zip (rows x) (rows warped)) do
                        for r in 0 .. h - 1 do
                            for c in 0 .. w - 1 do
                                let y, x = source name amounts[i] h w (float r + 0.5, float c + 0.5)
                                let away v = abs (v - round v)
                                // Where two pixels are equally near there is another test.
                                if away y > 2e-3 && away x > 2e-3 then
                                    let r', c' = int (floor y), int (floor x)
                                    let outside = r' < 0 || c' < 0 || r' >= h || c' >= w

                                    for ch in 0 .. channels - 1 do
                                        let expected = if outside then fill else pixel before h w ch r' c'
                                        close
                                            0.0
                                            [| pixel after h w ch r c |]
                                            [| expected |]
                                            (sprintf "%g at %d, %d" amounts[i] r c)
                                        compared <- compared + 1

                    Expect.isGreaterThan compared (int (x.numel ()) * 7 / 10) "pixels compared")

            test (name + " by nothing is the image") (fun () ->
                for h, w in [ 8, 8; 7, 9; 32, 31 ] do
                    let x = single (picture 2 3 h w)
                    let y = warp fill (magnitudes [ 0.0; 0.0 ]) x
                    Expect.equal (bits y) (bits x) "pixels"
                    Expect.isFalse (obj.ReferenceEquals(y, x)) "never the argument itself")

            test (name + " of one image depends on no other") (fun () ->
                let x = single (picture 5 3 16 16)
                let amounts =
                    [ 0.1; -0.4; 0.25; 0.5; -0.7 ]
                    |> List.map (fun a -> if name = "rotation" then 100.0 * a else a)
                let together = rows (warp fill (magnitudes amounts) x)

                for i, amount in List.indexed amounts do
                    Expect.equal (floats (warp fill (magnitudes [ amount ]) (row i x))) together[i] "alone")

            test (name + " refuses magnitudes that are not one an image") (fun () ->
                refuses
                    [ "2 images"; "[3]" ]
                    (fun () -> warp fill (magnitudes [ 1.0; 2.0; 3.0 ]) (picture 2 1 4 4) |> ignore)
                    "three for two")

        test "whole pixels are shifts" (fun () ->
            let amounts = [ -7; -2; -1; 0; 1; 3; 12 ]
            let x = single (picture 7 3 6 8)
            let pixels = magnitudes (List.map float amounts)
            let fill' = floats (single (tensor [ 1 ] [| fill |]))
            let expected from = takenFrom from x |> Array.map (fun v -> if v = fill then fill'[0] else v)
            let right = floats (AffineOps.translateX fill pixels x)
            let down = floats (AffineOps.translateY fill pixels x)
            Expect.equal right (expected (fun i r c -> r, c - amounts[i])) "to the right"
            Expect.equal down (expected (fun i r c -> r - amounts[i], c)) "down")

        test "half a pixel is the neighbour to the right or below" (fun () ->
            let x = picture 2 1 5 5
            let half = magnitudes [ 0.5; -0.5 ]
            let step i = if i = 0 then 0 else 1
            Expect.equal
                (floats (AffineOps.translateX fill half x))
                (takenFrom (fun i r c -> r, c + step i) x)
                "across"
            Expect.equal
                (floats (AffineOps.translateY fill half x))
                (takenFrom (fun i r c -> r + step i, c) x)
                "down")

        test "quarter turns of square images are permutations" (fun () ->
            for n in [ 6; 7 ] do
                let x = picture 5 3 n n
                let turned = AffineOps.rotate fill (magnitudes [ 90.0; 180.0; 270.0; -90.0; 360.0 ]) x
                let last = n - 1

                let expected =
                    takenFrom
                        (fun i r c ->
                            match i with
                            | 0 -> c, last - r
                            | 1 -> last - r, last - c
                            | 2
                            | 3 -> last - c, r
                            | _ -> r, c)
                        x

                Expect.equal (floats turned) expected (sprintf "side %d" n))

        test "half a turn of an image that is not square is a permutation too" (fun () ->
            let x = picture 1 2 4 7
            let expected = takenFrom (fun _ r c -> 3 - r, 6 - c) x
            Expect.equal (floats (AffineOps.rotate fill (magnitudes [ 180.0 ]) x)) expected "pixels")

        test "a turn and its opposite bring the middle back" (fun () ->
            let smooth = tensor [ 1; 1; 32; 32 ] (Array.init 1024 (fun i -> float (i % 32 + i / 32) / 62.0))
            let turned =
                AffineOps.rotate
                    0.0
                    (magnitudes [ -25.0 ])
                    (AffineOps.rotate 0.0 (magnitudes [ 25.0 ]) smooth)
            let middle (x: Tensor) = floats (x.narrow(2L, 10L, 12L).narrow(3L, 10L, 12L))
            close (3.0 / 62.0) (middle turned) (middle smooth) "within the pixels that two roundings move")
    ]
