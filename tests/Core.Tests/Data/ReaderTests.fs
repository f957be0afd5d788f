/// Data files: what is written is read, and damage of every kind is told.
module Tests.Data.ReaderTests

open System
open System.IO
open System.IO.Compression
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private gzip (bytes: byte[]) =
    use into = new MemoryStream()

    do
        use zip = new GZipStream(into, CompressionLevel.Fastest)
        zip.Write(bytes, 0, bytes.Length)

    into.ToArray()

let private bytesOf (source: Source) n below = Array.init n (fun _ -> byte (source.Whole(0, below - 1)))

let private readIdx images labels =
    use images = new MemoryStream(images: byte[])
    use labels = new MemoryStream(labels: byte[])
    Idx.read "made" 10 [ 0.5 ] [ 0.25 ] ("images.idx", images) ("labels.idx", labels)

let private six = idx [ 2; 2; 3 ] [| 0uy .. 11uy |]
let private two = idx [ 2 ] [| 3uy; 9uy |]

let private damaged (path: string) (parts: string list) result message =
    match wantError result message with
    | Error.Damaged(at, problem) ->
        Expect.equal at path (message + ": path")
        for part in parts do
            Expect.stringContains problem part message
    | other -> failtestf "%s: another kind of error: %A" message other

let private free result =
    match result with
    | Ok(set: Dataset) ->
        use _ = set
        set.Name
    | Error e -> Error.message e

let private write (folder: string) (name: string) (bytes: byte[]) =
    File.WriteAllBytes(Path.Combine(folder, name), bytes)

// Five training files and a test file of a given number of records each.
let private cifar (source: Source) folder count =
    let inner = Path.Combine(folder, "cifar-10-batches-bin")
    Directory.CreateDirectory inner |> ignore

    let files = [
        for name in [ yield! List.init 5 (fun i -> sprintf "data_batch_%d.bin" (i + 1)); "test_batch.bin" ] ->
            let records = Array.init count (fun _ -> bytesOf source 1 10, bytesOf source 3072 256)
            write inner name (records |> Array.collect (fun (label, pixels) -> Array.append label pixels))
            records
    ]

    inner, files

