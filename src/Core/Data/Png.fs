namespace AdvContrast.Core

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open System.Text

/// PNG images (ISO/IEC 15948) that are not interlaced: grey or palette of 1 to 8 bits, and 8 bits a channel
/// of colour; what is transparent is read as if it were not.
[<RequireQualifiedAccess>]
module Png =

    let private signature = [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]

    /// Whether a file begins as PNG files do.
    let isPng (bytes: byte[]) = bytes.Length >= 8 && bytes[..7] = signature

    let private checksums =
        Array.init 256 (fun n ->
            (uint32 n, seq { 1..8 })
            ||> Seq.fold (fun c _ -> if c &&& 1u = 1u then 0xEDB88320u ^^^ (c >>> 1) else c >>> 1))

    // The checksum of a chunk's type and content.
    let private checksum (bytes: byte[]) from count =
        let mutable c = 0xFFFFFFFFu

        for i in from .. from + count - 1 do
            c <- checksums[int ((c ^^^ uint32 bytes[i]) &&& 0xFFu)] ^^^ (c >>> 8)

        c ^^^ 0xFFFFFFFFu

    let private number (bytes: byte[]) at = BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan(bytes, at, 4))

    // The chunks up to the last: type, and where the content stands.
    let private chunks (bytes: byte[]) =
        let rec walk at found =
            if bytes.Length - at < 12 then Raster.refuse "it was cut short."
            let length = number bytes at
            if int64 length > int64 (bytes.Length - at - 12) then Raster.refuse "it was cut short."
            let length = int length
            let name = Encoding.Latin1.GetString(bytes, at + 4, 4)

            if checksum bytes (at + 4) (length + 4) <> number bytes (at + 8 + length) then
                Raster.refuse (sprintf "the checksum of its part %s does not fit." name)

            let found = (name, at + 8, length) :: found
            if name = "IEND" then List.rev found else walk (at + 12 + length) found

        walk 8 []

    // Undoes a row's filter in place (the standard's section 9); the row before is all 0 above the first.
    let private unfilter (rows: byte[]) stride step row =
        let start = row * (stride + 1) + 1
        let left i = if i < step then 0 else int rows[start + i - step]
        let up i = if row = 0 then 0 else int rows[start + i - stride - 1]
        let corner i = if row = 0 || i < step then 0 else int rows[start + i - stride - 1 - step]

        let paeth i =
            let a, b, c = left i, up i, corner i
            let toA, toB, toC = abs (b - c), abs (a - c), abs (a + b - 2 * c)
            if toA <= toB && toA <= toC then a
            elif toB <= toC then b
            else c

        let predict =
            match rows[start - 1] with
            | 0uy -> fun _ -> 0
            | 1uy -> left
            | 2uy -> up
            | 3uy -> fun i -> (left i + up i) / 2
            | 4uy -> paeth
            | other -> Raster.refuse (sprintf "row %d is filtered by a rule %d that there is not." row other)

        for i in 0 .. stride - 1 do
            rows[start + i] <- rows[start + i] + byte (predict i)

    // Exactly so many bytes of compressed content.
    let private inflate (bytes: byte[]) parts expected =
        use packed = new MemoryStream()

        for _, at, length in parts do
            packed.Write(bytes, at, length)

        packed.Position <- 0L
        use plain = new ZLibStream(packed, CompressionMode.Decompress)
        let rows = Array.zeroCreate<byte> expected
        if plain.ReadAtLeast(rows, expected, false) < expected then
            Raster.refuse "its pixels were cut short."
        if plain.ReadByte() >= 0 then Raster.refuse "it holds more pixels than its size."
        rows

    /// Decodes a file. InvalidDataException, with a sentence, where it is damaged or of a kind that is not
    /// read.
    let decode (bytes: byte[]) : Raster =
        let chunks = chunks bytes

        match chunks with
        | ("IHDR", at, 13) :: rest ->
            let width, height = int (number bytes at), int (number bytes (at + 4))
            Raster.checkSize width height
            let depth, kind = int bytes[at + 8], bytes[at + 9]

            let samples =
                match kind, depth with
                | 0uy, (1 | 2 | 4 | 8)
                | 3uy, (1 | 2 | 4 | 8) -> 1
                | 4uy, 8 -> 2
                | 2uy, 8 -> 3
                | 6uy, 8 -> 4
                | _, 16 -> Raster.refuse "it has 16 bits a channel; save it with 8."
                | _ -> Raster.refuse (sprintf "it is of a kind (%d, %d bits) that there is not." kind depth)

            if bytes[at + 12] <> 0uy then
                Raster.refuse "it is interlaced, which is not read; save it without."

            let stride = (width * samples * depth + 7) / 8
            let data = rest |> List.filter (fun (name, _, _) -> name = "IDAT")
            let rows = inflate bytes data (height * (stride + 1))

            for row in 0 .. height - 1 do
                unfilter rows stride (max 1 (samples * depth / 8)) row

            // One sample, of a pixel's some or of less than a byte.
            let sample row column place =
                let start = row * (stride + 1) + 1

                if depth = 8 then
                    int rows[start + column * samples + place]
                else
                    let bit = column * depth
                    (int rows[start + bit / 8] >>> (8 - depth - bit % 8)) &&& ((1 <<< depth) - 1)

            let paint channels pick = {
                Width = width
                Height = height
                Channels = channels
                Pixels =
                    Array.init (width * height * channels) (fun i ->
                        let pixel = i / channels
                        pick (pixel / width) (pixel % width) (i % channels))
            }

            match kind with
            | 3uy ->
                match rest |> List.tryFind (fun (name, _, _) -> name = "PLTE") with
                | Some(_, palette, length) ->
                    paint 3 (fun row column channel ->
                        let entry = 3 * sample row column 0

                        if entry + 2 >= length then
                            Raster.refuse (
                                sprintf "a pixel has colour %d, which its palette lacks." (entry / 3)
                            )

                        bytes[palette + entry + channel])
                | None -> Raster.refuse "its palette is missing."
            | 0uy ->
                let full = (1 <<< depth) - 1
                paint 1 (fun row column _ -> byte (sample row column 0 * 255 / full))
            | 4uy -> paint 1 (fun row column _ -> byte (sample row column 0))
            | _ -> paint 3 (fun row column channel -> byte (sample row column channel))
        | _ -> Raster.refuse "it does not begin with its size."

    let private word (value: uint32) =
        let bytes = Array.zeroCreate<byte> 4
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value)
        bytes

    let private chunk (name: string) (content: byte[]) =
        let body = Array.append (Encoding.Latin1.GetBytes name) content
        Array.concat [ word (uint32 content.Length); body; word (checksum body 0 body.Length) ]

    // Each row less the one above it: pictures with large pixels become mostly noughts.
    let private filtered stride (pixels: byte[]) =
        pixels
        |> Array.chunkBySize stride
        |> fun rows -> Array.append [| Array.zeroCreate stride |] rows
        |> Array.pairwise
        |> Array.collect (fun (above, row) -> Array.append [| 2uy |] (Array.map2 (-) row above))

    let private compressed (bytes: byte[]) =
        use packed = new MemoryStream()

        do
            use zlib = new ZLibStream(packed, CompressionLevel.SmallestSize)
            zlib.Write(bytes, 0, bytes.Length)

        packed.ToArray()

    /// The file's bytes. pixels: row by row from the top, each pixel's channels together, 1 or 3 of them.
    /// ArgumentException where there are not as many as width, height and channels say.
    let encode channels width height (pixels: byte[]) : byte[] =
        if channels <> 1 && channels <> 3 then
            invalidArg (nameof channels) (sprintf "1 or 3 were expected, got %d." channels)

        if width < 1 || height < 1 || pixels.Length <> channels * width * height then
            invalidArg
                (nameof pixels)
                (sprintf
                    "%d x %d pixels of %d channels were expected, got %d bytes."
                    width
                    height
                    channels
                    pixels.Length)

        let colour = if channels = 1 then 0uy else 2uy

        Array.concat [
            signature
            chunk
                "IHDR"
                (Array.concat [ word (uint32 width); word (uint32 height); [| 8uy; colour; 0uy; 0uy; 0uy |] ])
            chunk "IDAT" (compressed (filtered (channels * width) pixels))
            chunk "IEND" [||]
        ]
