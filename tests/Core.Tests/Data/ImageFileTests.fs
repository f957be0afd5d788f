/// Image files: decoded as by PIL, and refused if they are damaged.
module Tests.Data.ImageFileTests

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open System.Text
open System.Text.Json
open Expecto
open FsCheck
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Methods
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support

let private golden =
    lazy
        (let path = Path.Combine(AppContext.BaseDirectory, "Golden", "pictures.json")
         JsonDocument.Parse(File.ReadAllText path).RootElement.Clone())

let private list (key: string) = List.ofSeq (golden.Value.GetProperty(key).EnumerateArray())
let private bytesOf (key: string) (case: JsonElement) = (case.GetProperty key).GetBytesFromBase64()
let private whole (key: string) (case: JsonElement) = case.GetProperty(key).GetInt32()
let private text (key: string) (case: JsonElement) = case.GetProperty(key).GetString()
let private named (case: JsonElement) = sprintf "%s, %s" (text "format" case) (text "name" case)

let private expected (case: JsonElement) = {
    Width = whole "width" case
    Height = whole "height" case
    Channels = whole "channels" case
    Pixels = bytesOf "pixels" case
}

let private fileOf format name =
    list "cases"
    |> List.find (fun case -> text "format" case = format && text "name" case = name)
    |> bytesOf "file"

let private same (expected: Raster) (picture: Raster) message =
    Expect.equal
        (picture.Width, picture.Height, picture.Channels)
        (expected.Width, expected.Height, expected.Channels)
        (message + ": size")

    Expect.equal picture.Pixels expected.Pixels (message + ": pixels")

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

// The decoded image, or None if the decoder refuses the file.
let private decoded bytes =
    try
        Some(SkiaCodec.decode bytes)
    with :? InvalidDataException ->
        None

let private changed at value (bytes: byte[]) =
    let copy = Array.copy bytes
    copy[at] <- value
    copy

let private pgm (header: string) (pixels: byte[]) = Array.append (Encoding.ASCII.GetBytes header) pixels

// --- a PNG encoder for every kind of PNG (ISO/IEC 15948)

let private big (value: int) =
    let bytes = Array.zeroCreate<byte> 4
    BinaryPrimitives.WriteInt32BigEndian(bytes, value)
    bytes

let private crc (bytes: byte[]) =
    let mutable rest = 0xFFFFFFFFu

    for b in bytes do
        rest <- rest ^^^ uint32 b

        for _ in 1..8 do
            rest <- if rest &&& 1u = 1u then (rest >>> 1) ^^^ 0xEDB88320u else rest >>> 1

    int ~~~rest

let private chunk (name: string) (content: byte[]) =
    let body = Array.append (Encoding.ASCII.GetBytes name) content
    Array.concat [ big content.Length; body; big (crc body) ]

let private header width height depth kind interlaced =
    Array.concat [
        [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]
        chunk
            "IHDR"
            (Array.concat [ big width; big height; [| byte depth; byte kind; 0uy; 0uy; byte interlaced |] ])
    ]

let private deflated (bytes: byte[]) =
    use packed = new MemoryStream()

    do
        use zlib = new ZLibStream(packed, CompressionLevel.Fastest)
        zlib.Write(bytes, 0, bytes.Length)

    packed.ToArray()

// Samples of some bits each as a scan line without a filter; a pixel's most significant bit first.
let private scanLine depth (samples: int list) =
    let bits =
        samples |> List.collect (fun sample -> [ for bit in depth - 1 .. -1 .. 0 -> sample >>> bit &&& 1 ])

    [|
        0uy
        for eight in List.chunkBySize 8 bits do
            byte (
                List.fold (fun value bit -> 2 * value + bit) 0 (eight @ List.replicate (8 - eight.Length) 0)
            )
    |]

// The first column and row of each pass, and the steps to the next ones.
let private passes interlaced =
    if interlaced then
        [ 0, 0, 8, 8; 4, 0, 8, 8; 0, 4, 4, 8; 2, 0, 4, 4; 0, 2, 2, 4; 1, 0, 2, 2; 0, 1, 1, 2 ]
    else
        [ 0, 0, 1, 1 ]

// sample x y: the samples of a pixel.
let private png width height depth kind interlaced extra (sample: int -> int -> int list) =
    let lines = [
        for left, top, across, down in passes interlaced do
            for y in top..down .. height - 1 do
                match [ left..across .. width - 1 ] with
                | [] -> ()
                | columns -> scanLine depth (columns |> List.collect (fun x -> sample x y))
    ]

    Array.concat [
        header width height depth kind (if interlaced then 1 else 0)
        extra
        chunk "IDAT" (deflated (Array.concat lines))
        chunk "IEND" [||]
    ]

