/// Published policies of augmentation.
module Tests.Augment.AutoAugmentTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

let private every: Operation list = [
    Operation.Identity
    Operation.ShearX
    Operation.ShearY
    Operation.TranslateX
    Operation.TranslateY
    Operation.Rotate
    Operation.Brightness
    Operation.Contrast
    Operation.Colour
    Operation.Sharpness
    Operation.Posterise
    Operation.Solarise
    Operation.AutoContrast
    Operation.Equalise
    Operation.Invert
]

let private many = 50000
let private draw = Rng.create 5UL "view" (Array.init many int64)

// The share of samples with an operation at a magnitude in a round.
let private shares (changes: Change[]) =
    changes
    |> Array.countBy (fun change -> change.Operation, System.Math.Round(change.Magnitude, 9))
    |> Array.map (fun (change, count) -> change, float count / float changes.Length)
    |> Map.ofArray

// That shares are as expected, within five standard deviations, and that nothing else happened.
let private asExpected (expected: Map<Operation * float, float>) (changes: Change[]) =
    let found = shares changes
    Expect.equal (List.ofSeq (Map.keys found)) (List.ofSeq (Map.keys expected)) "operations and magnitudes"

    for KeyValue(change, p) in expected do
        let deviation = sqrt (p * (1.0 - p) / float changes.Length)
        within (p - 5.0 * deviation) (p + 5.0 * deviation) [| found[change] |] (sprintf "share of %A" change)

// What each operation does at a level, and which way: the magnitudes of images of 24 by 40 pixels.
let private learnt operation (level: int) =
    let part = float level / 9.0

    match operation with
    | Operation.ShearY -> [ 0.3 * part; -0.3 * part ]
    | Operation.TranslateX -> [ 40.0 * 150.0 / 331.0 * part; -40.0 * 150.0 / 331.0 * part ]
    | Operation.TranslateY -> [ 24.0 * 150.0 / 331.0 * part; -24.0 * 150.0 / 331.0 * part ]
    | Operation.Rotate -> [ 30.0 * part; -30.0 * part ]
    | Operation.Brightness
    | Operation.Colour
    | Operation.Contrast
    | Operation.Sharpness -> [ 1.0 + 0.1 * float level; 1.0 - 0.1 * float level ]
    | Operation.Posterise -> [ if level = 7 then 5.0 else nan ]
    // The first byte that changes, less a half.
    | Operation.Solarise -> [
        match level with
        | 2 -> 199.5 / 255.0
        | 3 -> 170.5 / 255.0
        | 5 -> 113.5 / 255.0
        | 8 -> 28.5 / 255.0
        | _ -> nan
      ]
    | _ -> [ 0.0 ]

// The 25 sub-policies in their order, an operation, its probability in tenths and its level each.
let private table =
    "Invert 1 7 Contrast 2 6; Rotate 7 2 TranslateX 3 9; Sharpness 8 1 Sharpness 9 3;
     ShearY 5 8 TranslateY 7 9; AutoContrast 5 8 Equalise 9 2; ShearY 2 7 Posterise 3 7;
     Colour 4 3 Brightness 6 7;
     Sharpness 3 9 Brightness 7 9; Equalise 6 5 Equalise 5 1; Contrast 6 7 Sharpness 6 5;
     Colour 7 7 TranslateX 5 8; Equalise 3 7 AutoContrast 4 8; TranslateY 4 3 Sharpness 2 6;
     Brightness 9 6 Colour 2 8; Solarise 5 2 Invert 0 3; Equalise 2 0 AutoContrast 6 0;
     Equalise 2 8 Equalise 6 4; Colour 9 9 Equalise 6 6; AutoContrast 8 4 Solarise 2 8;
     Brightness 1 3 Colour 7 0; Solarise 4 5 AutoContrast 9 3; TranslateY 9 9 TranslateY 7 9;
     AutoContrast 9 2 Solarise 8 3; Equalise 8 8 Invert 1 3; TranslateY 7 9 AutoContrast 9 1"
        .Split
        ';'
    |> Array.map (fun line ->
        let words = line.Trim().Split ' '
        let entry at =
            List.find (fun operation -> string operation = words[at]) every,
            float words[at + 1] / 10.0,
            int words[at + 2]
        entry 0, entry 3)

// The shares that the table gives in one of the two rounds.
let private expectedOf choose =
    let done' = [
        for operation, probability, level in Array.map choose table do
            let magnitudes = learnt operation level

            for magnitude in magnitudes do
                (operation, System.Math.Round(magnitude, 9)), probability / 25.0 / float magnitudes.Length
    ]

    let sums = done' |> List.groupBy fst |> List.map (fun (change, shares) -> change, List.sumBy snd shares)

    let nothing = (Operation.Identity, 0.0), 1.0 - List.sumBy snd done'
    Map.ofList (nothing :: List.filter (fun (_, share) -> share > 0.0) sums)

