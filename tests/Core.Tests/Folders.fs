/// Data sets that are folders of image files: one's own, and Tiny-ImageNet.
module Folders

open System
open System.IO
open System.Text
open System.Text.Json
open Expecto
open AdvContrast.Core
open Arrays
open Laws
open Shelving

// --- pictures

let private ppm width height (pixels: byte[]) =
    Array.append (Encoding.ASCII.GetBytes(sprintf "P6 %d %d 255\n" width height)) pixels

// Interleaved to planes.
let private planes size (pixels: byte[]) = Array.init pixels.Length (fun i -> pixels[i % size * 3 + i / size])

let private jpegs =
    lazy
        (let path = Path.Combine(AppContext.BaseDirectory, "Golden", "pictures.json")
         use json = JsonDocument.Parse(File.ReadAllText path)
         [
             for case in json.RootElement.GetProperty("cases").EnumerateArray() do
                 if case.GetProperty("format").GetString() = "JPEG" then
                     case.GetProperty("file").GetBytesFromBase64()
         ])

let private labels (set: Dataset) = wholes set.Labels |> List.ofArray

let tests =
    testList "Folders" [
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
                use train = Expect.wantOk (Catalogue.load "folder" (Some folder) true) "training"
                Expect.equal (labels train) [ 0L; 1L; 1L; 2L; 2L ] "C, a, a, b, b"
                Expect.equal (train.Images.shape, train.Classes) ([| 5L; 3L; 2L; 3L |], 3) "shape"
                let grey = Array.init 18 (fun i -> byte (1 + i % 6))
                let expected = Array.concat [ yield! Array.replicate 4 (planes 6 picture); grey ]
                Expect.equal (Tree.bytes train.Images) expected "pixels, grey as colour"
                use test = Expect.wantOk (Catalogue.load "folder" (Some folder) false) "test"
                Expect.equal (labels test) [ 2L ] "by the training classes"
                use square = Expect.wantOk (Catalogue.load "folder:5" (Some folder) true) "resized"
                Expect.equal square.Images.shape [| 5L; 3L; 5L; 5L |] "shape"
                let load () = Catalogue.load "folder" (Some folder) true
                write folder "train/b/big.ppm" (ppm 4 2 (Array.zeroCreate 24))
                damaged "big.ppm" [ "4x2"; "3x2"; "--dataset folder:" ] (load ()) "another size"
                write folder "train/b/big.ppm" "GIF89a"B
                damaged "big.ppm" [ "GIF"; "PNG" ] (load ()) "another format"
                put "test/d/1.ppm"
                damaged
                    "d"
                    [ "no class" ]
                    (Catalogue.load "folder" (Some folder) false)
                    "a class that is not trained on"
                missing
                    [ "train"; "CLASS" ]
                    (Catalogue.load "folder" (Some(Path.Combine(folder, "train"))) true)
                    "no train"
                says
                    [ "folder:64" ]
                    (wantError (Catalogue.load "folder:big" (Some folder) true) "size")
                    "size"))

        test "Tiny-ImageNet: JPEG files in its own layout" (fun () ->
            inFolder (fun folder ->
                let jpeg = jpegs.Value |> List.find (fun file -> (Jpeg.decode file).Channels = 3)
                let picture = Jpeg.decode jpeg
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
                    (Tree.bytes train.Images)
                    (Array.concat (Array.replicate 3 (Raster.toPlanes picture)))
                    "pixels"
                use test = Expect.wantOk (Catalogue.load "tiny-imagenet" (Some folder) false) "validation"
                Expect.equal (labels test) [ 1L ] "the list's labels"
                annotate "val_0.JPEG\tn03\n"
                damaged
                    "val_annotations.txt"
                    [ "line 1" ]
                    (TinyImageNet.read folder false)
                    "a class that there is not"
                missing [ "data get tiny-imagenet" ] (TinyImageNet.read "/no/such" true) "no folder"))
    ]
