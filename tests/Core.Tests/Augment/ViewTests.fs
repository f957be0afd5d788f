/// Random views: what they may do to an image, and that each sample has its own.
module Tests.Augment.ViewTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open AdvContrast.Core.Methods
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

let private all: (string * View) list = [
    "identity", View.identity
    "compose", View.compose [ Crop.randomResized 0.3; Colour.grey ]
    "sometimes", View.sometimes 0.5 Colour.grey
    "crop", Crop.randomResized 0.1
    "pad", Crop.padded 3L
    "jitter", Colour.jitter 0.8 0.8 0.8 0.2
    "grey", Colour.grey
    "solarise", Colour.solarise 0.5
    "AutoAugment", AutoAugment.autoAugmentCifar10
    "TrivialAugment", AutoAugment.trivialAugmentWide
    "blur", Blur.gaussian
    "SimCLR's", SimClr.views 0.08 0.5
]

[<Tests>]
let tests =
    testList "Augment.View" [
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
                if not (List.contains name [ "identity"; "grey"; "solarise" ]) then
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
                let first = crop.Run (Rng.sub "0" (place 3)) x
                let second = crop.Run (Rng.sub "1" (place 3)) first
                Expect.equal (bits both) (bits second) "both"
                Expect.notEqual (bits (crop.Run (Rng.sub "1" (place 3)) x)) (bits first) "two crops differ")

            test "sometimes: never, always, and as often as said" (fun () ->
                let x = images (Source 1) 2000 3 2
                let draw = place 2000
                let run p = (View.sometimes p Colour.grey).Run draw x
                Expect.equal (bits (run 0.0)) (bits x) "never"
                Expect.equal (bits (run 1.0)) (bits (Colour.grey.Run draw x)) "always"
                let changed = Array.map2 (<>) (rows (run 0.3)) (rows x) |> Array.filter id |> Array.length
                within 0.27 0.33 [| float changed / 2000.0 |] "share")
        ]
    ]
