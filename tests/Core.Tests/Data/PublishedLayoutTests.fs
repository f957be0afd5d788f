/// Data sets in their published layouts: CIFAR-100, STL-10, MNIST, npy files and corruptions.
module Tests.Data.PublishedLayoutTests

open System
open System.IO
open System.Text
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.DataFiles

// --- npy, as NumPy writes it

let private npyOf version (kind: string) order (shape: string) (content: byte[]) =
    let header = sprintf "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" kind order shape
    let text = header.PadRight(118 - 10 - 1) + "\n"
    let length = BitConverter.GetBytes text.Length |> Array.take (if version = 1uy then 2 else 4)
    Array.concat [ [| 0x93uy |]; "NUMPY"B; [| version; 0uy |]; length; Encoding.ASCII.GetBytes text; content ]

let private npy = npyOf 1uy
let private all (shape: int64[]) = Ok(0L, shape[0])

// --- CIFAR-100

let private cifar100 (source: Source) folder count = [
    for name in [ "train.bin"; "test.bin" ] ->
        let records =
            Array.init count (fun _ -> bytesOf source 1 20, bytesOf source 1 100, bytesOf source 3072 256)
        write
            folder
            ("cifar-100-binary/" + name)
            (records |> Array.collect (fun (a, b, c) -> Array.concat [ a; b; c ]))
        records
]

// --- STL-10: column after column

let private stl (source: Source) folder = [
    for name, count in [ "train", 3; "test", 2; "unlabeled", 501 ] ->
        let pixels = bytesOf source (count * 3 * 96 * 96) 256
        let labels = Array.init count (fun i -> byte (1 + i % 10))
        write folder (sprintf "stl10_binary/%s_X.bin" name) pixels
        if name <> "unlabeled" then write folder (sprintf "stl10_binary/%s_y.bin" name) labels
        pixels, labels
]

// Interleaved to planes.
let private planes size (pixels: byte[]) = Array.init pixels.Length (fun i -> pixels[i % size * 3 + i / size])

let private labels (set: Dataset) = wholes set.Labels |> List.ofArray

