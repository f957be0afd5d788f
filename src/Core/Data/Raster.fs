namespace AdvContrast.Core

open System
open System.IO

/// A decoded image file.
[<NoComparison>]
type Raster = {
    Width: int
    Height: int
    /// 1, grey, or 3: red, green, blue.
    Channels: int
    /// Row by row, the channels of a pixel side by side.
    Pixels: byte[]
}

[<RequireQualifiedAccess>]
module Raster =

    /// The largest side that is read: a header that promises more is taken for a damaged one.
    let largest = 16384

    // Decoders raise this where a file is not what it should be.
    let internal refuse text = raise (InvalidDataException text)

    // Sizes from a header, in their bounds.
    let internal checkSize width height =
        if width < 1 || height < 1 || width > largest || height > largest then
            refuse (sprintf "its size is given as %dx%d; 1 to %d a side are read." width height largest)

    /// Three channels; grey becomes three equal ones.
    let toColour picture =
        if picture.Channels = 3 then
            picture
        else
            {
                picture with
                    Channels = 3
                    Pixels = Array.init (3 * picture.Pixels.Length) (fun i -> picture.Pixels[i / 3])
            }

    /// The pixels channel after channel, as tensors have them: [c; h; w].
    let toPlanes picture =
        let size = picture.Width * picture.Height

        Array.init picture.Pixels.Length (fun i -> picture.Pixels[i % size * picture.Channels + i / size])

    // What each new pixel takes of the old ones along a side: a triangle about its centre that is as wide as
    // one pixel of the coarser grid on each side.
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

    /// The square in the middle, resized to a side: bilinear, and averaged where it shrinks (a triangle
    /// filter, as PIL's resize has it).
    let square side picture =
        let edge = min picture.Width picture.Height
        let left, top = (picture.Width - edge) / 2, (picture.Height - edge) / 2
        let channels = picture.Channels
        let weights = weights edge side

        let at row column channel =
            float picture.Pixels[((top + row) * picture.Width + left + column) * channels + channel]

        // Along rows first: [edge; side; channels].
        let narrowed = Array.zeroCreate<float>(edge * side * channels)

        for row in 0 .. edge - 1 do
            for column in 0 .. side - 1 do
                let first, parts = weights[column]

                for channel in 0 .. channels - 1 do
                    let mutable sum = 0.0

                    for k in 0 .. parts.Length - 1 do
                        sum <- sum + parts[k] * at row (first + k) channel

                    narrowed[(row * side + column) * channels + channel] <- sum

        {
            Width = side
            Height = side
            Channels = channels
            Pixels =
                Array.init (side * side * channels) (fun i ->
                    let row, rest = i / (side * channels), i % (side * channels)
                    let first, parts = weights[row]
                    let mutable sum = 0.0

                    for k in 0 .. parts.Length - 1 do
                        sum <- sum + parts[k] * narrowed[(first + k) * side * channels + rest]

                    byte (Math.Clamp(sum + 0.5, 0.0, 255.0)))
        }
