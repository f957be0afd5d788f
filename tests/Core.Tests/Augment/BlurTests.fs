/// Gaussian blur.
module Tests.Augment.BlurTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Augment
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

let private blurs size =
    let source = Source 5
    let x = images source 40 2 size
    x, Blur.gaussian.Run (place 40) x

[<Tests>]
let tests =
    testList "Augment.Blur" [
        test "a constant image stays: kernels sum to one" (fun () ->
            let x = (torch.ones [| 50L; 3L; 8L; 8L |]) * 0.7
            close 1e-6 (floats (Blur.gaussian.Run (place 50) x)) (floats x) "pixels")

        for size, half in [ 12, 1; 40, 2 ] do
            test
                (sprintf
                    "images of %d pixels are folded with a bell of %d, reflected at the border"
                    size
                    (2 * half + 1))
                (fun () ->
                    let x, y = blurs size
                    // The same draws on a single bright pixel show each sample's kernel.
                    let spot = torch.zeros [| 40L; 2L; int64 size; int64 size |]
                    let m = size / 2
                    spot.narrow(2L, int64 m, 1L).narrow(3L, int64 m, 1L).fill_(1.0.ToScalar()) |> ignore
                    let spots = rows (Blur.gaussian.Run (place 40) spot)

                    let deviations =
                        Array.zip3 (rows x) (rows y) spots
                        |> Array.map (fun (image, blurred, spot) ->
                            let bell =
                                Array.init (2 * half + 1) (fun i ->
                                    sqrt (pixel spot size size 0 (m + i - half) (m + i - half)))
                            close 1e-5 [| Array.sum bell |] [| 1.0 |] "sum"
                            close 1e-6 bell (Array.rev bell) "symmetry"
                            let ratio = bell[half - 1] / bell[half]
                            if half = 2 && ratio > 1e-3 then
                                close 1e-3 [| bell[0] / bell[2] |] [| ratio ** 4.0 |] "a bell"
                            let reflect i =
                                if i < 0 then -i
                                elif i >= size then 2 * (size - 1) - i
                                else i

                            let expected = [|
                                for ch in 0..1 do
                                    for r in 0 .. size - 1 do
                                        for c in 0 .. size - 1 do
                                            let mutable sum = 0.0

                                            for a in -half .. half do
                                                for b in -half .. half do
                                                    let p =
                                                        pixel
                                                            image
                                                            size
                                                            size
                                                            ch
                                                            (reflect (r + a))
                                                            (reflect (c + b))
                                                    sum <- sum + bell[a + half] * bell[b + half] * p

                                            sum
                            |]
                            close 1e-4 blurred expected "pixels"
                            if ratio > 1e-9 then sqrt (-0.5 / log ratio) else 0.1)

                    within 0.1 2.01 deviations "deviations"
                    Expect.isGreaterThan
                        (Array.max deviations - Array.min deviations)
                        1.0
                        "each sample its own")
    ]
