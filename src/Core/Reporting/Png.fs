namespace AdvContrast.Core

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression

/// Pictures as PNG files (ISO/IEC 15948): eight bits a channel, grey or red, green and blue.
[<RequireQualifiedAccess>]
module Png =

    let private crcs =
        lazy
            (Array.init 256 (fun byte ->
                (uint32 byte, [ 1..8 ])
                ||> List.fold (fun crc _ ->
                    if crc &&& 1u = 1u then (crc >>> 1) ^^^ 0xEDB88320u else crc >>> 1)))

    let private crc (bytes: byte[]) =
        (0xFFFFFFFFu, bytes)
        ||> Array.fold (fun crc byte -> crcs.Value[int (byte ^^^ (uint8 crc))] ^^^ (crc >>> 8))
        |> (~~~)

    let private word (value: uint32) =
        let bytes = Array.zeroCreate<byte> 4
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value)
        bytes

    let private chunk (name: string) (content: byte[]) =
        let body = Array.append (Text.Encoding.ASCII.GetBytes name) content
        Array.concat [ word (uint32 content.Length); body; word (crc body) ]

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
            [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]
            chunk
                "IHDR"
                (Array.concat [ word (uint32 width); word (uint32 height); [| 8uy; colour; 0uy; 0uy; 0uy |] ])
            chunk "IDAT" (compressed (filtered (channels * width) pixels))
            chunk "IEND" [||]
        ]