[<Tests>]
let tests =
    testList "Data.PublishedLayout" [
        test "CIFAR-100 is read with its fine or its coarse labels" (fun () ->
            inFolder (fun folder ->
                let files = cifar100 (Source 1) folder 4

                for train, records in List.zip [ true; false ] files do
                    for which, name, classes, pick in
                        [
                            Fine, "cifar100", 100, (fun (_, fine: byte[], _) -> int64 fine[0])
                            Coarse, "cifar100-coarse", 20, (fun (coarse: byte[], _, _) -> int64 coarse[0])
                        ] do
                        use set = Expect.wantOk (Cifar100.read which folder train) name
                        Expect.equal (wholes set.Labels) (Array.map pick records) "labels"
                        Expect.equal
                            (TensorTree.bytes set.Images)
                            (records |> Array.collect (fun (_, _, p) -> p))
                            "pixels"
                        Expect.equal set.Images.shape [| 4L; 3L; 32L; 32L |] "shape"
                        Expect.equal (set.Name, set.Classes) (name, classes) "what it is"))

        test "damaged CIFAR-100 files are told apart" (fun () ->
            inFolder (fun folder ->
                cifar100 (Source 2) folder 2 |> ignore
                let path = Path.Combine(folder, "cifar-100-binary", "train.bin")
                let bytes = File.ReadAllBytes path
                let tell at value parts =
                    File.WriteAllBytes(path, Array.mapi (fun i b -> if i = at then value else b) bytes)
                    damaged "train.bin" parts (Cifar100.read Fine folder true) (sprintf "%A" parts)
                tell 3074 20uy [ "record 1"; "label 20"; "0 to 19" ]
                tell 1 100uy [ "record 0"; "label 100"; "0 to 99" ]
                File.WriteAllBytes(path, bytes[1..])
                damaged "train.bin" [ "6147 bytes"; "3074" ] (Cifar100.read Fine folder true) "cut short"
                File.Delete path
                missing [ "train.bin"; "cifar-100-binary.tar.gz" ] (Cifar100.read Fine folder true) "none"
                missing [ "--data"; "data get cifar100" ] (Cifar100.read Fine "/no/such" true) "no folder"))

        test "STL-10 is read column after column, its labels from 1" (fun () ->
            inFolder (fun folder ->
                let files = stl (Source 3) folder

                for read, train, (pixels, own), name in
                    [
                        Stl10.read, true, files[0], "stl10"
                        Stl10.read, false, files[1], "stl10"
                        Stl10.readUnlabelled, true, files[2], "stl10-unlabelled"
                    ] do
                    use set = Expect.wantOk (read folder train) name
                    let n = pixels.Length / 27648
                    Expect.equal set.Images.shape [| int64 n; 3L; 96L; 96L |] "shape"
                    let expected =
                        Array.init pixels.Length (fun i ->
                            let plane, row, column = i / 9216, i / 96 % 96, i % 96
                            pixels[plane * 9216 + column * 96 + row])
                    Expect.isTrue (TensorTree.bytes set.Images = expected) "pixels"
                    Expect.equal
                        (set.Name, set.Classes, set.IsLabelled)
                        (name, 10, name = "stl10")
                        "what it is"
                    let expected =
                        if set.IsLabelled then Array.map (fun b -> int64 b - 1L) own else Array.create n -1L
                    Expect.equal (wholes set.Labels) expected "labels"

                use test = Expect.wantOk (Stl10.readUnlabelled folder false) "the test images have labels"
                Expect.equal (test.IsLabelled, test.Count) (true, 2L) "test"))

        test "MNIST in every place and under every name that its copies have" (fun () ->
            let pixels, own = Array.init 12 byte, [| 3uy; 7uy |]
            let images, labels = idx [ 2; 2; 3 ] pixels, idx [ 2 ] own

            for below, dot in
                [
                    "", "-"
                    "", "."
                    "mnist/", "-"
                    "MNIST/raw/", "-"
                    "raw/", "."
                    "train-images-idx3-ubyte/", "-"
                    "train-images-idx3-ubyte/", "."
                ] do
                inFolder (fun folder ->
                    let below kind = below.Replace("images-idx3", kind)
                    write folder (below "images-idx3" + "Train-images" + dot + "idx3-ubyte") images
                    write folder (below "labels-idx1" + "train-labels" + dot + "idx1-ubyte") labels
                    use set =
                        Expect.wantOk
                            (DatasetRegistry.load "mnist" (Some folder) true)
                            (below "images-idx3" + dot)
                    Expect.equal (wholes set.Labels) [| 3L; 7L |] "labels"
                    Expect.equal (TensorTree.bytes set.Images) pixels "pixels"
                    missing
                        [ "t10k"; "--data" ]
                        (DatasetRegistry.load "mnist" (Some folder) false)
                        "no test images")

            // Fashion-MNIST beside it is another data set.
            inFolder (fun folder ->
                write folder "FashionMNIST/raw/train-images-idx3-ubyte" images
                write folder "FashionMNIST/raw/train-labels-idx1-ubyte" labels
                missing [ "--data" ] (DatasetRegistry.load "mnist" (Some folder) true) "not MNIST"
                use set =
                    Expect.wantOk (DatasetRegistry.load "fashion-mnist" (Some folder) true) "Fashion-MNIST"
                Expect.equal set.Count 2L "images"))

        test "the Python versions of CIFAR are told from the binary ones" (fun () ->
            for name, folder', file in
                [ "cifar10", "cifar-10-batches-py", "data_batch_1"; "cifar100", "cifar-100-python", "meta" ] do
                inFolder (fun folder ->
                    write folder (folder' + "/" + file) [| 128uy |]
                    let says = [ "Python version"; "binary version"; "data get " + name ]
                    damaged folder' says (DatasetRegistry.load name (Some folder) true) name
                    let inner = Path.Combine(folder, folder')
                    damaged file says (DatasetRegistry.load name (Some inner) true) name))

        test "damaged STL-10 files are told apart" (fun () ->
            inFolder (fun folder ->
                stl (Source 4) folder |> ignore
                let tell name (bytes: byte[]) parts =
                    let path = Path.Combine(folder, "stl10_binary", name)
                    let before = File.ReadAllBytes path
                    File.WriteAllBytes(path, bytes)
                    damaged name parts (Stl10.read folder true) name
                    File.WriteAllBytes(path, before)
                tell "train_X.bin" (Array.zeroCreate 27647) [ "27647 bytes"; "27648" ]
                tell "train_X.bin" [||] [ "0 bytes" ]
                tell "train_y.bin" [| 1uy; 11uy; 1uy |] [ "image 1"; "label 11" ]
                tell "train_y.bin" [| 1uy; 0uy; 1uy |] [ "image 1"; "label 0" ]
                tell "train_y.bin" [| 1uy; 2uy |] [ "2 labels for 3 images" ]
                File.Delete(Path.Combine(folder, "stl10_binary", "unlabeled_X.bin"))
                missing [ "unlabeled_X.bin" ] (Stl10.readUnlabelled folder true) "unlabelled"))

        test "labels that there are not are not given out" (fun () ->
            let images = torch.zeros ([| 2L; 1L; 2L; 2L |], Nullable torch.uint8)
            use set = Dataset.create "bare" images None 10 [ 0.5 ] [ 0.5 ]
            Expect.throwsC (fun () -> set.LabelsOf cpu [| 0L |] |> ignore) (fun raised ->
                match raised with
                | UnlabelledException -> ()
                | other -> failtestf "another exception: %O" other)
            use part = Dataset.subset [| 1L |] set
            Expect.isFalse part.IsLabelled "nor has a part of it")

        test "images without labels can be trained on, but not where labels are needed" (fun () ->
            inFolder (fun folder ->
                stl (Source 7) folder |> ignore

                let train name =
                    Workbench.pretrain None ignore Threading.CancellationToken.None {
                        PretrainConfig.defaults with
                            Method = name
                            Dataset = "stl10-unlabelled"
                            Data = Some folder
                            Images = Some 4
                            Network = Some "small"
                            Width = Some 2
                            Batch = Some 4
                            Epochs = Some 1
                    }

                use encoder = Expect.wantOk (train "simclr") "contrast needs none"
                let few = { Evaluation.defaults with Images = Some 1 }

                for result in
                    [
                        train "supervised" |> Result.map (fun e -> (e :> IDisposable).Dispose())
                        Workbench.evaluate (fun _ _ -> ()) Threading.CancellationToken.None encoder few
                        |> Result.map ignore
                    ] do
                    match Expect.wantError result "labels are needed" with
                    | [ Error.BadOption("--dataset", problem) ] ->
                        Expect.stringContains problem "'stl10-unlabelled'" "which data set"
                        Expect.stringContains problem "labels" "what it lacks"
                    | others -> failtestf "other errors: %A" others))

        test "MNIST is read from its folder or the one above" (fun () ->
            inFolder (fun folder ->
                let pixels = [| 0uy .. 11uy |]

                for below in [ ""; "mnist/" ] do
                    write folder (below + "train-images-idx3-ubyte") (idx [ 2; 2; 3 ] pixels)
                    write folder (below + "train-labels-idx1-ubyte") (idx [ 2 ] [| 3uy; 9uy |])
                    use set = Expect.wantOk (Mnist.read folder true) "readable"
                    Expect.equal (labels set, set.Name) ([ 3L; 9L ], "mnist") "what it is"
                    Expect.equal (TensorTree.bytes set.Images) pixels "pixels"

                missing [ "MNIST"; "t10k-images" ] (Mnist.read folder false) "test part"))

        test "npy files of bytes and of whole numbers are read, in part or whole" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "a.npy")
                let numbers = [| 1L; -2L; Int64.MaxValue |]

                for version in [ 1uy; 2uy; 3uy ] do
                    File.WriteAllBytes(path, npyOf version "|u1" "False" "(3, 2)" [| 1uy .. 6uy |])
                    match Expect.wantOk (Npy.read path all) "bytes" with
                    | shape, Bytes bytes ->
                        Expect.equal (shape, bytes) ([| 3L; 2L |], [| 1uy .. 6uy |]) "bytes"
                    | other -> failtestf "%A" other

                match Expect.wantOk (Npy.read path (fun _ -> Ok(1L, 1L))) "a row" with
                | shape, Bytes bytes -> Expect.equal (shape, bytes) ([| 1L; 2L |], [| 3uy; 4uy |]) "a row"
                | other -> failtestf "%A" other

                File.WriteAllBytes(
                    path,
                    npy
                        "<i8"
                        "False"
                        "(3,)"
                        (Array.collect (fun (n: int64) -> BitConverter.GetBytes n) numbers)
                )
                match Expect.wantOk (Npy.read path all) "numbers" with
                | shape, Wholes found -> Expect.equal (shape, found) ([| 3L |], numbers) "numbers"
                | other -> failtestf "%A" other))

        testTheory
            "damaged npy files are told apart"
            [
                "another file", "hello, world"B, [ "not an npy file" ]
                "nothing", [||], [ "not an npy file" ]
                "no header", (npy "|u1" "False" "(3,)" [||])[..40], [ "header" ]
                "column after column", npy "|u1" "True" "(2, 2)" [| 1uy .. 4uy |], [ "column after column" ]
                "another type", npy "<f4" "False" "(1,)" [| 1uy .. 4uy |], [ "<f4" ]
                "cut short", npy "|u1" "False" "(2, 2)" [| 1uy .. 3uy |], [ "4 bytes"; "3" ]
                "too long", npy "|u1" "False" "(2, 2)" [| 1uy .. 5uy |], [ "4 bytes"; "5" ]
                "sizes beyond counting",
                npy "|u1" "False" "(2000000000, 2000000000, 2000000000)" [||],
                [ "promises" ]
                "a size beyond counting", npy "|u1" "False" "(99999999999999999999,)" [||], [ "header" ]
                "no sizes", npy "|u1" "False" "()" [| 1uy |], [ "no array" ]
                "no shape", npy "|u1" "False" "3" [| 1uy |], [ "header" ]
            ]
            (fun (name, bytes, parts) ->
                balanced (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "a.npy")
                        File.WriteAllBytes(path, bytes)
                        damaged "a.npy" parts (Npy.read path all) name)))

        test
            "corrupted images are read by corruption and severity, beside the plain training images"
            (fun () ->
                inFolder (fun folder ->
                    let source = Source 5
                    let pixels, own = bytesOf source (10 * 3072) 256, bytesOf source 10 10
                    write folder "CIFAR-10-C/fog.npy" (npy "|u1" "False" "(10, 32, 32, 3)" pixels)
                    write folder "CIFAR-10-C/labels.npy" (npy "|u1" "False" "(10,)" own)

                    for choice, rows in
                        [ [ "fog" ], [| 0..9 |]; [ "fog"; "1" ], [| 0; 1 |]; [ "fog"; "5" ], [| 8; 9 |] ] do
                        let name = String.Join(":", "cifar10-c" :: choice)
                        use set = Expect.wantOk (DatasetRegistry.load name (Some folder) false) name
                        Expect.equal
                            (wholes set.Labels)
                            (rows |> Array.map (fun row -> int64 own[row]))
                            "labels"
                        let expected =
                            rows
                            |> Array.collect (fun row ->
                                planes 1024 pixels[row * 3072 .. row * 3072 + 3071])
                        Expect.isTrue (TensorTree.bytes set.Images = expected) "pixels"
                        Expect.equal
                            (set.Name, set.Classes, set.Count)
                            (name, 10, rows.LongLength)
                            "what it is"

                    let load name = DatasetRegistry.load name (Some folder) false
                    says [ "cifar10-c:fog" ] (wantError (load "cifar10-c") "none") "a corruption is needed"
                    says [ "'fgo'"; "'fog'" ] (wantError (load "cifar10-c:fgo") "unknown") "nearest"
                    says [ "'6'"; "1 to 5" ] (wantError (load "cifar10-c:fog:6") "severity") "severity"
                    missing [ "snow.npy" ] (load "cifar10-c:snow") "a file that is not there"
                    missing
                        [ "cifar-10-batches-bin" ]
                        (DatasetRegistry.load "cifar10-c:fog" (Some "/no/such") true)
                        "training"
                    write folder "CIFAR-10-C/labels.npy" (npy "|u1" "False" "(9,)" own[..8])
                    damaged "labels.npy" [ "9 labels for 10 images" ] (load "cifar10-c:fog") "labels"
                    damaged "labels.npy" [ "five severities" ] (load "cifar10-c:fog:2") "labels"
                    write folder "CIFAR-10-C/labels.npy" (npy "|u1" "False" "(10,)" (Array.create 10 10uy))
                    damaged "labels.npy" [ "label 10"; "0 to 9" ] (load "cifar10-c:fog") "a label too high"
                    write folder "CIFAR-10-C/fog.npy" (npy "|u1" "False" "(30720,)" pixels)
                    damaged "fog.npy" [ "32x32" ] (load "cifar10-c:fog") "shape"
                    write folder "CIFAR-100-C/fog.npy" (npy "|u1" "False" "(10, 32, 32, 3)" pixels)
                    write
                        folder
                        "CIFAR-100-C/labels.npy"
                        (npy
                            "<i8"
                            "False"
                            "(10,)"
                            (Array.collect (fun i -> BitConverter.GetBytes(99L - int64 i)) [| 0..9 |]))
                    use set = Expect.wantOk (load "cifar100-c:fog:2") "CIFAR-100-C"
                    Expect.equal (labels set, set.Classes) ([ 97L; 96L ], 100) "labels of 64 bits"))
    ]
