/// Grids of adversarial images as PNG files.
module Tests.Reporting.ImageGridTests

open System
open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Reporting
open AdvContrast.Testing
open Support.Arrays
open Support.Laws

// The colour at a place.
let private at (png: Raster) y x = png.Pixels[(y * png.Width + x) * png.Channels ..][.. png.Channels - 1]

let private whole (values: int list) : Tensor = torch.tensor (Array.ofList (List.map int64 values))

// Four images: one that was right and stays so, one that is broken, one that was wrong, one more that is
// broken.
let private adversaries threat (original: Tensor) (adversarial: Tensor) : AdversarialExamples = {
    Attack = "pgd-20"
    Text = ""
    Threat = threat
    Seed = 1UL
    Coverage = { Images = 4L; Of = 4L; Classes = 1; OfClasses = 3; Absent = [ "1"; "2" ]; Skipped = [] }
    About = Map.empty
    Indices = whole [ 0; 1; 2; 3 ]
    Original = original
    Labels = whole [ 0; 0; 0; 0 ]
    Targets = None
    Before = whole [ 0; 0; 1; 0 ]
    After = whole [ 0; 1; 1; 2 ]
    Result = {
        Images = adversarial
        Success = torch.tensor [| false; true; true; true |]
        Distance = Map.empty
        FirstSuccess = whole [ -1; 1; 0; 1 ]
        Forwards = whole [ 1; 1; 1; 1 ]
        Gradients = whole [ 1; 1; 1; 1 ]
        ZeroGradients = whole [ 0; 0; 0; 0 ]
        NotFinite = Map.empty
        Flags = Set.empty
    }
}

let private byteOf low high v =
    byte (Math.Round(255.0 * min 1.0 (max 0.0 ((v - low) / (high - low))), MidpointRounding.ToEven))

// Grids of one scale against a plain reckoning of every pixel.
let private shows channels threat (most: float[] -> float) (seed: int) =
    balanced (fun () ->
        let source = Source seed
        let low, high = threat.Box |> Option.defaultValue (0.0, 1.0)
        let h, w, scale = 2, 3, source.Whole(1, 3)
        let size = channels * h * w
        let original = Array.init 4 (fun _ -> source.Uniforms(size, low, high))
        let change = Array.init 4 (fun _ -> source.Uniforms(size, -threat.Radius, threat.Radius))
        let x = tensor [ 4; channels; h; w ] (Array.concat original)
        let images = x + tensor [ 4; channels; h; w ] (Array.concat change)
        let png = SkiaCodec.decode (ImageGrid.grid 3 scale (adversaries threat x images))
        let shown = min channels 3 |> fun c -> if c = 3 then 3 else 1
        Expect.equal (png.Channels, png.Width, png.Height) (shown, 9 * scale + 8, 6 * scale + 8) "size"

        // The broken ones first, then the one that held, and the one that was wrong has no place.
        for row, sample in List.indexed [ 1; 3; 0 ] do
            let pixels = original[sample], plus original[sample] change[sample], change[sample]

            for y in 0 .. h * scale - 1 do
                for x in 0 .. w * scale - 1 do
                    let value channel (image: float[]) = image[(channel * h + y / scale) * w + x / scale]
                    let first, second, third = pixels
                    let top = row * (h * scale + 4) + y
                    let there column = at png top (column * (w * scale + 4) + x)
                    let wanted low high image = Array.init shown (fun c -> byteOf low high (value c image))
                    let most = most (Array.take (shown * h * w) third)
                    Expect.equal (there 0) (wanted low high first) "the original"
                    Expect.equal (there 1) (wanted low high second) "the adversarial image"
                    Expect.equal (there 2) (wanted -most most third) "the change"

        Expect.all
            [ for y in 0 .. png.Height - 1 -> at png y (3 * scale) ]
            (fun colour -> Array.forall ((=) 255uy) colour)
            "white between them")

[<Tests>]
let tests =
    testList "Reporting.ImageGrid" [
        testPropertyN
            20
            "a grid shows the original, what became of it, and the change up to the radius"
            (shows 1 (Threat.create Linf 0.1) (fun _ -> 0.1))

        testPropertyN
            20
            "in colour, and in another box"
            (shows 3 (Threat.create Linf 0.5 |> Threat.boxed -1.0 1.0) (fun _ -> 0.5))

        testPropertyN
            20
            "in L2 up to the largest change of the sample"
            (shows 1 (Threat.create L2 0.3) (fun d -> normInf d))

        test "no change is mid-grey, and no radius is no fault" (fun () ->
            let x = tensor [ 4; 1; 2; 3 ] (Array.create 24 0.5)

            for threat in [ Threat.create Linf 0.0; Threat.create L1 1.0 ] do
                let png = SkiaCodec.decode (ImageGrid.grid 1 1 (adversaries threat x (x.clone ())))
                Expect.equal [ for x in 14..16 -> at png 0 x ] (List.replicate 3 [| 128uy |]) "grey")

        test "without a box the range is that of the images shown" (fun () ->
            let x = tensor [ 4; 1; 1; 3 ] [| for i in 0..11 -> -5.0 + float i |]
            let threat = Threat.create Linf 1.0 |> Threat.unbounded
            let png = SkiaCodec.decode (ImageGrid.grid 4 1 (adversaries threat x (x + 1.0)))
            let column offset = [
                for row in 0..3 ->
                    List.concat [ for x in 0..2 -> List.ofArray (at png (row * 5) (offset + x)) ]
            ]
            Expect.equal (List.min (List.concat (column 0))) 0uy "the least"
            Expect.equal (List.max (List.concat (column 7))) 255uy "the most"
            Expect.equal
                (column 14)
                (List.replicate 4 (List.replicate 3 255uy))
                "a change of the whole radius")

        test "a grid is written whole, or an error says why not" (fun () ->
            inFolder (fun folder ->
                let x = tensor [ 4; 1; 28; 28 ] (Array.create (4 * 784) 0.5)
                let images = adversaries (Threat.create Linf 0.1) x (x + 0.1)
                let path = Path.Combine(folder, "grid.png")
                Expect.wantOk (ImageGrid.save path 2 images) "written"
                Expect.equal (Directory.GetFiles folder) [| path |] "one file"
                let png = SkiaCodec.decode (File.ReadAllBytes path)
                Expect.equal (png.Width, png.Height) (3 * 112 + 8, 2 * 112 + 4) "as large as a thumb"
                refuses [ "count" ] (fun () -> ImageGrid.save path 0 images |> ignore) "no rows"

                match wantError (ImageGrid.save (Path.Combine(path, "below")) 2 images) "below a file" with
                | Error.NotWritable _ -> ()
                | other -> failtestf "another kind of error: %A" other))
    ]
