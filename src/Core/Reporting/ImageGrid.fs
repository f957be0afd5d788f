namespace AdvContrast.Core.Reporting

open System
open System.IO
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Evaluation

/// Pictures of adversarial images.
[<RequireQualifiedAccess>]
module ImageGrid =

    let private gap = 4

    // The places of the images shown: first those that were right and were broken, then those that were
    // right, then the others.
    let private chosen count (a: AdversarialExamples) =
        let before, after, labels =
            Scope.value (fun () ->
                let read (x: Tensor) = x.data<int64>().ToArray()
                read a.Before, read a.After, read a.Labels)

        let rank row =
            if before[row] <> labels[row] then 2
            elif after[row] = labels[row] then 1
            else 0

        [| 0 .. labels.Length - 1 |]
        |> Array.sortBy (fun row -> rank row, row)
        |> Array.truncate count
        |> Array.map int64

    // Numbers from low to high as bytes, the nearest; others as the nearer end.
    let private bytes (low: float) (high: float) (x: Tensor) =
        Scope.value (fun () ->
            let share = (x.``to`` torch.float64 - low) / max 1e-12 (high - low)
            let levels = (share * 255.0).round().clamp(0.0.ToScalar(), 255.0.ToScalar())
            levels.``to``(torch.uint8).contiguous().data<byte>().ToArray())

    /// A grid of images as a PNG file's bytes: a row for each of some samples (those that the attack broke
    /// come first), and in it the original, the adversarial image and the change between them. The change is
    /// magnified until the radius (Linf) or the sample's largest change (L2, L1) fills the range; grey is
    /// none.
    /// scale: pixels a pixel, each way. Of images of another number of channels than 1 or 3 the first is
    /// shown. ArgumentException where count or scale is below 1.
    let grid count scale (a: AdversarialExamples) : byte[] =
        Shape.positive (nameof count) (float (count: int))
        Shape.positive (nameof scale) (float (scale: int))
        let rows = chosen count a
        let channels = if a.Original.shape[1] = 3L then 3 else 1
        let h, w = int a.Original.shape[2], int a.Original.shape[3]
        let width, height = 3 * w * scale + 2 * gap, rows.Length * (h * scale + gap) - gap

        // [rows; c; h; w] of each column, as bytes.
        let columns =
            Scope.value (fun () ->
                let pick (x: Tensor) =
                    x.index_select(0L, torch.tensor rows).narrow(1L, 0L, int64 channels).``to`` torch.float64

                let original, adversarial = pick a.Original, pick a.Result.Images
                let change = adversarial - original

                let low, high =
                    match a.Threat.Box with
                    | Some box -> box
                    | None ->
                        let both = torch.stack (ResizeArray [ original; adversarial ], 0L)
                        both.min().item<float>(), both.max().item<float>()

                let most =
                    match a.Threat.Norm with
                    | Linf -> torch.full_like (Projection.length Linf change, a.Threat.Radius.ToScalar())
                    | L2
                    | L1 -> Projection.length Linf change

                let shares = change / Shape.perSample change (most.clamp_min (1e-12.ToScalar()))
                [| bytes low high original; bytes low high adversarial; bytes -1.0 1.0 shares |])

        let pixels = Array.create (width * height * channels) 255uy

        for row in 0 .. rows.Length - 1 do
            for column in 0..2 do
                for y in 0 .. h * scale - 1 do
                    for x in 0 .. w * scale - 1 do
                        for channel in 0 .. channels - 1 do
                            let from = ((row * channels + channel) * h + y / scale) * w + x / scale
                            let top, left = row * (h * scale + gap) + y, column * (w * scale + gap) + x
                            pixels[(top * width + left) * channels + channel] <- columns[column][from]

        SkiaCodec.encodePng { Width = width; Height = height; Channels = channels; Pixels = pixels }

    let private write (path: string) (bytes: byte[]) =
        try
            File.WriteAllBytes(path + ".part", bytes)
            File.Move(path + ".part", path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    /// Writes such a grid of some samples as PNG, each image about as large as a thumb. BadOption where the file's
    /// name has another ending; ArgumentException where count is below 1.
    let save (path: string) count (a: AdversarialExamples) : Result<unit, Error> =
        let longer = int (max a.Original.shape[2] a.Original.shape[3])
        FileName.requireEnding ".png" path
        |> Result.bind (fun () -> grid count (max 1 (112 / max 1 longer)) a |> write path)
