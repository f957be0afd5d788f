/// Views that change colours.
module Tests.Augment.ColourTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

// Turns of the hue by a part of the circle: the strength that gives one sample just this turn.
let private turned part (x: Tensor) =
    let draw = place 1
    let u = (Rng.numbers (Rng.sub "hue" draw))[0]
    (Colour.jitter 0.0 0.0 0.0 (part / (2.0 * u - 1.0))).Run draw x

let private luma (r: float) g b = 0.299 * r + 0.587 * g + 0.114 * b

// The factors by which a change moved each image away from what it mixes in.
let private factors (before: Tensor) (after: Tensor) (other: float[] -> float[]) =
    Array.map2
        (fun x y ->
            let rest = other x
            let from, into = minus x rest, minus y rest
            let f = dot into from / dot from from
            close 2e-5 into (times f from) "one factor for the whole image"
            f)
        (rows before)
        (rows after)

[<Tests>]
let tests =
    testList "Augment.Colour" [
        test "a jitter of strength nought changes nothing" (fun () ->
            let x = images (Source 1) 5 3 8
            close 1e-6 (floats ((Colour.jitter 0.0 0.0 0.0 0.0).Run (place 5) x)) (floats x) "pixels")

        test "brightness multiplies an image by one factor" (fun () ->
            let x = images (Source 1) 500 3 4 * 0.5
            let y = (Colour.jitter 0.4 0.0 0.0 0.0).Run (place 500) x
            evenly (0.6 - 1e-5) (1.4 + 1e-5) (factors x y (Array.map (fun _ -> 0.0))))

        test "contrast mixes in the mean grey" (fun () ->
            let x = images (Source 1) 500 3 4 * 0.2 + 0.4
            let y = (Colour.jitter 0.0 0.4 0.0 0.0).Run (place 500) x
            let meanGrey (image: float[]) =
                let channel i = mean image[16 * i .. 16 * i + 15]
                Array.create 48 (luma (channel 0) (channel 1) (channel 2))
            evenly (0.6 - 1e-4) (1.4 + 1e-4) (factors x y meanGrey))

        test "saturation mixes in the grey of each pixel" (fun () ->
            let x = images (Source 1) 500 3 4 * 0.2 + 0.4
            let y = (Colour.jitter 0.0 0.0 0.4 0.0).Run (place 500) x
            let grey (image: float[]) =
                Array.init 48 (fun i -> luma image[i % 16] image[16 + i % 16] image[32 + i % 16])
            evenly (0.6 - 1e-4) (1.4 + 1e-4) (factors x y grey))

        test "an image that becomes too bright is cut off" (fun () ->
            let x = torch.ones [| 200L; 1L; 2L; 2L |] * 0.9
            let y = floats ((Colour.jitter 0.5 0.0 0.0 0.0).Run (place 200) x)
            Expect.isGreaterThan (y |> Array.filter ((=) 1.0) |> Array.length) 100 "white pixels"
            within 0.449 1.0 y "range")

        test "hue keeps each pixel's value and chroma" (fun () ->
            let x = images (Source 1) 20 3 6
            let y = (Colour.jitter 0.0 0.0 0.0 0.5).Run (place 20) x
            let value (x: Tensor) = floats (x.amax [| 1L |])
            let lowest (x: Tensor) = floats (x.amin [| 1L |])
            close 1e-5 (value y) (value x) "value"
            close 1e-5 (lowest y) (lowest x) "value less chroma"
            Expect.notEqual (bits y) (bits x) "turned")

        test "a whole turn of the hue is none, a third moves red to green to blue" (fun () ->
            let x = images (Source 3) 1 3 8
            close 1e-4 (floats (turned 1.0 x)) (floats x) "a whole turn"
            close 1e-4 (floats (turned -1.0 x)) (floats x) "a whole turn back"
            let channel i = (x.narrow (1L, int64 i, 1L))
            let moved = torch.cat ([| channel 2; channel 0; channel 1 |], 1L)
            close 1e-4 (floats (turned (1.0 / 3.0) x)) (floats moved) "a third of a turn"
            let yellow = single (tensor [ 1; 3; 1; 1 ] [| 0.8; 0.8; 0.2 |])
            close 1e-4 (floats (turned (1.0 / 6.0) yellow)) [| 0.2; 0.8; 0.2 |] "a sixth: yellow to green")

        test "grey pixels have no hue to turn" (fun () ->
            let x = (images (Source 3) 1 1 4).repeat [| 1L; 3L; 1L; 1L |]
            close 1e-6 (floats (turned 0.37 x)) (floats x) "pixels")

        test "grey is the luma on every channel" (fun () ->
            let x = images (Source 1) 3 3 4
            let y = Colour.grey.Run (place 3) x

            Array.iter2
                (fun (image: float[]) (grey: float[]) ->
                    let expected = Array.init 16 (fun i -> luma image[i] image[16 + i] image[32 + i])
                    close 1e-6 grey (Array.concat [ expected; expected; expected ]) "channels")
                (rows x)
                (rows y)

            close 1e-6 (floats (Colour.grey.Run (place 3) y)) (floats y) "grey of grey")

        test "solarise turns what is at or above the threshold into its negative" (fun () ->
            let x = single (tensor [ 2; 1; 1; 3 ] [| 0.0; 0.25; 0.5; 0.75; 1.0; 0.49 |])
            let y = (Colour.solarise 0.5).Run (place 2) x
            close 1e-7 (floats y) [| 0.0; 0.25; 0.5; 0.25; 0.0; 0.49 |] "pixels"
            let low = (Colour.solarise 0.25).Run (place 2) x
            close 1e-7 (floats low) [| 0.0; 0.75; 0.5; 0.25; 0.0; 0.51 |] "pixels of a lower threshold")

        test "images of one channel have no saturation, hue or grey to change" (fun () ->
            let x = images (Source 1) 3 1 5
            Expect.equal (bits (Colour.grey.Run (place 3) x)) (bits x) "grey"
            close
                1e-6
                (floats ((Colour.jitter 0.0 0.0 0.9 0.5).Run (place 3) x))
                (floats x)
                "saturation and hue")
    ]
