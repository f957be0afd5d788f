/// Image files: decoded as others decode them, and damage of every kind is told.
module Images

open System
open System.IO
open System.Text
open System.Text.Json
open Expecto
open FsCheck
open AdvContrast.Core
open AdvContrast.Testing.Property
open Laws

let private golden =
    lazy
        (let path = Path.Combine(AppContext.BaseDirectory, "Golden", "pictures.json")
         JsonDocument.Parse(File.ReadAllText path).RootElement.Clone())

let private list (key: string) = List.ofSeq (golden.Value.GetProperty(key).EnumerateArray())
let private bytesOf (key: string) (case: JsonElement) = (case.GetProperty key).GetBytesFromBase64()
let private whole (key: string) (case: JsonElement) = case.GetProperty(key).GetInt32()
let private text (key: string) (case: JsonElement) = case.GetProperty(key).GetString()

let private cases format = list "cases" |> List.filter (fun case -> text "format" case = format)
let private fileOf format name =
    cases format |> List.find (fun case -> text "name" case = name) |> bytesOf "file"

// What a file of these bytes is read as.
let private read (name: string) (bytes: byte[]) =
    let folder = Directory.CreateTempSubdirectory "advcontrast-"

    try
        let path = Path.Combine(folder.FullName, name)
        File.WriteAllBytes(path, bytes)
        ImageFile.read path
    finally
        folder.Delete true

let private refuses name bytes (parts: string list) message =
    match wantError (read name bytes) message with
    | Error.Damaged(path, problem) ->
        Expect.stringEnds path name (message + ": path")

        for part in parts do
            Expect.stringContains problem part message
    | other -> failtestf "%s: another kind of error: %A" message other

// The largest and the mean distance between two decodings.
let private distances (a: byte[]) (b: byte[]) =
    let each = Array.map2 (fun x y -> abs (float x - float y)) a b
    Array.max each, Array.average each

let private changed at value (bytes: byte[]) =
    let copy = Array.copy bytes
    copy[at] <- value
    copy

let private pgm (header: string) (pixels: byte[]) = Array.append (Encoding.ASCII.GetBytes header) pixels

