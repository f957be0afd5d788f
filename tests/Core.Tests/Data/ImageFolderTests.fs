/// Data sets that are folders of image files: a user's, and Tiny-ImageNet.
module Tests.Data.ImageFolderTests

open System
open System.IO
open System.Text
open System.Text.Json
open Expecto
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open Support.Arrays
open Support.Laws
open Support.DataFiles

// --- pictures

let private ppm width height (pixels: byte[]) =
    Array.append (Encoding.ASCII.GetBytes(sprintf "P6 %d %d 255\n" width height)) pixels

// Interleaved to planes.
let private planes size (pixels: byte[]) = Array.init pixels.Length (fun i -> pixels[i % size * 3 + i / size])

// Files of colour images with the pixels that they hold: name, width, height, file, pixels.
let private decodable =
    lazy
        (let path = Path.Combine(AppContext.BaseDirectory, "Golden", "pictures.json")
         use json = JsonDocument.Parse(File.ReadAllText path)
         [
             for case in json.RootElement.GetProperty("cases").EnumerateArray() do
                 let number (key: string) = case.GetProperty(key).GetInt32()
                 let text (key: string) = case.GetProperty(key).GetString()

                 if number "channels" = 3 then
                     text "format" + ", " + text "name",
                     number "width",
                     number "height",
                     Convert.FromBase64String(text "file"),
                     Convert.FromBase64String(text "pixels")
         ])

let private labels (set: Dataset) = wholes set.Labels |> List.ofArray