// The kinds of PNG: colour type and bits.
let private kinds = [
    for depth in [ 1; 2; 4; 8; 16 ] do
        0, depth
    for depth in [ 1; 2; 4; 8 ] do
        3, depth
    for kind in [ 2; 4; 6 ] do
        kind, 8
        kind, 16
]

// A PNG of random samples and the image that it stands for.
let private random seed kind depth interlaced : byte[] * Raster =
    let source = Source seed
    let width, height = source.Whole(1, 20), source.Whole(1, 20)
    let samples = Map [ 0, 1; 2, 3; 3, 1; 4, 2; 6, 4 ]
    let most = (1 <<< depth) - 1
    let pixels =
        Array2D.init width height (fun _ _ -> List.init samples[kind] (fun _ -> source.Whole(0, most)))
    let palette =
        Array.init (3 * (most + 1) * (if kind = 3 then 1 else 0)) (fun _ -> byte (source.Whole(0, 255)))
    // Palettes may have entries that are transparent: their colours count.
    let extra =
        if kind = 3 then Array.append (chunk "PLTE" palette) (chunk "tRNS" [| 0uy; 128uy |]) else [||]

    let level value =
        match depth with
        | 16 -> byte (value >>> 8)
        | 8 -> byte value
        | _ -> byte (value * 255 / most)

    let channels = if kind = 0 || kind = 4 then 1 else 3

    let colour (pixel: int list) =
        if kind = 3 then
            palette[3 * pixel.Head .. 3 * pixel.Head + 2]
        else
            pixel |> List.take channels |> List.map level |> Array.ofList

    png width height depth kind interlaced extra (fun x y -> pixels[x, y]),
    {
        Width = width
        Height = height
        Channels = channels
        Pixels =
            Array.concat [
                for y in 0 .. height - 1 do
                    for x in 0 .. width - 1 -> colour pixels[x, y]
            ]
    }

// --- EXIF

// A JPEG with this orientation (TIFF 6.0's tag 0x0112) in an EXIF segment.
let private oriented (orientation: int) (jpeg: byte[]) =
    let tiff = [|
        yield! "Exif"B
        0uy
        0uy
        yield! "MM"B
        yield! [| 0uy; 42uy; 0uy; 0uy; 0uy; 8uy; 0uy; 1uy |]
        yield! [| 1uy; 0x12uy; 0uy; 3uy; 0uy; 0uy; 0uy; 1uy; 0uy; byte orientation; 0uy; 0uy |]
        yield! [| 0uy; 0uy; 0uy; 0uy |]
    |]

    Array.concat [ jpeg[..1]; [| 0xFFuy; 0xE1uy; 0uy; byte (tiff.Length + 2) |]; tiff; jpeg[2..] ]

// The sides of the upright image at which the stored row 0 and the stored column 0 lie, as EXIF defines them.
let private sides = [
    1, "top", "left"
    2, "top", "right"
    3, "bottom", "right"
    4, "bottom", "left"
    5, "left", "top"
    6, "right", "top"
    7, "right", "bottom"
    8, "left", "bottom"
]

let private upright row column (stored: Raster) : Raster =
    let transposed = row = "left" || row = "right"
    let width, height = if transposed then stored.Height, stored.Width else stored.Width, stored.Height
    let pixels = Array.zeroCreate stored.Pixels.Length

    for y in 0 .. stored.Height - 1 do
        for x in 0 .. stored.Width - 1 do
            // The distance from a side is the stored index.
            let place side index =
                match side with
                | "top" -> 0, index
                | "bottom" -> 0, height - 1 - index
                | "left" -> index, 0
                | _ -> width - 1 - index, 0

            let (a, b), (c, d) = place row y, place column x

            for channel in 0 .. stored.Channels - 1 do
                pixels[((b + d) * width + a + c) * stored.Channels + channel] <-
                    stored.Pixels[(y * stored.Width + x) * stored.Channels + channel]

    { stored with Width = width; Height = height; Pixels = pixels }

