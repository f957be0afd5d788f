/// Random views: what they may do to an image, and that each sample has its own.
module Views

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws

let private all: (string * View) list = [
    "identity", View.identity
    "compose", View.compose [ Crop.randomResized 0.3; Colour.grey ]
    "sometimes", View.sometimes 0.5 Colour.grey
    "crop", Crop.randomResized 0.1
    "pad", Crop.padded 3L
    "jitter", Colour.jitter 0.8 0.8 0.8 0.2
    "grey", Colour.grey
    "blur", Blur.gaussian
    "SimCLR's", SimClr.views 0.08 0.5
]

let private place n = Draw.create 11UL "view" (Array.init n (fun i -> int64 (7 * i + 3)))
let private row (i: int) (x: Tensor) = x.narrow (0L, int64 i, 1L)

// The pixels of one image [c; h; w] by their place.
let private pixel (values: float[]) h w ch r c = values[(ch * h + r) * w + c]

let private images (source: Source) n c size = single (noise source [ n; c; size; size ])

// An image's value at a place between pixels; beyond the border the border goes on.
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

// Turns of the hue by a part of the circle: the strength that gives one sample just this turn.
let private turned part (x: Tensor) =
    let draw = place 1
    let u = (Draw.numbers (Draw.sub "hue" draw))[0]
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

let private evenly low high (values: float[]) =
    within low high values "range"
    let shares = values |> Array.map (fun v -> (v - low) / (high - low))
    Expect.isLessThan (distanceFromUniform shares) (1.95 / sqrt (float values.Length)) "evenly over the range"

let private blurs size =
    let source = Source 5
    let x = images source 40 2 size
    x, Blur.gaussian.Run (place 40) x

let tests =
    testList "Views" [
        testList "laws" [
            for name, view in all do
                testPropertyN
                    15
                    (name + " keeps shape, type and range, and what it is given")
                    (fun (seed: int) (PositiveInt n) ->
                        balanced (fun () ->
                            let n = 1 + n % 5

                            for channels in [ 1; 3 ] do
                                let x = images (Source seed) n channels 12
                                let before = bits x
                                let y = view.Run (place n) x
                                Expect.equal y.shape x.shape "shape"
                                Expect.equal y.dtype torch.float32 "type"
                                within 0.0 1.0 (floats y) "range"
                                Expect.equal (bits x) before "what was given"
                                Expect.isFalse (obj.ReferenceEquals(y, x)) "never the argument itself"))

                test (name + " is a function of the draw, and of the sample's id alone") (fun () ->
                    let x = images (Source 2) 6 3 12
                    let draw = place 6
                    let together = view.Run draw x
                    Expect.equal (bits (view.Run draw x)) (bits together) "the same again"

                    for i, expected in Array.indexed (rows together) do
                        let alone = view.Run { draw with Ids = [| draw.Ids[i] |] } (row i x)
                        close 1e-5 (floats alone) expected "alone")

                test (name + " says what it is") (fun () -> Expect.isNotWhitespace view.Text "text")

            for name, view in all do
                if name <> "identity" && name <> "grey" then
                    test (name + " changes with seed, epoch, step and sample") (fun () ->
                        let x = (images (Source 2) 1 3 12).repeat [| 30L; 1L; 1L; 1L |]
                        let draw = place 30
                        let first = floats (view.Run draw x)

                        for other in
                            [
                                { draw with Seed = 12UL }
                                { draw with Epoch = 1 }
                                { draw with Step = 1L }
                                { draw with Purpose = "v2" }
                            ] do
                            Expect.notEqual (floats (view.Run other x)) first "another draw"

                        Expect.isGreaterThan
                            (first |> Array.chunkBySize 432 |> Array.distinct |> Array.length)
                            1
                            "another sample")
        ]

        testList "composition" [
            test "identity and no views at all leave the image" (fun () ->
                let x = images (Source 1) 3 3 6
                Expect.equal (bits (View.identity.Run (place 3) x)) (bits x) "identity"
                Expect.equal (bits ((View.compose []).Run (place 3) x)) (bits x) "nothing composed")

            test "views run one after the other, each for a purpose of its own" (fun () ->
                let x = images (Source 1) 3 3 12
                let crop = Crop.randomResized 0.2
                let both = (View.compose [ crop; crop ]).Run (place 3) x
                let first = crop.Run (Draw.sub "0" (place 3)) x
                let second = crop.Run (Draw.sub "1" (place 3)) first
                Expect.equal (bits both) (bits second) "both"
                Expect.notEqual (bits (crop.Run (Draw.sub "1" (place 3)) x)) (bits first) "two crops differ")

            test "sometimes: never, always, and as often as said" (fun () ->
                let x = images (Source 1) 2000 3 2
                let draw = place 2000
                let run p = (View.sometimes p Colour.grey).Run draw x
                Expect.equal (bits (run 0.0)) (bits x) "never"
                Expect.equal (bits (run 1.0)) (bits (Colour.grey.Run draw x)) "always"
                let changed = Array.map2 (<>) (rows (run 0.3)) (rows x) |> Array.filter id |> Array.length
                within 0.27 0.33 [| float changed / 2000.0 |] "share")
        ]

        testList "crop" [
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
                let areas =
                    windows |> Array.map (fun w -> width w * w.Height) |> Array.filter (fun a -> a < 0.5)
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
                                match
                                    candidates |> List.tryFind (fun move' -> move image move' = after)
                                with
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

        testList "colour" [
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
                close
                    1e-4
                    (floats (turned (1.0 / 6.0) yellow))
                    [| 0.2; 0.8; 0.2 |]
                    "a sixth: yellow to green")

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

            test "images of one channel have no saturation, hue or grey to change" (fun () ->
                let x = images (Source 1) 3 1 5
                Expect.equal (bits (Colour.grey.Run (place 3) x)) (bits x) "grey"
                close
                    1e-6
                    (floats ((Colour.jitter 0.0 0.0 0.9 0.5).Run (place 3) x))
                    (floats x)
                    "saturation and hue")
        ]

        testList "blur" [
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
    ]
