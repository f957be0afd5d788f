namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Anything that maps images [n; c; h; w] to logits [n; k], differentiable in the images. The images' range
/// is the threat's box: [0, 1], where nothing else is said.
type Classifier = Tensor -> Tensor

/// Classifiers of images in [0, 1] out of models that want something else. An attack then moves in [0, 1],
/// its radius is in those units, and the step to what the model wants is part of what it takes the gradient
/// of.
[<RequireQualifiedAccess>]
module Classifier =

    // Refuses answers that are not logits [n; k] in floating point, of two classes or more.
    let private require (images: Tensor) (logits: Tensor) =
        let isOfImages = logits.shape.Length = 2 && logits.shape[0] = images.shape[0]

        if not (isOfImages && logits.is_floating_point ()) then
            invalidArg
                "classifier"
                (sprintf
                    "logits [n; k] in floating point were expected, got %s in %O for images %s."
                    (Shape.text logits)
                    logits.dtype
                    (Shape.text images))

        if logits.shape[1] < 2L then
            invalidArg
                "classifier"
                (sprintf "logits of two classes or more were expected, got %s." (Shape.text logits))

    /// The same classifier on a copy of its images, so that it may change them in place. ArgumentException
    /// where its answers are not logits [n; k] in floating point, k at least 2.
    let guarded (classifier: Classifier) : Classifier =
        fun images ->
            let copy = images.clone ()
            let logits = classifier copy
            require images logits
            if not (obj.ReferenceEquals(logits, copy)) then copy.Dispose()
            logits

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