// What one change makes of one image, by the operations of tone and place.
let private alone (fill: float) change (x: Tensor) =
    let m: Tensor = torch.tensor [| change.Magnitude |]

    match change.Operation with
    | Operation.Identity -> x
    | Operation.ShearX -> AffineOps.shearX fill m x
    | Operation.ShearY -> AffineOps.shearY fill m x
    | Operation.TranslateX -> AffineOps.translateX fill m x
    | Operation.TranslateY -> AffineOps.translateY fill m x
    | Operation.Rotate -> AffineOps.rotate fill m x
    | Operation.Brightness -> ColourOps.brightness m x
    | Operation.Contrast -> ColourOps.contrast m x
    | Operation.Colour -> ColourOps.colour m x
    | Operation.Sharpness -> ColourOps.sharpness m x
    | Operation.Posterise -> ColourOps.posterise m x
    | Operation.Solarise -> ColourOps.solarise m x
    | Operation.AutoContrast -> ColourOps.autoContrast x
    | Operation.Equalise -> ColourOps.equalise x
    | Operation.Invert -> ColourOps.invert x

let private policies = [
    "AutoAugment",
    AutoAugment.autoAugmentCifar10,
    128.0 / 255.0,
    fun (draw: Rng) (x: Tensor) -> AutoAugment.autoAugmentChanges x.shape[2] x.shape[3] draw

    "TrivialAugment",
    AutoAugment.trivialAugmentWide,
    0.0,
    (fun draw _ -> [ AutoAugment.trivialAugmentChanges draw ])
]

