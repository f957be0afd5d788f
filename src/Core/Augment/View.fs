namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// A random augmentation: images [n; c; h; w] in [0, 1] to the same shape and range (but for
/// <c>Frequency.highPass</c>), each sample by its own draw.
type View = Named<Rng -> Tensor -> Tensor>

[<RequireQualifiedAccess>]
module View =

    /// The image as it is.
    let identity: View = Named.create "none" (fun _ x -> x.alias ())

    /// One after the other; each draws for a purpose of its own.
    let compose (views: View list) : View =
        Named.create (views |> List.map _.Text |> String.concat ", ") (fun draw x ->
            Scope.tensor (fun () ->
                ((x.alias (), 0), views)
                ||> List.fold (fun (x, index) view -> view.Run (Rng.sub (string index) draw) x, index + 1)
                |> fst))

    // A number for each sample, shaped to broadcast over images.
    let internal numbers purpose draw (x: Tensor) =
        let values = Rng.uniform [] (Rng.sub purpose draw)
        Shape.perSample x (values.``to``(x.device).``to`` x.dtype)

    // Magnitudes given one a sample, as what broadcasts over images.
    let internal spread name (magnitudes: Tensor) (x: Tensor) =
        Shape.rank "n;c;h;w" "x" x

        if magnitudes.numel () <> x.shape[0] then
            invalidArg
                name
                (sprintf
                    "%s must hold one number for each of the %d images, got %s."
                    name
                    x.shape[0]
                    (Shape.text magnitudes))

        Shape.perSample x (magnitudes.reshape([| -1L |]).``to``(x.device).``to`` x.dtype)

    /// For each sample the view with this probability, else the image as it is.
    let sometimes (probability: float) (view: View) : View =
        Named.create (sprintf "%s with p %g" view.Text probability) (fun draw x ->
            Scope.tensor (fun () ->
                let chosen = (numbers "whether" draw x).lt(probability.ToScalar())
                torch.where (chosen, view.Run draw x, x)))
