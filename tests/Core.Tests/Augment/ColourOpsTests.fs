/// Changes of tone by given magnitudes.
module Tests.Augment.ColourOpsTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages
open Support

let private unit v = min 1.0 (max 0.0 v)
let private byteOf (v: float) = int (round (255.0 * v))
let private magnitudes (values: float list) : Tensor = torch.tensor (Array.ofList values)

let private perChannel size (f: float[] -> float[]) (image: float[]) =
    image |> Array.chunkBySize size |> Array.collect f

let private mix factor (image: float[]) (other: float[]) =
    Array.map2 (fun x o -> unit (factor * x + (1.0 - factor) * o)) image other

// The grey of each pixel, on every channel.
let private greyOf size (image: float[]) =
    if image.Length = size then
        image
    else
        Array.init image.Length (fun i ->
            let at = i % size
            0.299 * image[at] + 0.587 * image[size + at] + 0.114 * image[2 * size + at])

let private smoothed h w (channel: float[]) =
    Array.init (h * w) (fun i ->
        let r, c = i / w, i % w

        if r = 0 || c = 0 || r = h - 1 || c = w - 1 then
            channel[i]
        else
            let mutable sum = 4.0 * channel[i]

            for a in -1 .. 1 do
                for b in -1 .. 1 do
                    sum <- sum + channel[(r + a) * w + c + b]

            sum / 13.0)

// A table of levels, made of their counts.
let private equalised (channel: float[]) =
    let levels = channel |> Array.map byteOf
    let counts = Array.zeroCreate<int> 256

    for level in levels do
        counts[level] <- counts[level] + 1

    let step = (channel.Length - counts[Array.max levels]) / 255

    if step = 0 then
        channel
    else
        let table = Array.zeroCreate<float> 256
        let mutable n = step / 2

        for level in 0..255 do
            table[level] <- float (min 255 (n / step)) / 255.0
            n <- n + counts[level]

        levels |> Array.map (fun level -> table[level])

let private stretched (channel: float[]) =
    let low, high = byteOf (Array.min channel), byteOf (Array.max channel)

    if low = high then
        channel
    else
        channel |> Array.map (fun v -> unit ((255.0 * v - float low) / float (high - low)))

let private posterised bits (v: float) = float (byteOf v &&& ~~~((1 <<< (8 - bits)) - 1)) / 255.0

/// An operation with a magnitude for each of six images, and what it does to one of them, by loops.
type private Case = { Name: string; Run: Tensor -> Tensor; Slowly: int -> int -> int -> float[] -> float[] }

let private case name run slowly = { Name = name; Run = run; Slowly = slowly }
let private factors = [ 0.0; 0.1; 0.5; 1.0; 1.4; 1.9 ]
let private bits = [ 1; 2; 4; 5; 7; 8 ]
let private thresholds = [ 0.0; 0.2; 0.5; 0.8; 1.0; 1.1 ]

let private cases = [
    case "brightness" (fun x -> ColourOps.brightness (magnitudes factors) x) (fun i _ _ image ->
        mix factors[i] image (Array.create image.Length 0.0))
    case "contrast" (fun x -> ColourOps.contrast (magnitudes factors) x) (fun i h w image ->
        mix factors[i] image (Array.create image.Length (mean (greyOf (h * w) image))))
    case "colour" (fun x -> ColourOps.colour (magnitudes factors) x) (fun i h w image ->
        mix factors[i] image (greyOf (h * w) image))
    case "sharpness" (fun x -> ColourOps.sharpness (magnitudes factors) x) (fun i h w image ->
        mix factors[i] image (perChannel (h * w) (smoothed h w) image))
    case "posterise" (fun x -> ColourOps.posterise (magnitudes (List.map float bits)) x) (fun i _ _ image ->
        Array.map (posterised bits[i]) image)
    case "solarise" (fun x -> ColourOps.solarise (magnitudes thresholds) x) (fun i _ _ image ->
        image |> Array.map (fun v -> if v < thresholds[i] then v else 1.0 - v))
    case "invert" ColourOps.invert (fun _ _ _ image -> image |> Array.map (fun v -> 1.0 - v))
    case "auto contrast" ColourOps.autoContrast (fun _ h w image -> perChannel (h * w) stretched image)
    case "equalise" ColourOps.equalise (fun _ h w image -> perChannel (h * w) equalised image)
]

// Six images: of whole bytes, dark ones, and numbers between the bytes.
let private pictures channels h w =
    let source = Source(channels * h * w)
    let size = channels * h * w
    let bytes low high = Array.init (2 * size) (fun _ -> float (source.Whole(low, high)) / 255.0)
    let between = source.Uniforms(2 * size, 0.1, 0.9)
    tensor [ 6; channels; h; w ] (Array.concat [ bytes 0 255; bytes 20 90; between ])

