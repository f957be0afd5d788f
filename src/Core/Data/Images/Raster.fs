namespace AdvContrast.Core.Data

open System
open System.IO

/// A decoded image: 8 bits a channel.
[<NoComparison>]
type Raster = {
    Width: int
    Height: int
    /// 1 (grey) or 3 (red, green, blue).
    Channels: int
    /// Row by row from the top, the channels of a pixel side by side: [h; w; c].
    Pixels: byte[]
}

[<RequireQualifiedAccess>]
module Raster =

    /// The largest side that is read, in pixels: a header with a larger one is taken for damaged.
    let largest = 16384

    // Decoders raise this for a damaged file; DataFile.guarded turns it into an error with the file's path.
    let internal refuse text = raise (InvalidDataException text)

    // Checks the size in a header before memory is allocated for it.
    let internal checkSize width height =
        if width < 1 || height < 1 || width > largest || height > largest then
            refuse (sprintf "its header says %dx%d pixels; the sides may be 1 to %d." width height largest)

    /// Three channels: those of a grey image are three equal ones.
    let toColour picture =
        if picture.Channels = 3 then
            picture
        else
            {
                picture with
                    Channels = 3
                    Pixels = Array.init (3 * picture.Pixels.Length) (fun i -> picture.Pixels[i / 3])
            }

    /// The pixels in the layout of tensors, [c; h; w].
    let toPlanes picture =
        let size, channels = picture.Width * picture.Height, picture.Channels
        let planes = Array.zeroCreate<byte> picture.Pixels.Length

        for channel in 0 .. channels - 1 do
            for i in 0 .. size - 1 do
                planes[channel * size + i] <- picture.Pixels[i * channels + channel]

        planes

    // For each new pixel along a side, the first old pixel that counts and the weights from there on: a triangle
    // about the new pixel's centre, as wide on each side as one pixel of the coarser grid.
    let private weights before after =
        let scale = float before / float after
        let reach = max 1.0 scale

        Array.init after (fun i ->
            let centre = (float i + 0.5) * scale
            let first = max 0 (int (centre - reach + 0.5))
            let last = min before (int (centre + reach + 0.5)) - 1
            let heights =
                Array.init (last - first + 1) (fun k ->
                    max 0.0 (1.0 - abs ((float (first + k) + 0.5 - centre) / reach)))
            let sum = Array.sum heights
            first, heights |> Array.map (fun height -> height / sum))

    // Resizes the middle axis of [outer; before; inner] to `after`; value o k i reads the array.
    let inline private resize
        outer
        before
        after
        inner
        ([<InlineIfLambda>] value: int -> int -> int -> float)
        =
        let weights = weights before after
        let resized = Array.zeroCreate<float>(outer * after * inner)

        for o in 0 .. outer - 1 do
            for j in 0 .. after - 1 do
                let first, shares = weights[j]

                for i in 0 .. inner - 1 do
                    let mutable sum = 0.0

                    for k in 0 .. shares.Length - 1 do
                        sum <- sum + shares[k] * value o (first + k) i

                    resized[(o * after + j) * inner + i] <- sum

        resized

    /// The centre square, resized to side x side: bilinear with antialiasing (a triangle filter), as PIL's
    /// resize(..., BILINEAR).
    let square side picture =
        let edge, channels = min picture.Width picture.Height, picture.Channels
        let left, top = (picture.Width - edge) / 2, (picture.Height - edge) / 2

        let rows =
            resize edge edge side channels (fun row column channel ->
                float picture.Pixels[((top + row) * picture.Width + left + column) * channels + channel])

        let length = side * channels
        let resized = resize 1 edge side length (fun _ row i -> rows[row * length + i])

        {
            Width = side
            Height = side
            Channels = channels
            Pixels = resized |> Array.map (fun level -> byte (Math.Clamp(level + 0.5, 0.0, 255.0)))
        }
