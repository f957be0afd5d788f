namespace AdvContrast.Core.Data

open System
open System.Buffers.Binary
open SkiaSharp

/// PNG, JPEG, WebP, BMP and GIF, decoded by SkiaSharp; PNG encoded by it.
[<RequireQualifiedAccess>]
module SkiaCodec =

    // Whether a JPEG file holds its end marker.
    let private hasEnd (bytes: byte[]) =
        let rec marker at =
            let at = if at < bytes.Length then Array.IndexOf(bytes, 0xFFuy, at) else -1

            if at < 0 || at + 1 >= bytes.Length then
                false
            else
                match bytes[at + 1] with
                | 0xD9uy -> true
                | 0xFFuy -> marker (at + 1)
                // Markers without content: a stuffed 0xFF, TEM, RST0 to RST7, the start of the file.
                | code when code <= 1uy || (code >= 0xD0uy && code <= 0xD8uy) -> marker (at + 2)
                | _ when at + 3 >= bytes.Length -> false
                | _ -> marker (at + 2 + (int bytes[at + 2] <<< 8 ||| int bytes[at + 3]))

        marker 0

    // Whether a file that Skia has read without an error is whole all the same: of a progressive JPEG that lacks
    // its later scans Skia makes a blurred image, and of a WebP that lacks its EXIF part one without orientation.
    let private isWhole (codec: SKCodec) (bytes: byte[]) =
        if codec.EncodedFormat = SKEncodedImageFormat.Jpeg then
            hasEnd bytes
        elif codec.EncodedFormat = SKEncodedImageFormat.Webp then
            int64 (BinaryPrimitives.ReadUInt32LittleEndian(ReadOnlySpan(bytes, 4, 4))) + 8L
            <= bytes.LongLength
        else
            true

    // An image is grey if its file has no colour channels; a palette counts as colour. Skia says so itself
    // unless the PNG has an alpha channel; bit 1 of byte 25 of a PNG's header means colour.
    let private isGrey (codec: SKCodec) (bytes: byte[]) =
        codec.Info.ColorType = SKColorType.Gray8
        || (codec.EncodedFormat = SKEncodedImageFormat.Png && bytes[25] &&& 2uy = 0uy)

    // Copies the channels that are kept of each stored pixel (of `step` bytes), and applies EXIF's orientation.
    let private upright (origin: SKEncodedOrigin) width height step channels (stored: byte[]) =
        let mirrored, flipped, transposed =
            match origin with
            | SKEncodedOrigin.TopRight -> true, false, false
            | SKEncodedOrigin.BottomRight -> true, true, false
            | SKEncodedOrigin.BottomLeft -> false, true, false
            | SKEncodedOrigin.LeftTop -> false, false, true
            | SKEncodedOrigin.RightTop -> false, true, true
            | SKEncodedOrigin.RightBottom -> true, true, true
            | SKEncodedOrigin.LeftBottom -> true, false, true
            | _ -> false, false, false

        // Steps in the stored image: along its rows and along its columns.
        let along, down = (if mirrored then -step else step), (if flipped then -width else width) * step
        let start = (if mirrored then width - 1 else 0) + (if flipped then (height - 1) * width else 0)
        let width, height, along, down =
            if transposed then height, width, down, along else width, height, along, down
        let pixels = Array.zeroCreate<byte>(width * height * channels)

        for y in 0 .. height - 1 do
            for x in 0 .. width - 1 do
                let from = start * step + y * down + x * along

                for channel in 0 .. channels - 1 do
                    pixels[(y * width + x) * channels + channel] <- stored[from + channel]

        { Width = width; Height = height; Channels = channels; Pixels = pixels }

    /// Decodes a file of one of these formats; of an animation, the first frame. Alpha is dropped without
    /// blending, 16 bits a channel are cut to the upper 8, colour profiles are ignored (as in PIL's
    /// convert("RGB")), and EXIF's orientation is applied. InvalidDataException, with a sentence, if the file
    /// is damaged.
    let decode (bytes: byte[]) : Raster =
        use data = SKData.CreateCopy bytes
        use codec = SKCodec.Create data
        if isNull codec then Raster.refuse "its header is damaged or was cut short."
        let width, height = codec.Info.Width, codec.Info.Height
        Raster.checkSize width height

        // Unpremultiplied and without a target colour space: the values are those that are stored.
        let kind, step, alpha =
            match codec.Info.ColorType, codec.Info.AlphaType with
            | SKColorType.Gray8, _ -> SKColorType.Gray8, 1, SKAlphaType.Opaque
            | _, SKAlphaType.Opaque -> SKColorType.Rgba8888, 4, SKAlphaType.Opaque
            | _ -> SKColorType.Rgba8888, 4, SKAlphaType.Unpremul

        let stored = Array.zeroCreate<byte>(width * height * step)

        match codec.GetPixels(SKImageInfo(width, height, kind, alpha, null), stored) with
        | SKCodecResult.Success when isWhole codec bytes -> ()
        | SKCodecResult.Success
        | SKCodecResult.IncompleteInput -> Raster.refuse "it was cut short."
        | _ -> Raster.refuse "its pixels are damaged."

        let channels = if isGrey codec bytes then 1 else 3
        upright codec.EncodedOrigin width height step channels stored

    /// Encodes a PNG file of 8 bits a channel, grey or colour; the same image gives the same bytes.
    /// ArgumentException if the number of pixels is not that of width, height and channels.
    let encodePng (picture: Raster) : byte[] =
        let { Width = width; Height = height; Channels = channels; Pixels = pixels } = picture

        if channels <> 1 && channels <> 3 then
            invalidArg (nameof picture) (sprintf "1 or 3 channels were expected, got %d." channels)

        if width < 1 || height < 1 || pixels.Length <> channels * width * height then
            invalidArg
                (nameof picture)
                (sprintf
                    "%d x %d pixels of %d channels were expected, got %d bytes."
                    width
                    height
                    channels
                    pixels.Length)

        let kind, stored =
            if channels = 1 then
                SKColorType.Gray8, pixels
            else
                // Skia has no type of three bytes a pixel; the fourth is not written.
                SKColorType.Rgb888x,
                Array.init (4 * width * height) (fun i ->
                    if i % 4 = 3 then 255uy else pixels[i / 4 * 3 + i % 4])

        use image =
            SKImage.FromPixelCopy(
                SKImageInfo(width, height, kind, SKAlphaType.Opaque),
                ReadOnlySpan<byte> stored
            )

        use view = image.PeekPixels()
        // The differences of rows: images with enlarged pixels compress best so.
        use file = view.Encode(SKPngEncoderOptions(SKPngEncoderFilterFlags.Up, 9))
        file.ToArray()