[<Tests>]
let tests =
    testList "Augment.ColourOps" [
        testList "laws" [
            for case in cases do
                for channels in [ 1; 3 ] do
                    test (sprintf "%s of %d channels: loops over pixels" case.Name channels) (fun () ->
                        for h, w in [ 5, 7; 2, 3; 17, 18; 20, 27; 33, 40 ] do
                            let x = pictures channels h w
                            let expected = rows x |> Array.mapi (fun i image -> case.Slowly i h w image)
                            let y = case.Run x
                            Expect.equal y.shape x.shape "shape"
                            Expect.equal y.dtype torch.float64 "type"
                            close 1e-12 (floats y) (Array.concat expected) (sprintf "%d by %d" h w)
                            within 0.0 1.0 (floats y) "range")

                test (case.Name + " in single precision, without touching what it is given") (fun () ->
                    let x = single (pictures 3 20 27)
                    let before = Laws.bits x
                    let y = case.Run x
                    Expect.equal y.dtype torch.float32 "type"
                    Expect.equal (Laws.bits x) before "what was given"
                    Expect.isFalse (obj.ReferenceEquals(y, x)) "never the argument itself"
                    close 1e-5 (floats y) (floats (case.Run(x.``to`` torch.float64))) "pixels")
        ]

        test "a factor of one, eight bits and a threshold beyond white change nothing" (fun () ->
            let x = pictures 3 20 27
            let ones = magnitudes (List.replicate 6 1.0)

            for change in [ ColourOps.brightness; ColourOps.contrast; ColourOps.colour; ColourOps.sharpness ] do
                close 1e-15 (floats (change ones x)) (floats x) "factor 1"

            close 1e-15 (floats (ColourOps.solarise (ones * 1.01) x)) (floats x) "threshold 1.01"
            let whole = x.narrow (0L, 0L, 4L)
            close
                1e-15
                (floats (ColourOps.posterise (ones.narrow (0L, 0L, 4L) * 8.0) whole))
                (floats whole)
                "8 bits")

        test "the negative of the negative is the image, and a threshold of nought is the negative" (fun () ->
            let x = pictures 3 5 7
            close 1e-15 (floats (ColourOps.invert (ColourOps.invert x))) (floats x) "twice"
            let noughts = magnitudes (List.replicate 6 0.0)
            Expect.equal
                (Laws.bits (ColourOps.solarise noughts x))
                (Laws.bits (ColourOps.invert x))
                "threshold 0")

        test "levels that are equally frequent stay when equalised, and order is kept" (fun () ->
            let all = Array.init 1024 (fun i -> float (i * 37 % 256) / 255.0)
            let x = tensor [ 1; 1; 32; 32 ] all
            close 1e-15 (floats (ColourOps.equalise x)) all "each level four times"
            let dark = pictures 1 33 40
            let before, after = floats dark, floats (ColourOps.equalise dark)

            for image in 0..5 do
                let part (values: float[]) = values[1320 * image .. 1320 * image + 1319]
                let sorted = Array.zip (part before) (part after) |> Array.sortBy fst |> Array.map snd
                Expect.equal sorted (Array.sort sorted) "darker stays darker"
                Expect.isGreaterThan (Array.max sorted - Array.min sorted) 0.95 "nearly all of the range")

        test "channels of one level stay" (fun () ->
            // Less than a level apart: what rounding leaves of a constant must not be blown up.
            let x = tensor [ 1; 1; 40; 40 ] (Array.init 1600 (fun i -> 0.4 + 1e-7 * float (i % 3)))
            Expect.equal (Laws.bits (ColourOps.autoContrast x)) (Laws.bits x) "auto contrast"
            Expect.equal (Laws.bits (ColourOps.equalise x)) (Laws.bits x) "equalise")

        test "auto contrast reaches from black to white in every channel" (fun () ->
            let y = ColourOps.autoContrast ((pictures 3 20 27).narrow(0L, 0L, 4L))
            close 1e-15 (floats (y.amin [| 2L; 3L |])) (Array.create 12 0.0) "black"
            close 1e-15 (floats (y.amax [| 2L; 3L |])) (Array.create 12 1.0) "white"
            close 1e-12 (floats (ColourOps.autoContrast y)) (floats y) "a second time"
            let neighbours = tensor [ 1; 1; 1; 3 ] [| 100.0 / 255.0; 101.0 / 255.0; 100.0 / 255.0 |]
            close
                1e-12
                (floats (ColourOps.autoContrast neighbours))
                [| 0.0; 1.0; 0.0 |]
                "neighbouring levels")

        test "an image's change depends on no other image" (fun () ->
            let x = single (pictures 3 20 27)
            let contrast (factors: float list) (x: Tensor) = ColourOps.contrast (magnitudes factors) x
            let together = rows (contrast factors x)

            for i, factor in List.indexed factors do
                close 1e-6 (floats (contrast [ factor ] (row i x))) together[i] "alone")

        test "refuses magnitudes that are not one an image, and what is no image" (fun () ->
            let x = pictures 3 2 3
            let three = magnitudes [ 1.0; 1.0; 1.0 ]

            for change in
                [
                    ColourOps.brightness
                    ColourOps.contrast
                    ColourOps.colour
                    ColourOps.sharpness
                    ColourOps.posterise
                    ColourOps.solarise
                ] do
                refuses [ "6 images"; "[3]" ] (fun () -> change three x |> ignore) "three for six"

            for change in
                [ ColourOps.invert; ColourOps.autoContrast; ColourOps.equalise; ColourOps.brightness three ] do
                refuses [ "[n; c; h; w]" ] (fun () -> change (torch.ones [| 3L; 4L |]) |> ignore) "rank")
    ]