[<Tests>]
let tests =
    testList "Data.Reader" [
        testProperty
            "idx files give back what was written, compressed or not"
            (fun (seed: int) (PositiveInt n) (zipped: bool) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, h, w = 1 + n % 7, source.Whole(1, 5), source.Whole(1, 5)
                    let pixels, labels = bytesOf source (n * h * w) 256, bytesOf source n 10
                    let pack = if zipped then gzip else id
                    use set =
                        Expect.wantOk
                            (readIdx (pack (idx [ n; h; w ] pixels)) (pack (idx [ n ] labels)))
                            "readable"
                    Expect.equal (TensorTree.bytes set.Images) pixels "pixels"
                    Expect.equal set.Images.shape [| int64 n; 1L; int64 h; int64 w |] "shape"
                    Expect.equal set.Images.dtype torch.uint8 "type"
                    Expect.equal (wholes set.Labels) (Array.map int64 labels) "labels"
                    Expect.equal (set.Name, set.Classes, set.Count) ("made", 10, int64 n) "what it is"))

        testTheory
            "damaged idx files are told apart"
            [
                "no header", six[..10], two, "images.idx", [ "11 bytes" ]
                "nothing at all", [||], two, "images.idx", [ "0 bytes" ]
                "cut short", six[.. six.Length - 2], two, "images.idx", [ "12"; "11" ]
                "too long", Array.append six [| 1uy |], two, "images.idx", [ "12"; "13" ]
                "another format",
                Array.append [| 0x89uy |] six[1..],
                two,
                "images.idx",
                [ "not an idx file"; "3 dimensions" ]
                "another type",
                Array.concat [ [| 0uy; 0uy; 0x0Duy |]; six[3..] ],
                two,
                "images.idx",
                [ "not an idx file" ]
                "labels for images", idx [ 9 ] (Array.zeroCreate 9), two, "images.idx", [ "3 dimensions" ]
                "images for labels", six, six, "labels.idx", [ "1 dimensions" ]
                "labels cut short", six, two[.. two.Length - 2], "labels.idx", [ "2"; "1" ]
                "more labels than images",
                six,
                idx [ 3 ] [| 1uy; 2uy; 3uy |],
                "labels.idx",
                [ "3 labels"; "2 images" ]
                "a label too high", six, idx [ 2 ] [| 3uy; 10uy |], "labels.idx", [ "label 10"; "image 1" ]
                "compression cut short", (gzip six)[..20], two, "images.idx", []
                "compression altered",
                Array.mapi (fun i b -> if i = 25 then b ^^^ 0xffuy else b) (gzip six),
                two,
                "images.idx",
                []
                "no images", idx [ 0; 2; 3 ] [||], idx [ 0 ] [||], "images.idx", [ "no image" ]
                "images without pixels", idx [ 2; 0; 3 ] [||], two, "images.idx", [ "no image" ]
            ]
            (fun (name, images, labels, path, parts) ->
                balanced (fun () -> damaged path parts (readIdx images labels) name))

        testPropertyN
            200
            "no byte of an idx file makes its reader raise"
            (fun (at: int) (value: byte) (zipped: bool) ->
                balanced (fun () ->
                    let pack = if zipped then gzip six else six
                    let bytes = Array.copy pack
                    bytes[int (abs (int64 at) % int64 bytes.Length)] <- value
                    Expect.isNotWhitespace (readIdx bytes two |> free) "a data set or a sentence"))

        test "Fashion-MNIST is read from its four files, plain or zipped, training and test apart" (fun () ->
            inFolder (fun folder ->
                let source = Source 1
                let part prefix n zip =
                    let pixels, labels = bytesOf source (n * 784) 256, bytesOf source n 10
                    let pack, suffix = if zip then gzip, ".gz" else id, ""
                    write folder (prefix + "-images-idx3-ubyte" + suffix) (pack (idx [ n; 28; 28 ] pixels))
                    write folder (prefix + "-labels-idx1-ubyte" + suffix) (pack (idx [ n ] labels))
                    pixels, labels
                let train, test = part "train" 3 true, part "t10k" 2 false

                for isTraining, (pixels, labels) in [ true, train; false, test ] do
                    use set = Expect.wantOk (FashionMnist.read folder isTraining) "readable"
                    Expect.equal (TensorTree.bytes set.Images) pixels "pixels"
                    Expect.equal (wholes set.Labels) (Array.map int64 labels) "labels"
                    Expect.equal set.Name "fashion-mnist" "name"))

        test "a folder that lacks Fashion-MNIST's files is told which" (fun () ->
            inFolder (fun folder ->
                says
                    [ "train-images-idx3-ubyte"; folder; "--data" ]
                    (wantError (FashionMnist.read folder true) "none")
                    "images"
                write folder "train-images-idx3-ubyte" six
                says
                    [ "train-labels-idx1-ubyte" ]
                    (wantError (FashionMnist.read folder true) "one")
                    "labels"
                Expect.equal
                    (Error.exitCode (wantError (FashionMnist.read "/no/such/folder" false) "no folder"))
                    4
                    "missing"))

        test "CIFAR-10 is read from its folder or the one above, training and test apart" (fun () ->
            inFolder (fun folder ->
                let inner, files = cifar (Source 2) folder 3

                for place in [ folder; inner ] do
                    for isTraining in [ true; false ] do
                        use set = Expect.wantOk (Cifar10.read place isTraining) place
                        let records = Array.concat (if isTraining then files[..4] else files[5..])
                        Expect.equal (TensorTree.bytes set.Images) (records |> Array.collect snd) "pixels"
                        Expect.equal
                            (wholes set.Labels)
                            (records |> Array.map (fun (label, _) -> int64 label[0]))
                            "labels"
                        Expect.equal set.Images.shape [| int64 records.Length; 3L; 32L; 32L |] "shape"
                        Expect.equal
                            (set.Name, set.Classes, set.Mean.Length, set.Std.Length)
                            ("cifar10", 10, 3, 3)
                            "what it is"))

        test "damaged CIFAR-10 files are told apart" (fun () ->
            inFolder (fun folder ->
                let inner, _ = cifar (Source 3) folder 2
                let path = Path.Combine(inner, "data_batch_3.bin")
                let whole = File.ReadAllBytes path
                let tell (bytes: byte[]) parts name =
                    File.WriteAllBytes(path, bytes)
                    damaged path parts (Cifar10.read folder true) name

                tell whole[.. whole.Length - 2] [ "6145 bytes"; "3073" ] "cut short"
                tell [||] [ "0 bytes" ] "empty"
                tell
                    (Array.mapi (fun i b -> if i = 3073 then 10uy else b) whole)
                    [ "record 1"; "label 10" ]
                    "a label too high"
                File.Delete path
                says
                    [ "data_batch_3.bin"; "cifar-10-binary.tar.gz" ]
                    (wantError (Cifar10.read folder true) "missing")
                    "missing"
                Directory.CreateDirectory path |> ignore
                Expect.isError (Cifar10.read folder true |> Result.map ignore) "a folder in a file's place"
                use test = Expect.wantOk (Cifar10.read folder false) "the test file is still whole"
                Expect.equal test.Count 2L "its images"))

        test "no CIFAR-10 at all" (fun () ->
            let error = wantError (Cifar10.read "/no/such/folder" true) "missing"
            says [ "CIFAR-10"; "/no/such/folder"; "--data" ] error "sentence"
            Expect.equal (Error.exitCode error) 4 "missing")

        test "the catalogue finds data sets by name, and asks for the folder where one is needed" (fun () ->
            says
                [ "data set"; "'cifar-10'"; "'cifar10'" ]
                (wantError (DatasetRegistry.load "cifar-10" None true) "unknown")
                "nearest"

            for listing in DatasetRegistry.all do
                let name = listing.Name

                match DatasetRegistry.load (name.ToUpperInvariant()) None false with
                | Ok set ->
                    use _ = set
                    Expect.isFalse listing.NeedsFolder name
                | Error e ->
                    Expect.isTrue listing.NeedsFolder name
                    says [ "--data"; name.ToUpperInvariant() ] e name)
    ]