let tests =
    testList "Images" [
        for case in list "cases" do
            let name = sprintf "%s, %s: decoded as by PIL" (text "format" case) (text "name" case)

            testCase name (fun () ->
                let picture = Expect.wantOk (read "a.file" (bytesOf "file" case)) "readable"
                Expect.equal
                    (picture.Width, picture.Height, picture.Channels)
                    (whole "width" case, whole "height" case, whole "channels" case)
                    "size"
                let most, usual = distances picture.Pixels (bytesOf "pixels" case)

                // libjpeg's cosine transform is in whole numbers, ours in real ones.
                if text "format" case = "JPEG" then
                    Expect.isLessThanOrEqual most 2.0 "the largest distance"
                    Expect.isLessThan usual 0.2 "the mean distance"
                else
                    Expect.equal most 0.0 "exactly")

        testCase "PGM and PPM are read, with comments in their headers" (fun () ->
            let grey =
                Expect.wantOk (read "a.pgm" (pgm "P5\n# by hand\n3 2 # wide\n255\n" [| 0uy .. 5uy |])) "grey"
            Expect.equal (grey.Width, grey.Height, grey.Channels) (3, 2, 1) "size"
            Expect.equal grey.Pixels [| 0uy .. 5uy |] "pixels"
            let colour = Expect.wantOk (read "a.ppm" (pgm "P6 1 2 255 " [| 10uy .. 15uy |])) "colour"
            Expect.equal (colour.Width, colour.Height, colour.Channels) (1, 2, 3) "size"
            Expect.equal (Raster.toPlanes colour) [| 10uy; 13uy; 11uy; 14uy; 12uy; 15uy |] "planes")

        testTheory
            "files that cannot be read are told apart"
            [
                "0.pgm", pgm "P5 3 2 255 " [| 0uy .. 4uy |], [ "6"; "5" ]
                "1.pgm", pgm "P5 3 2 255 " [| 0uy .. 6uy |], [ "6"; "7" ]
                "2.pgm", pgm "P5 3 2 65535 " [| 0uy .. 11uy |], [ "65535"; "255" ]
                "3.pgm", pgm "P5 3 -2 255 " [||], [ "header" ]
                "a.ppm", pgm "P6 100000 2 255 " [||], [ "100000x2" ]
                "b.ppm", pgm "P3 1 1 255 0 0 0" [||], [ "text PPM"; "PNG" ]
                "a.gif", "GIF89a......"B, [ "GIF"; "PNG" ]
                "a.webp", "RIFF1234WEBP"B, [ "WebP"; "PNG" ]
                "a.bmp", "BM1234567890"B, [ "BMP" ]
                "a.tif", "II*\000abcd"B, [ "TIFF" ]
                "a.txt", "hello"B, [ "TXT"; "PNG" ]
                "a.png", "hello"B, [ "no PNG" ]
                "a", "hello"B, [ "no image" ]
                "b.png", [||], [ "no PNG" ]
            ]
            (fun (name, bytes, parts) -> refuses name bytes parts (sprintf "%s %A" name parts))

        testCase "a progressive JPEG is named as one" (fun () ->
            refuses
                "a.jpg"
                (golden.Value.GetProperty("progressive").GetBytesFromBase64())
                [ "progressive"; "baseline" ]
                "JPEG")

        testCase "a PNG that was cut short anywhere, or that has one byte changed, is damaged" (fun () ->
            let bytes = fileOf "PNG" "colour"

            for length in 8 .. bytes.Length - 1 do
                refuses "a.png" bytes[.. length - 1] [ "cut short" ] (sprintf "%d bytes" length)

            for at in 8 .. bytes.Length - 1 do
                refuses "a.png" (changed at (bytes[at] ^^^ 4uy) bytes) [] (sprintf "byte %d" at))

        testCase "a PNG of more bits, or interlaced, is told to be saved otherwise" (fun () ->
            // A header as it would stand there, with the checksum that it needs.
            let checksum (bytes: byte[]) =
                let mutable c = 0xFFFFFFFFu

                for b in bytes do
                    c <- c ^^^ uint32 b

                    for _ in 1..8 do
                        c <- if c &&& 1u = 1u then (c >>> 1) ^^^ 0xEDB88320u else c >>> 1

                Array.rev (BitConverter.GetBytes(c ^^^ 0xFFFFFFFFu))

            let chunk (name: string) (content: byte[]) =
                let body = Array.append (Encoding.ASCII.GetBytes name) content
                Array.concat [ Array.rev (BitConverter.GetBytes content.Length); body; checksum body ]

            let file depth interlaced =
                Array.concat [
                    [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]
                    chunk "IHDR" [|
                        0uy
                        0uy
                        0uy
                        2uy
                        0uy
                        0uy
                        0uy
                        2uy
                        depth
                        2uy
                        0uy
                        0uy
                        interlaced
                    |]
                    chunk "IEND" [||]
                ]

            refuses "a.png" (file 16uy 0uy) [ "16 bits" ] "16 bits"
            refuses "a.png" (file 8uy 1uy) [ "interlaced" ] "interlaced"
            refuses "a.png" (file 8uy 0uy) [ "cut short" ] "no pixels")

        testCase "a JPEG that was cut short anywhere is damaged" (fun () ->
            let bytes = fileOf "JPEG" "halved both ways"

            for length in 2 .. bytes.Length - 1 do
                Expect.isError (read "a.jpg" bytes[.. length - 1]) (sprintf "%d bytes" length))

        testPropertyN
            300
            "no byte of an image file makes its reader raise"
            (fun (at: int) (value: byte) (kind: bool) ->
                let bytes = if kind then fileOf "JPEG" "halved across" else fileOf "PNG" "palette of 4 bits"
                let at = int (abs (int64 at) % int64 bytes.Length)

                match read "a.file" (changed at value bytes) with
                | Ok picture ->
                    Expect.equal
                        picture.Pixels.Length
                        (picture.Width * picture.Height * picture.Channels)
                        "size"
                | Error e -> Expect.isNotWhitespace (Error.message e) "a sentence")

        testCase "pictures are cropped to a square and resized as by PIL" (fun () ->
            for case in list "resized" do
                let picture = {
                    Width = whole "width" case
                    Height = whole "height" case
                    Channels = 3
                    Pixels = bytesOf "pixels" case
                }
                let square = Raster.square (whole "side" case) picture
                Expect.equal (square.Width, square.Height) (whole "side" case, whole "side" case) "size"
                // PIL rounds once more, between rows and columns.
                let most, _ = distances square.Pixels (bytesOf "resized" case)
                Expect.isLessThanOrEqual most 1.0 (sprintf "to %d" square.Width))

        testProperty
            "a picture of one colour stays of that colour"
            (fun (level: byte) (PositiveInt a) (PositiveInt b) ->
                let width, height, side = 1 + a % 9, 1 + b % 9, 1 + (a + b) % 12
                let picture = {
                    Width = width
                    Height = height
                    Channels = 1
                    Pixels = Array.create (width * height) level
                }
                let square = Raster.square side (Raster.toColour picture)
                square.Pixels = Array.create (3 * side * side) level)
    ]
