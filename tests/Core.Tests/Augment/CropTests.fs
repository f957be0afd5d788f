/// Crops, resized and padded.
module Tests.Augment.CropTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Augment
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

// An image's value at a place between pixels; the border is replicated.
let private bilinear (values: float[]) h w ch (y: float) (x: float) =
    let keep limit v = min (float limit - 1.0) (max 0.0 v)
    let y, x = keep h y, keep w x
    let r, c = int (floor y), int (floor x)
    let at r c = pixel values h w ch (min r (h - 1)) (min c (w - 1))
    let fy, fx = y - float r, x - float c
    (1.0 - fy) * ((1.0 - fx) * at r c + fx * at r (c + 1))
    + fy * ((1.0 - fx) * at (r + 1) c + fx * at (r + 1) (c + 1))

// The images of a batch where columns, rows and noise are the channels, to see what a crop does.
let private ramps (source: Source) n size =
    let value ch r c =
        match ch with
        | 0 -> float c / float (size - 1)
        | 1 -> float r / float (size - 1)
        | _ -> source.Uniform(0.0, 1.0)

    tensor [ n; 3; size; size ] [|
        for _ in 1..n do
            for ch in 0..2 do
                for r in 0 .. size - 1 do
                    for c in 0 .. size - 1 do
                        value ch r c
    |]
    |> single

/// What a crop did: its sides (negative width: flipped) and its centre, in parts of the image.
type private Window = { Width: float; Height: float; X: float; Y: float }

let private windowOf size (cropped: float[]) =
    let m = size / 2
    let at ch r c = pixel cropped size size ch r c * float (size - 1)
    let scale, middle = float size / 2.0, float (size - 1) / 2.0
    {
        Width = at 0 m m - at 0 m (m - 1)
        Height = at 1 m m - at 1 (m - 1) m
        X = ((at 0 m m + at 0 m (m - 1)) / 2.0 - middle) / scale
        Y = ((at 1 m m + at 1 (m - 1) m) / 2.0 - middle) / scale
    }

[<Tests>]
let tests =
    testList "Augment.Crop" [
        test "windows lie in the image, with area and aspect as said, half of them flipped" (fun () ->
            let size, n = 16, 2000
            let windows =
                rows ((Crop.randomResized 0.1).Run (place n) (ramps (Source 3) n size))
                |> Array.map (windowOf size)
            let width w = abs w.Width

            for w in windows do
                within 0.0 (1.0 + 1e-4) [| width w; w.Height |] "sides"
                within -(1.0 - width w + 1e-4) (1.0 - width w + 1e-4) [| w.X |] "left and right"
                within -(1.0 - w.Height + 1e-4) (1.0 - w.Height + 1e-4) [| w.Y |] "above and below"

                if width w < 0.999 && w.Height < 0.999 then
                    within (0.1 - 1e-3) 1.0 [| width w * w.Height |] "area"
                    within (0.75 - 2e-3) (4.0 / 3.0 + 2e-3) [| width w / w.Height |] "aspect"

            let flipped = windows |> Array.filter (fun w -> w.Width < 0.0) |> Array.length
            within 0.46 0.54 [| float flipped / float n |] "flipped"
            // Where neither side is cut, and so nothing is known of the other: below half of the image.
            let areas = windows |> Array.map (fun w -> width w * w.Height) |> Array.filter (fun a -> a < 0.5)
            evenly 0.0999 0.5001 areas
            within 0.40 0.49 [| float areas.Length / float n |] "share of the small ones"
            let aspects =
                windows
                |> Array.filter (fun w -> width w * w.Height < 0.5)
                |> Array.map (fun w -> log (width w / w.Height))
            evenly (log 0.749) (log 1.3352) aspects
            let places =
                windows
                |> Array.filter (fun w -> width w < 0.9)
                |> Array.map (fun w -> w.X / (1.0 - width w))
            evenly -1.0001 1.0001 places)

        test "what is in the window is resampled bilinearly to the image's size" (fun () ->
            let size = 16
            let x = ramps (Source 4) 25 size
            let cropped = (Crop.randomResized 0.1).Run (place 25) x

            Array.iter2
                (fun before after ->
                    let w = windowOf size after
                    let along centre side i =
                        let at = (2.0 * float i + 1.0) / float size - 1.0
                        ((at * side + centre + 1.0) * float size - 1.0) / 2.0
                    let expected = [|
                        for ch in 0..2 do
                            for r in 0 .. size - 1 do
                                for c in 0 .. size - 1 do
                                    bilinear
                                        before
                                        size
                                        size
                                        ch
                                        (along w.Y w.Height r)
                                        (along w.X w.Width c)
                    |]
                    close 2e-3 after expected "pixels")
                (rows x)
                (rows cropped))

        test "a crop of a constant image is that image" (fun () ->
            let x = (torch.ones [| 4L; 3L; 9L; 7L |]) * 0.25
            close 1e-6 (floats ((Crop.randomResized 0.2).Run (place 4) x)) (floats x) "pixels")

        test
            "a padded crop shifts by whole pixels over black, each way equally often, half of them flipped"
            (fun () ->
                let h, w, pad, n = 7, 6, 2, 1500
                let x = single (noise (Source 6) [ n; 1; h; w ] * 0.9 + 0.1)
                let shifted = rows ((Crop.padded (int64 pad)).Run (place n) x)

                let candidates = [
                    for flip in [ false; true ] do
                        for dy in -pad .. pad do
                            for dx in -pad .. pad do
                                flip, dy, dx
                ]

                let move (image: float[]) (flip, dy, dx) = [|
                    for r in 0 .. h - 1 do
                        for c in 0 .. w - 1 do
                            let r, c = r + dy, (if flip then w - 1 - c else c) + dx
                            if r < 0 || c < 0 || r >= h || c >= w then 0.0 else image[r * w + c]
                |]

                let found =
                    Array.map2
                        (fun image after ->
                            match candidates |> List.tryFind (fun move' -> move image move' = after) with
                            | Some move -> move
                            | None -> failtest "not a shift of the image")
                        (rows x)
                        shifted

                let counts = found |> Array.countBy id
                Expect.hasLength counts (2 * 25) "every shift, flipped and not"
                let expected = float n / 50.0
                let chi = counts |> Array.sumBy (fun (_, c) -> (float c - expected) ** 2.0 / expected)
                // The 99.9th percentile of chi-squared with 49 degrees of freedom.
                Expect.isLessThan chi 85.4 "evenness")
    ]
