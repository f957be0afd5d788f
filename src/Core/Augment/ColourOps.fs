namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Changes of tone by given magnitudes, one a sample: what the random views and policies are made of. Images
/// are [n; c; h; w] in [0, 1], of 3 channels or 1, and stay so; magnitudes hold n numbers. The operations are
/// those that the policies were found with, of the Python Imaging Library. Where that reckons with bytes,
/// images of bytes give the same bytes; other values are first rounded to 256 levels where that is said, and
/// results are not rounded where it is not.
[<RequireQualifiedAccess>]
module ColourOps =

    let private unitRange (x: Tensor) = x.clamp (0.0.ToScalar(), 1.0.ToScalar())

    // The level, 0 to 255, that is nearest to each pixel.
    let private levels (x: Tensor) = (unitRange x * 255.0).round()

    let private isGrey (x: Tensor) = x.shape[1] = 1L

    // The brightness of each pixel (ITU-R BT.601): [n; 1; h; w].
    let internal luma (x: Tensor) =
        if isGrey x then
            x.alias ()
        else
            let channel (c: int64) = x.narrow (1L, c, 1L)
            channel 0L * 0.299 + channel 1L * 0.587 + channel 2L * 0.114

    // A mixture of the image and something else: factor 1 is the image, 0 the other.
    let private blend (factor: Tensor) (x: Tensor) (other: Tensor) =
        unitRange (x * factor + other * (1.0 - factor))

    /// Multiplies each image by its factor: a mixture with black. Factors: 0 or more, 1 changes nothing; what
    /// becomes brighter than 1 is cut off.
    let brightness (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () -> unitRange (x * View.spread (nameof factors) factors x))

    /// Mixes each image with the mean of its grey, or away from it. Factors: 0 is the mean grey, 1 changes
    /// nothing, above 1 contrast grows.
    let contrast (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let factors = View.spread (nameof factors) factors x
            blend factors x ((luma x).mean([| 1L; 2L; 3L |], true)))

    /// Mixes each image with its own grey, or away from it. Factors: 0 is grey, 1 changes nothing, above 1
    /// colours grow. Images of one channel have no colour and stay.
    let colour (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let factors = View.spread (nameof factors) factors x
            if isGrey x then x.alias () else blend factors x (luma x))

    /// Mixes each image with a smoothed one, or away from it. Factors: 0 is smoothed, 1 changes nothing,
    /// above 1 edges grow. A smoothed pixel is the mean of itself, five times, and its eight neighbours; the
    /// border's pixels stay as they are.
    let sharpness (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let factors = View.spread (nameof factors) factors x
            let h, w = x.shape[2], x.shape[3]

            if h < 3L || w < 3L then
                x.alias ()
            else
                let sumOfThree dim (x: Tensor) =
                    let size = x.shape[int dim] - 2L
                    x.narrow (dim, 0L, size) + x.narrow (dim, 1L, size) + x.narrow (dim, 2L, size)

                let inner = x.narrow(2L, 1L, h - 2L).narrow(3L, 1L, w - 2L)
                let smooth = (sumOfThree 3L (sumOfThree 2L x) + inner * 4.0) / 13.0
                let change = torch.nn.functional.pad (smooth - inner, [| 1L; 1L; 1L; 1L |])
                unitRange (x + change * (1.0 - factors)))

    /// Keeps the highest bits of each pixel's byte and clears the others. Bits: whole numbers from 1 to 8 (0
    /// gives black). Rounds to 256 levels.
    let posterise (bits: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            // Rounded: a power of two that is one part in ten million too large would lose a level.
            let step = (8.0 - View.spread (nameof bits) bits x).exp2().round()
            (levels x / step).floor() * step / 255.0)

    /// The negative of every pixel at or above the image's threshold; a threshold above 1 changes nothing.
    let solarise (thresholds: Tensor) (x: Tensor) =
        Scope.tensor (fun () -> torch.where (x.lt (View.spread (nameof thresholds) thresholds x), x, 1.0 - x))

    /// The negative of each image.
    let invert (x: Tensor) : Tensor =
        Shape.rank "n;c;h;w" (nameof x) x
        1.0 - x

    /// Stretches each channel so that its darkest level becomes 0 and its brightest 1. A channel of one level
    /// alone stays. Both ends are of 256 levels; the stretched values are not rounded.
    let autoContrast (x: Tensor) =
        Shape.rank "n;c;h;w" (nameof x) x

        Scope.tensor (fun () ->
            let low = levels (x.amin ([| 2L; 3L |], true))
            let span = levels (x.amax ([| 2L; 3L |], true)) - low
            let stretched = unitRange ((x * 255.0 - low) / span.clamp_min (1.0.ToScalar()))
            torch.where (span.gt (0.0.ToScalar()), stretched, x))

    /// Maps the levels of each channel so that they are taken about equally often. Level v becomes
    /// floor((d(v) + floor(s / 2)) / s), at most 255, where d(v) pixels are darker than v and s is a 255th of
    /// the pixels that are not of the brightest level, rounded down. Where s is 0 the channel stays. Rounds
    /// to 256 levels.
    let equalise (x: Tensor) =
        Shape.rank "n;c;h;w" (nameof x) x

        Scope.tensor (fun () ->
            let channels, pixels = x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
            let level = (levels x).``to``(torch.int64).reshape([| channels; pixels |])

            let counts =
                torch
                    .zeros([| channels; 256L |], dtype = torch.int64, device = x.device)
                    .scatter_add(1L, level, torch.ones_like level)

            let brightest = counts.gather (1L, level.amax ([| 1L |], true))
            let step = (pixels - brightest).floor_divide(255L.ToScalar())
            let darker = counts.cumsum 1L - counts

            let map =
                (darker + step.floor_divide (2L.ToScalar()))
                    .floor_divide(step.clamp_min (1L.ToScalar()))
                    .clamp_max(255L.ToScalar())

            let equalised = map.gather(1L, level).``to``(x.dtype).reshape(x.shape) / 255.0
            let stays = step.eq(0L.ToScalar()).reshape([| x.shape[0]; x.shape[1]; 1L; 1L |])
            torch.where (stays, x, equalised))
