/// Data sets in memory, and the embedded sample.
module Tests.Data.DatasetTests

open System
open System.Security.Cryptography
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private cpu = torch.device "cpu"

// n images of 2 by 3, each with its number as its label.
let private made n =
    let pixels = Array.init (n * 6) (fun i -> byte (37 * i % 256))
    Dataset.ofBytes "made" pixels [| int64 n; 1L; 2L; 3L |] (Array.init n byte) n [ 0.5 ] [ 0.25 ]

let private digest (x: Tensor) = x |> TensorTree.bytes |> SHA256.HashData |> Convert.ToHexString

[<Tests>]
let tests =
    testList "Data.Dataset" [
        testProperty
            "a batch is the rows asked for, in [0, 1], in single precision"
            (fun (rows: NonNegativeInt list) ->
                balanced (fun () ->
                    use set = made 9
                    let ids =
                        4L :: (rows |> List.map (fun (NonNegativeInt i) -> int64 (i % 9))) |> Array.ofList
                    let batch = set.Batch cpu ids
                    let bytes = TensorTree.bytes set.Images
                    let expected =
                        ids
                        |> Array.collect (fun id ->
                            Array.init 6 (fun p -> float (float32 bytes[int id * 6 + p] / 255.0f)))
                    Expect.equal (floats batch) expected "pixels"
                    Expect.equal batch.dtype torch.float32 "type"
                    Expect.equal batch.shape [| int64 ids.Length; 1L; 2L; 3L |] "shape"
                    Expect.equal (wholes (set.LabelsOf cpu ids)) ids "labels"))

        test "black is 0 and white is 1" (fun () ->
            use set =
                Dataset.ofBytes "two" [| 0uy; 255uy |] [| 2L; 1L; 1L; 1L |] [| 0uy; 1uy |] 2 [ 0.5 ] [ 0.5 ]
            Expect.equal (floats (set.Batch cpu [| 0L; 1L |])) [| 0.0; 1.0 |] "pixels")

        test "images in the caller's memory are used without a copy, and outlive the set" (fun () ->
            let images = tensor [ 3; 1; 1; 2 ] [| -1.0; 2.0; 0.5; 7.0; 0.0; 1.0 |]
            let labels: Tensor = torch.tensor [| 4L; 0L; 2L |]

            do
                use set = Dataset.ofTensors "own" images labels
                Expect.equal (floats (set.Batch cpu [| 2L; 0L |])) [| 0.0; 1.0; -1.0; 2.0 |] "pixels"
                let one = set.Batch cpu [| 0L |]
                Expect.equal one.dtype torch.float64 "type"
                Expect.equal (wholes (set.LabelsOf cpu [| 1L; 0L |])) [| 0L; 4L |] "labels"
                Expect.equal (set.Name, set.Count, set.Classes) ("own", 3L, 5) "all else"

            Expect.equal (wholes labels) [| 4L; 0L; 2L |] "still there"
            Expect.equal (Array.item 3 (floats images)) 7.0 "still there"
            use bytes =
                Dataset.ofTensors "bytes" (torch.full_like (images, 51.0.ToScalar(), torch.uint8)) labels
            Expect.equal
                (floats (bytes.Batch cpu [| 0L |]))
                (Array.create 2 (float 0.2f))
                "bytes are parts of 255"
            let refused parts images labels =
                refuses
                    parts
                    (fun () -> Dataset.ofTensors "bad" images labels |> ignore)
                    (String.concat " " parts)
            refused [ "images"; "[n; c; h; w]" ] (images.squeeze 1L) labels
            refused [ "images"; "Int64" ] (images.``to`` torch.int64) labels
            refused [ "labels"; "3" ] images (labels.narrow (0L, 0L, 2L))
            refused [ "labels"; "int64" ] images (labels.``to`` torch.int32))

        test "a subset is a data set of its own" (fun () ->
            let whole = made 9
            let part = Dataset.subset [| 7L; 2L; 2L |] whole
            let expected = rows whole.Images
            (whole :> IDisposable).Dispose()
            Expect.equal (rows part.Images) [| expected[7]; expected[2]; expected[2] |] "images"
            Expect.equal (wholes part.Labels) [| 7L; 2L; 2L |] "labels"
            Expect.equal (part.Classes, part.Mean, part.Name) (9, [ 0.5 ], "made") "all else"
            (part :> IDisposable).Dispose())

        testPropertyN
            30
            "a sample is drawn by the seed, without replacement"
            (fun (seed: uint64) (NonNegativeInt n) ->
                balanced (fun () ->
                    use whole = made 40
                    use part = Dataset.sample seed n whole
                    use again = Dataset.sample seed n whole
                    let labels = wholes part.Labels
                    Expect.hasLength labels (min n 40) "as many as asked for, or all"
                    Expect.equal (Array.distinct labels) labels "none twice"
                    Expect.equal (wholes again.Labels) labels "the same for the same seed"
                    Expect.equal (bits again.Images) (bits part.Images) "images too"))

        testPropertyN
            30
            "a sample has of every class its share within one image, in whatever order the set is"
            (fun (seed: uint64) (sizes: PositiveInt list) (PositiveInt n) ->
                balanced (fun () ->
                    let sizes = sizes |> List.truncate 6 |> List.map _.Get
                    let labels =
                        sizes
                        |> List.mapi (fun label size -> Array.create (1 + size) (byte label))
                        |> Array.concat
                    let labels = Array.append [| 9uy |] labels
                    let total = labels.Length
                    let n = min n total
                    let pixels = Array.init total byte
                    use whole =
                        Dataset.ofBytes "w" pixels [| int64 total; 1L; 1L; 1L |] labels 10 [ 0.0 ] [ 1.0 ]
                    use part = Dataset.sample seed n whole
                    Expect.hasLength part.Indices n "as many as asked for"

                    for label, size in Array.countBy id labels do
                        let drawn = wholes part.Labels |> Array.filter ((=) (int64 label)) |> Array.length
                        let share = float n * float size / float total
                        Expect.isLessThan (abs (float drawn - share)) 1.0 "its share"

                    // The place in the whole set names the image.
                    use same = Dataset.subset part.Indices whole
                    Expect.equal (bits same.Images) (bits part.Images) "indices"
                    use nested = Dataset.sample seed (max 1 (n / 2)) part
                    use again = Dataset.subset nested.Indices whole
                    Expect.equal (bits again.Images) (bits nested.Images) "indices of a sample of a sample"
                    Expect.equal nested.Whole (int64 total) "the whole set"))

        test "coverage: how many images of how many, and which classes are missing" (fun () ->
            use whole = made 4
            use part =
                Dataset.subset [| 2L; 0L |] {
                    whole with
                        ClassNames = [ "a"; "b"; "c"; "d" ]
                        Skipped = [ "1 file" ]
                }
            let found = Coverage.ofDataset part
            Expect.equal
                found
                {
                    Images = 2L
                    Of = 4L
                    Classes = 2
                    OfClasses = 4
                    Absent = [ "b"; "d" ]
                    Skipped = [ "1 file" ]
                }
                "coverage"
            Expect.equal
                (Coverage.sentences "made" (Some 9) found)
                [
                    "On 2 of 4 images of made, 2 of 4 classes."
                    "9 images were asked for; there are 4."
                    "No image of b, d is among them."
                    "Skipped: 1 file."
                ]
                "sentences")

        test "another seed draws another sample" (fun () ->
            use whole = made 40
            let labels seed =
                use part = Dataset.sample seed 10 whole
                wholes part.Labels
            Expect.notEqual (labels 1UL) (labels 2UL) "samples")

        test "a data set belongs to no scope, and is gone when disposed" (fun () ->
            let mutable set = None
            Scope.value (fun () -> set <- Some(made 3))
            Expect.equal set.Value.Count 3L "alive"
            (set.Value :> IDisposable).Dispose()
            Expect.isTrue (set.Value.Images.IsInvalid && set.Value.Labels.IsInvalid) "gone")

        test "a network is told channels, means, deviations and classes" (fun () ->
            use set =
                Dataset.ofBytes
                    "rgb"
                    (Array.zeroCreate 12)
                    [| 1L; 3L; 2L; 2L |]
                    [| 0uy |]
                    2
                    colour.Mean
                    colour.Std
            Expect.equal (Dataset.input set) { colour with Classes = 2 } "input")

        testList "the embedded sample" [
            test "has 6,000 training and 1,000 test images, evenly of ten classes" (fun () ->
                for train, count in [ true, 6000; false, 1000 ] do
                    use set = Expect.wantOk (FashionMnist.sample train) "sample"
                    Expect.equal set.Images.shape [| int64 count; 1L; 28L; 28L |] "shape"
                    Expect.equal (set.Classes, set.Name) (10, "sample") "what it is"
                    let perClass = wholes set.Labels |> Array.countBy id |> Array.sort
                    Expect.equal perClass (Array.init 10 (fun k -> int64 k, count / 10)) "classes")

            test "holds no image twice, and none of the test images in training" (fun () ->
                let digests train =
                    use set = Expect.wantOk (FashionMnist.sample train) "sample"
                    let bytes = TensorTree.bytes set.Images
                    Array.chunkBySize 784 bytes |> Array.map (SHA256.HashData >> Convert.ToHexString)
                let train, test = digests true, digests false
                Expect.equal (Array.distinct test).Length test.Length "test images"
                Expect.equal (Set.intersect (Set.ofArray train) (Set.ofArray test)) Set.empty "in both"
                Expect.isGreaterThan (Array.distinct train).Length 5990 "training images")

            test "uses the whole range of pixels, with the mean and deviation that are given out" (fun () ->
                use set = Expect.wantOk (FashionMnist.sample true) "sample"
                let pixels = TensorTree.bytes set.Images |> Array.map (fun b -> float b / 255.0)
                Expect.equal (Array.min pixels, Array.max pixels) (0.0, 1.0) "range"
                close
                    0.01
                    [| mean pixels; sqrt (variance pixels) |]
                    (Array.ofList (set.Mean @ set.Std))
                    "mean and deviation")

            test "does not come in the order of its classes" (fun () ->
                use set = Expect.wantOk (FashionMnist.sample true) "sample"
                let runs =
                    wholes set.Labels |> Array.pairwise |> Array.filter (fun (a, b) -> a = b) |> Array.length
                Expect.isLessThan runs 1000 "neighbours of the same class")

            test "is the same every time" (fun () ->
                use one = Expect.wantOk (FashionMnist.sample false) "sample"
                use two = Expect.wantOk (DatasetRegistry.load "sample" None false) "sample"
                Expect.equal
                    (digest one.Images, digest one.Labels)
                    (digest two.Images, digest two.Labels)
                    "bytes")
        ]
    ]