[<Tests>]
let tests =
    testList "Data.ImageFolder" [
        test "image folders: the classes in the order of their names, the images too" (fun () ->
            inFolder (fun folder ->
                let source = Source 6
                let picture = bytesOf source 18 256
                let put name = write folder name (ppm 3 2 picture)
                for name in
                    [ "train/b/2.ppm"; "train/a/1.ppm"; "train/C/x.ppm"; "train/a/0.ppm"; "test/b/1.ppm" ] do
                    put name
                write folder "train/a/.hidden" [||]
                write folder "train/b/grey.pgm" (Array.append "P5 3 2 255\n"B [| 1uy .. 6uy |])
                use train = Expect.wantOk (DatasetRegistry.load "folder" (Some folder) true) "training"
                Expect.equal (labels train) [ 0L; 1L; 1L; 2L; 2L ] "C, a, a, b, b"
                Expect.equal (train.Images.shape, train.Classes) ([| 5L; 3L; 2L; 3L |], 3) "shape"
                let grey = Array.init 18 (fun i -> byte (1 + i % 6))
                let expected = Array.concat [ yield! Array.replicate 4 (planes 6 picture); grey ]
                Expect.equal (TensorTree.bytes train.Images) expected "pixels, grey as colour"
                use test = Expect.wantOk (DatasetRegistry.load "folder" (Some folder) false) "test"
                Expect.equal (labels test) [ 2L ] "by the training classes"
                use square = Expect.wantOk (DatasetRegistry.load "folder:5" (Some folder) true) "resized"
                Expect.equal square.Images.shape [| 5L; 3L; 5L; 5L |] "shape"
                let load () = DatasetRegistry.load "folder" (Some folder) true
                write folder "train/b/big.ppm" (ppm 4 2 (Array.zeroCreate 24))
                damaged "big.ppm" [ "4x2"; "3x2"; "--dataset folder:" ] (load ()) "another size"
                write folder "train/b/big.ppm" "P3 1 1 255 0 0 0"B
                damaged "big.ppm" [ "text PPM"; "PNG" ] (load ()) "another format"
                put "test/d/1.ppm"
                damaged
                    "d"
                    [ "no class" ]
                    (DatasetRegistry.load "folder" (Some folder) false)
                    "a class that is not trained on"
                missing
                    [ "train"; "CLASS" ]
                    (DatasetRegistry.load "folder" (Some(Path.Combine(folder, "train"))) true)
                    "no train"
                says
                    [ "folder:64" ]
                    (wantError (DatasetRegistry.load "folder:big" (Some folder) true) "size")
                    "size"))

        test
            "image folders: a class is a folder with images anywhere below it; the rest is skipped and named"
            (fun () ->
                inFolder (fun folder ->
                    let picture = ppm 3 2 (Array.zeroCreate 18)
                    let put name = write folder name picture
                    for name in
                        [
                            "Train/b/deep/er/1.PPM"
                            "Train/b/0.ppm"
                            "Train/a/one/2.ppm"
                            "Train/a/two/1.Ppm"
                            "Train/loose.ppm"
                            "Train/__MACOSX/a/._0.ppm"
                            "Train/a/.hidden.ppm"
                            "VAL/b/9.ppm"
                        ] do
                        put name
                    write folder "Train/b/labels.csv" [| 1uy |]
                    write folder "Train/README" [| 1uy |]
                    write folder "Train/notes/read.txt" [| 1uy |]
                    Directory.CreateDirectory(Path.Combine(folder, "Train", "lost+found")) |> ignore
                    Directory.CreateDirectory(Path.Combine(folder, "Train", "Empty")) |> ignore
                    // A link to a folder above ends.
                    Directory.CreateSymbolicLink(
                        Path.Combine(folder, "Train/a/loop"),
                        Path.Combine(folder, "Train/a")
                    )
                    |> ignore
                    use train = Expect.wantOk (DatasetRegistry.load "folder" (Some folder) true) "training"
                    Expect.equal (labels train, train.Classes) ([ 0L; 0L; 1L; 1L ], 2) "a, a, b, b"
                    Expect.equal train.ClassNames [ "a"; "b" ] "names"
                    Expect.equal
                        train.Skipped
                        [
                            "3 hidden files and folders"
                            "2 folders without images (Empty, notes)"
                            "1 image beside the class folders"
                            "1 file without an ending"
                            "1 file with the ending .csv"
                            "1 file with the ending .txt"
                        ]
                        "skipped"
                    use test = Expect.wantOk (DatasetRegistry.load "folder" (Some folder) false) "test"
                    Expect.equal (labels test, test.Classes) ([ 1L ], 2) "labels of the training classes"
                    let coverage = Coverage.ofDataset test
                    Expect.equal
                        (coverage.Classes, coverage.OfClasses, coverage.Absent)
                        (1, 2, [ "a" ])
                        "coverage"))

        test "image folders that do not fit into memory are refused before they are read" (fun () ->
            inFolder (fun folder ->
                let there = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes
                let side = 4096
                let count = int (there / int64 (3 * side * side)) + 2
                let picture = Path.Combine(folder, "train/a/0.pgm")
                write
                    folder
                    "train/a/0.pgm"
                    (Array.append
                        (Encoding.ASCII.GetBytes $"P5 {side} {side} 255\n")
                        (Array.zeroCreate (side * side)))
                for i in 1..count do
                    File.CreateSymbolicLink(Path.Combine(folder, $"train/a/{i}.pgm"), picture) |> ignore
                says
                    [ "GiB"; "--dataset folder:64"; string (count + 1) ]
                    (wantError (DatasetRegistry.load "folder" (Some folder) true) "memory")
                    "memory"))

        test
            "image folders: all files that cannot be read are reported together, the first 20 by name"
            (fun () ->
                inFolder (fun folder ->
                    let sound = ppm 3 2 (Array.zeroCreate 18)
                    let load () = wantError (DatasetRegistry.load "folder" (Some folder) true) "unreadable"

                    let damage count =
                        for i in 1..count do
                            write
                                folder
                                (sprintf "train/a/%03d.png" i)
                                (if i % 2 = 0 then "hello"B else sound[..9])

                    damage 1
                    says [ "001.png"; "it holds" ] (load ()) "no other image"
                    write folder "train/a/000.ppm" sound
                    write folder "train/b/999.ppm" sound
                    says [ "001.png"; "it holds" ] (load ()) "one"
                    // More than are decoded at a time.
                    damage 300
                    let error = load ()
                    Expect.equal (Error.exitCode error) 5 "exit code"
                    let lines = (Error.message error).Split '\n'
                    Expect.equal lines.Length 21 "20 files, and how many more"

                    for i in 1..20 do
                        Expect.stringContains lines[i - 1] (sprintf "%03d.png" i) "in order"
                        Expect.stringContains
                            lines[i - 1]
                            (if i % 2 = 0 then "not an image" else "it holds")
                            "why"

                    Expect.stringContains lines[20] "280 more" "the others"))

        test "image folders hold files of every format, and a JPEG under a PNG's name" (fun () ->
            inFolder (fun folder ->
                for i, (name, width, height, file, pixels) in List.indexed decodable.Value do
                    write folder (sprintf "train/%02d/0.png" i) file
                    use set = Expect.wantOk (DatasetRegistry.load "folder:9" (Some folder) true) name
                    let picture =
                        Raster.square 9 { Width = width; Height = height; Channels = 3; Pixels = pixels }
                    let image = set.Images.narrow (0L, int64 i, 1L)
                    Expect.equal (TensorTree.bytes image) (Raster.toPlanes picture) name))

        test "Tiny-ImageNet: JPEG files in its own layout" (fun () ->
            inFolder (fun folder ->
                let _, width, height, jpeg, pixels =
                    decodable.Value |> List.find (fun (name, _, _, _, _) -> name.StartsWith "JPEG")
                let at = "tiny-imagenet-200/"
                for name in
                    [
                        "train/n02/images/n02_0.JPEG"
                        "train/n01/images/n01_1.JPEG"
                        "train/n01/images/n01_0.JPEG"
                        "val/images/val_0.JPEG"
                    ] do
                    write folder (at + name) jpeg
                let annotate text =
                    write folder (at + "val/val_annotations.txt") (Encoding.ASCII.GetBytes(text: string))
                annotate "val_0.JPEG\tn02\t0\t0\t9\t9\n"
                use train = Expect.wantOk (TinyImageNet.read folder true) "training"
                Expect.equal (labels train, train.Classes) ([ 0L; 0L; 1L ], 2) "labels"
                Expect.equal
                    (TensorTree.bytes train.Images)
                    (Array.concat (Array.replicate 3 (planes (width * height) pixels)))
                    "pixels"
                use test =
                    Expect.wantOk (DatasetRegistry.load "tiny-imagenet" (Some folder) false) "validation"
                Expect.equal (labels test) [ 1L ] "the list's labels"
                annotate "val_0.JPEG\tn03\n"
                damaged
                    "val_annotations.txt"
                    [ "line 1" ]
                    (TinyImageNet.read folder false)
                    "a class that there is not"
                missing [ "data get tiny-imagenet" ] (TinyImageNet.read "/no/such" true) "no folder"))
    ]