[<Tests>]
let tests =
    testList "Augment.AutoAugment" [
        testList "changes" [
            test "each is made to its own images alone" (fun () ->
                let magnitude operation =
                    match operation with
                    | Operation.Rotate -> 25.0
                    | Operation.TranslateX
                    | Operation.TranslateY -> -3.0
                    | Operation.Posterise -> 3.0
                    | Operation.Solarise -> 0.4
                    | _ -> 0.6

                // Every operation three times, among each other.
                let changes =
                    Array.init 45 (fun i ->
                        let operation = every[i * 7 % 15]
                        { Operation = operation; Magnitude = magnitude operation + 0.1 * float (i / 15) })

                for channels in [ 1; 3 ] do
                    let x = images (Source 3) 45 channels 20
                    let before = bits x
                    let y = AutoAugment.apply 0.25 changes x
                    Expect.equal y.shape x.shape "shape"
                    Expect.equal y.dtype torch.float32 "type"
                    Expect.equal (bits x) before "what was given"

                    for i, expected in Array.indexed (rows y) do
                        let image = row i x
                        close
                            1e-6
                            expected
                            (floats (alone 0.25 changes[i] image))
                            (string changes[i].Operation)

                        if
                            changes[i].Operation <> Operation.Identity
                            && not (channels = 1 && changes[i].Operation = Operation.Colour)
                        then
                            Expect.notEqual
                                expected
                                (floats image)
                                (string changes[i].Operation + " changes"))

            test "no change leaves the images" (fun () ->
                let x = images (Source 3) 3 3 8
                let nothing = Array.create 3 { Operation = Operation.Identity; Magnitude = 0.0 }
                let y = AutoAugment.apply 0.0 nothing x
                Expect.equal (bits y) (bits x) "pixels"
                Expect.isFalse (obj.ReferenceEquals(y, x)) "never the argument itself"
                let none = AutoAugment.apply 0.0 [||] (x.narrow (0L, 0L, 0L))
                Expect.equal none.shape [| 0L; 3L; 8L; 8L |] "of no images")

            test "gradients reach what was changed through the change" (fun () ->
                let x = (images (Source 3) 3 1 4).requires_grad_ true

                let changes = [|
                    { Operation = Operation.Invert; Magnitude = 0.0 }
                    { Operation = Operation.Identity; Magnitude = 0.0 }
                    { Operation = Operation.Brightness; Magnitude = 0.5 }
                |]

                let sum = (AutoAugment.apply 0.0 changes x).sum()
                let gradient = torch.autograd.grad (ResizeArray [ sum ], ResizeArray [ x ])
                let expected = [| -1.0; 1.0; 0.5 |] |> Array.collect (Array.create 16)
                close 1e-6 (floats gradient[0]) expected "slopes")

            test "refuses another number of changes than of images, and what is no image" (fun () ->
                let one = [| { Operation = Operation.Invert; Magnitude = 0.0 } |]
                let apply (x: Tensor) () = AutoAugment.apply 0.0 one x |> ignore
                refuses [ "changes"; "2 images" ] (apply (torch.ones [| 2L; 3L; 4L; 4L |])) "one for two"
                refuses [ "[n; c; h; w]" ] (apply (torch.ones [| 1L; 4L |])) "rank")
        ]

        testList "AutoAugment" [
            test "operations, magnitudes and their shares are the published table's" (fun () ->
                match AutoAugment.autoAugmentChanges 24L 40L draw with
                | [ first; second ] ->
                    asExpected (expectedOf fst) first
                    asExpected (expectedOf snd) second
                    let reached = Array.append first second |> Array.map _.Operation |> List.ofArray
                    // The policy that was found has no shear along rows.
                    Expect.equal (List.except reached every) [ Operation.ShearX ] "operations never reached"
                | rounds -> failtestf "%d rounds" rounds.Length)

            test
                "both operations of a sample are of one sub-policy, each done or not by its own chance"
                (fun () ->
                    let pairs =
                        match AutoAugment.autoAugmentChanges 24L 40L draw with
                        | [ first; second ] ->
                            Array.zip first second |> Array.map (fun (a, b) -> a.Operation, b.Operation)
                        | rounds -> failtestf "%d rounds" rounds.Length

                    let names = table |> Array.map (fun ((a, _, _), (b, _, _)) -> a, b)

                    for a, b in Array.distinct pairs do
                        if a <> Operation.Identity && b <> Operation.Identity then
                            Expect.contains names (a, b) "pair"

                    // Rotate is in one sub-policy alone, and what follows it there is done with 0.3.
                    let rotated = pairs |> Array.filter (fun (a, _) -> a = Operation.Rotate)
                    let followed = rotated |> Array.filter (fun (_, b) -> b = Operation.TranslateX)
                    let n = float rotated.Length
                    let deviation = sqrt (0.3 * 0.7 / n)
                    within
                        (0.3 - 5.0 * deviation)
                        (0.3 + 5.0 * deviation)
                        [| float followed.Length / n |]
                        "share")
        ]

        testList "TrivialAugment" [
            test "all operations but the negative are equally likely, at 31 equally likely levels" (fun () ->
                let changes = AutoAugment.trivialAugmentChanges draw
                let operations = List.except [ Operation.Invert ] every

                let levels operation = [
                    for level in 0..30 do
                        let part = float level / 30.0
                        let either most = [ most * part; -most * part ]

                        yield!
                            match operation with
                            | Operation.ShearX
                            | Operation.ShearY -> either 0.99
                            | Operation.TranslateX
                            | Operation.TranslateY -> either 32.0
                            | Operation.Rotate -> either 135.0
                            | Operation.Brightness
                            | Operation.Contrast
                            | Operation.Colour
                            | Operation.Sharpness -> either 0.99 |> List.map ((+) 1.0)
                            | Operation.Posterise ->
                                List.replicate 2 (8.0 - float (int (0.2 * float level + 0.5)))
                            | Operation.Solarise ->
                                List.replicate 2 ((float ((256 * (30 - level) + 29) / 30) - 0.5) / 255.0)
                            | _ -> [ 0.0; 0.0 ]
                ]

                let expected =
                    [
                        for operation in operations do
                            for magnitude in levels operation do
                                (operation, System.Math.Round(magnitude, 9)), 1.0 / 14.0 / 62.0
                    ]
                    |> List.groupBy fst
                    |> List.map (fun (change, shares) -> change, List.sumBy snd shares)
                    |> Map.ofList

                asExpected expected changes)

            test "at the middle level the first byte to be turned is 128" (fun () ->
                let middle =
                    AutoAugment.trivialAugmentChanges draw
                    |> Array.filter (fun c -> c.Operation = Operation.Solarise)
                    |> Array.distinct
                    |> Array.filter (fun c -> abs (c.Magnitude - 0.5) < 0.01)

                Expect.hasLength middle 1 "one such level"
                let x = single (tensor [ 1; 1; 1; 2 ] [| 127.0 / 255.0; 128.0 / 255.0 |])
                close
                    1e-6
                    (floats (AutoAugment.apply 0.0 middle x))
                    [| 127.0 / 255.0; 127.0 / 255.0 |]
                    "bytes")
        ]

        for name, policy, fill, changes in policies do
            test (name + " makes the changes that are drawn, one after the other") (fun () ->
                let draw = { draw with Ids = Array.init 60 (fun i -> int64 (5 * i)) }

                for channels in [ 1; 3 ] do
                    let x = images (Source 3) 60 channels 32
                    let y = policy.Run draw x
                    within 0.0 1.0 (floats y) "range"
                    Expect.equal (bits (policy.Run draw x)) (bits y) "the same again"

                    for i, expected in Array.indexed (rows y) do
                        let slowly =
                            (row i x, changes draw x)
                            ||> List.fold (fun x changes -> alone fill changes[i] x)

                        close 1e-5 expected (floats slowly) (sprintf "sample %d" i))

            test (name + " of a sample does not depend on its batch") (fun () ->
                let x = images (Source 4) 64 3 32
                let draw = { draw with Ids = Array.init 64 (fun i -> int64 (100 + i)) }
                let together = rows (policy.Run draw x)

                for start, count in [ 0, 1; 1, 7; 8, 40; 48, 16 ] do
                    let part = { draw with Ids = draw.Ids[start .. start + count - 1] }
                    let apart = rows (policy.Run part (x.narrow (0L, int64 start, int64 count)))

                    for i in 0 .. count - 1 do
                        close 1e-6 apart[i] together[start + i] (sprintf "sample %d" (start + i)))

            test (name + " takes doubles and images that are not square") (fun () ->
                let x = noise (Source 5) [ 50; 3; 9; 14 ]
                let y = policy.Run (place 50) x
                Expect.equal y.dtype torch.float64 "type"
                Expect.equal y.shape x.shape "shape"
                within 0.0 1.0 (floats y) "range")
    ]