[<Tests>]
let tests =
    testList "Data.ImageFile" [
        for case in list "cases" do
            testCase (named case + ": decoded as by PIL") (fun () ->
                let picture = Expect.wantOk (read "a.file" (bytesOf "file" case)) "readable"
                same (expected case) picture "exactly")

        for kind, depth in kinds do
            testPropertyN
                10
                (sprintf "a PNG of colour type %d and %d bits, interlaced or not" kind depth)
                (fun (seed: int) (interlaced: bool) ->
                    let file, picture = random seed kind depth interlaced
                    same picture (SkiaCodec.decode file) "as encoded")

        testProperty
            "an encoded image is decoded to the same pixels, and encoded to the same bytes again"
            (fun (seed: int) (PositiveInt width) (PositiveInt height) (colour: bool) ->
                let width, height, channels = 1 + width % 40, 1 + height % 40, (if colour then 3 else 1)
                let pixels = Array.zeroCreate (channels * width * height)
                Random(seed).NextBytes pixels
                let picture = { Width = width; Height = height; Channels = channels; Pixels = pixels }
                let file = SkiaCodec.encodePng picture
                same picture (SkiaCodec.decode file) "decoded"
                Expect.equal (SkiaCodec.encodePng picture) file "the same bytes")

        testCase "large pixels make small files" (fun () ->
            let enlarged =
                Array.init (400 * 400) (fun i -> byte ((i / 400 / 8 * 7 + i % 400 / 8 * 13) % 256))
            let file = SkiaCodec.encodePng { Width = 400; Height = 400; Channels = 1; Pixels = enlarged }
            Expect.isLessThan file.Length 3_000 "bytes")

        testCase "another number of bytes or channels is not encoded" (fun () ->
            let encode channels width height () =
                SkiaCodec.encodePng {
                    Width = width
                    Height = height
                    Channels = channels
                    Pixels = Array.zeroCreate 12
                }
                |> ignore

            encode 3 2 2 ()
            Laws.refuses [ "picture"; "3 x 2"; "12 bytes" ] (encode 1 3 2) "too many"
            Laws.refuses [ "picture" ] (encode 1 0 0) "none"
            Laws.refuses [ "channels"; "4" ] (encode 4 3 1) "channels")

        for orientation, row, column in sides do
            testCase
                (sprintf "EXIF orientation %d: row 0 at the %s, column 0 at the %s" orientation row column)
                (fun () ->
                    for name in [ "grey"; "full colour" ] do
                        let jpeg = fileOf "JPEG" name
                        let picture = SkiaCodec.decode (oriented orientation jpeg)
                        same (upright row column (SkiaCodec.decode jpeg)) picture name)

        testCase "the format is recognised by the content, not by the name" (fun () ->
            for format, name in [ "PNG", "colour"; "JPEG", "full colour"; "WebP", "lossless" ] do
                for ending in [ "JPEG"; "png"; "bmp"; "txt" ] do
                    let bytes = fileOf format name
                    let picture = Expect.wantOk (read ("a." + ending) bytes) (format + " as " + ending)
                    same (SkiaCodec.decode bytes) picture format)

        testCase "PGM and PPM are read, with comments in their headers" (fun () ->
            let grey =
                Expect.wantOk (read "a.pgm" (pgm "P5\n# by hand\n3 2 # wide\n255\n" [| 0uy .. 5uy |])) "grey"
            Expect.equal (grey.Width, grey.Height, grey.Channels) (3, 2, 1) "size"
            Expect.equal grey.Pixels [| 0uy .. 5uy |] "pixels"
            let colour = Expect.wantOk (read "a.ppm" (pgm "P6 1 2 255 " [| 10uy .. 15uy |])) "colour"
            Expect.equal (colour.Width, colour.Height, colour.Channels) (1, 2, 3) "size"
            Expect.equal (Raster.toPlanes colour) [| 10uy; 13uy; 11uy; 14uy; 12uy; 15uy |] "planes")

        testTheory
            "files that cannot be read are refused with the reason"
            [
                "0.pgm", pgm "P5 3 2 255 " [| 0uy .. 4uy |], [ "6"; "5" ]
                "1.pgm", pgm "P5 3 2 255 " [| 0uy .. 6uy |], [ "6"; "7" ]
                "2.pgm", pgm "P5 3 2 65535 " [| 0uy .. 11uy |], [ "65535"; "255" ]
                "3.pgm", pgm "P5 3 -2 255 " [||], [ "header" ]
                "a.ppm", pgm "P6 100000 2 255 " [||], [ "100000x2" ]
                "b.ppm", pgm "P3 1 1 255 0 0 0" [||], [ "text PPM"; "PNG" ]
                "a.gif", "GIF89a......"B, [ "header"; "cut short" ]
                "a.webp", "RIFF1234WEBP"B, [ "header"; "cut short" ]
                "a.wav", "RIFF1234WAVE"B, [ "not an image"; "PNG" ]
                "a.bmp", "BM1234567890"B, [ "header"; "cut short" ]
                "a.tif", "II*\000abcd"B, [ "TIFF"; "PNG" ]
                "a.avif", "\000\000\000\032ftypavif"B, [ "AVIF"; "PNG" ]
                "a.txt", "hello"B, [ "not an image"; "PNG" ]
                "a.png", "hello"B, [ "not an image" ]
                "b.png", [||], [ "not an image" ]
                "c.png",
                Array.append (header 100000 20 8 2 0) (chunk "IDAT" (deflated [| 0uy |])),
                [ "100000x20"; "16384" ]
                "d.png", Array.append (header 2 2 8 2 0) (chunk "IEND" [||]), [ "damaged" ]
                "e.png", png 2 2 8 3 false [||] (fun _ _ -> [ 0 ]), [ "damaged" ]
            ]
            (fun (name, bytes, parts) -> refuses name bytes parts (sprintf "%s %A" name parts))

        testCase "a file that is cut short anywhere is refused, or holds the same pixels" (fun () ->
            for case in list "cases" do
                let bytes = bytesOf "file" case
                // PNG and GIF end with parts that hold no pixels.
                let needed = text "format" case <> "PNG" && text "format" case <> "GIF"

                for length in 0 .. bytes.Length - 1 do
                    match decoded bytes[.. length - 1] with
                    | None -> ()
                    | Some _ when needed -> failtestf "%s of %d bytes was read" (named case) length
                    | Some picture ->
                        same (expected case) picture (sprintf "%s, %d bytes" (named case) length))

        testCase "transparent pixels of a GIF are black, the others keep their colours" (fun () ->
            let gif = fileOf "GIF" "palette"
            let palette = 13
            let image = palette + 3 * (2 <<< int (gif[10] &&& 7uy))
            Expect.equal gif[image] 0x2Cuy "the image descriptor follows the palette"
            let transparent = 3
            let control = [| 0x21uy; 0xF9uy; 4uy; 1uy; 0uy; 0uy; byte transparent; 0uy |]
            let picture = SkiaCodec.decode (Array.concat [ gif[.. image - 1]; control; gif[image..] ])
            let colour = gif[palette + 3 * transparent ..][..2]
            let stored = Array.chunkBySize 3 (SkiaCodec.decode gif).Pixels
            Expect.contains stored colour "the colour is used"

            let expected =
                stored |> Array.collect (fun pixel -> if pixel = colour then Array.zeroCreate 3 else pixel)

            Expect.equal picture.Pixels expected "pixels")

        testCase "a JPEG ends at its end marker, not at that of a thumbnail" (fun () ->
            let thumbnail, jpeg = fileOf "JPEG" "progressive and grey", fileOf "JPEG" "progressive"
            let whole = SkiaCodec.decode jpeg
            let length = thumbnail.Length + 2
            // In an application segment behind the start marker.
            let segment = Array.append [| 0xFFuy; 0xE5uy; byte (length >>> 8); byte length |] thumbnail
            let bytes = Array.concat [ jpeg[..1]; segment; jpeg[2..] ]
            same whole (SkiaCodec.decode bytes) "with a thumbnail"

            for length in 0 .. bytes.Length - 1 do
                Expect.isNone (decoded bytes[.. length - 1]) (sprintf "%d bytes" length)

            let filled = Array.concat [ jpeg[.. jpeg.Length - 3]; [| 0xFFuy |]; jpeg[jpeg.Length - 2 ..] ]
            same whole (SkiaCodec.decode filled) "a fill byte before the end marker"
            same whole (SkiaCodec.decode (Array.append jpeg "behind the end"B)) "bytes behind the end")

        testCase "a PNG with one byte changed is refused, or holds the same pixels" (fun () ->
            for name in [ "colour"; "grey"; "palette of 4 bits" ] do
                let bytes = fileOf "PNG" name
                let whole = SkiaCodec.decode bytes

                for at in 0 .. bytes.Length - 1 do
                    decoded (changed at (bytes[at] ^^^ 4uy) bytes)
                    |> Option.iter (fun picture -> same whole picture (sprintf "%s, byte %d" name at)))

        testPropertyN
            300
            "no byte of an image file makes its reader raise anything else"
            (fun (at: int) (value: byte) (NonNegativeInt which) ->
                let cases = list "cases"
                let bytes = bytesOf "file" cases[which % cases.Length]
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
                (square.Pixels, bytesOf "resized" case)
                ||> Array.iteri2 (fun i a b ->
                    Expect.isLessThanOrEqual
                        (abs (int a - int b))
                        1
                        (sprintf "to %d: byte %d" square.Width i)))

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
