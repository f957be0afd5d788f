namespace AdvContrast.Core

open TorchSharp

/// Anything that maps images [n; c; h; w] to logits [n; k], differentiable in the images. The images' range
/// is the threat's box: [0, 1], where nothing else is said.
type Classifier = Tensor -> Tensor

/// Classifiers of images in [0, 1] out of models that want something else. An attack then moves in [0, 1],
/// its radius is in those units, and the step to what the model wants is part of what it takes the gradient
/// of.
[<RequireQualifiedAccess>]
module Classifier =

    let private perChannel (values: float list) (images: Tensor) =
        let channels = images.shape[1]

        if values.Length <> 1 && int64 values.Length <> channels then
            invalidArg
                (nameof images)
                (sprintf "expected images of %d channels, got %s." values.Length (Shape.text images))

        let values = torch.tensor (Array.ofList values)
        values.reshape([| 1L; -1L; 1L; 1L |]).``to``(images.dtype).``to``(images.device)

    /// From a model that wants each channel less its mean, over its standard deviation. mean, std: one number
    /// a channel, in units of [0, 1], or one for all. ArgumentException where they are not as many, or a
    /// deviation is not above 0.
    let normalised (mean: float list) (std: float list) (model: Classifier) : Classifier =
        if mean.IsEmpty || mean.Length <> std.Length then
            invalidArg
                (nameof std)
                (sprintf
                    "expected as many deviations as means, 1 or more, got %d and %d."
                    std.Length
                    mean.Length)

        std |> List.iter (Shape.positive (nameof std))

        fun images ->
            Shape.rank "n;c;h;w" (nameof images) images

            Scope.tensor (fun () -> model ((images - perChannel mean images) / perChannel std images))

    /// From a model of pixels from low to high, [-1, 1] or [0, 255] for instance. ArgumentException where low
    /// is not below high.
    let ranged (low: float) (high: float) (model: Classifier) : Classifier =
        Shape.positive "high - low" (high - low)
        fun images -> Scope.tensor (fun () -> model (images * (high - low) + low))
