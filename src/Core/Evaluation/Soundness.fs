namespace AdvContrast.Core

open TorchSharp

/// Whether a classifier's answers can be judged by attacks at all (Croce and Hein 2020; Carlini et al. 2019).
[<RequireQualifiedAccess>]
module Soundness =

    // Rows of length 1: what counts is where logits point, not how large they are.
    let private unit (x: Tensor) = x / (Ball.length L2 x).clamp_min(1e-12.ToScalar()).unsqueeze 1L

    let private apart (a: Tensor) (b: Tensor) = Figures.largest (Ball.distance L2 (unit a) (unit b))

    /// How much answers change from one pass over the same images to the next: the largest distance between
    /// two passes' logits, each brought to length 1, of five passes. 0 for a classifier that is a function.
    let unrest (classifier: Classifier) (images: Tensor) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let passes = List.init 5 (fun _ -> classifier images)
            passes.Tail |> List.map (apart passes.Head) |> List.max)

    /// How much an image's answer depends on the images beside it: the same distance between the answers of
    /// one batch and of two halves of it.
    let company (classifier: Classifier) (images: Tensor) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let n = images.shape[0]
            let half = (n + 1L) / 2L
            let part start length =
                if length = 0L then [] else [ classifier (images.narrow (0L, start, length)) ]
            let halves = torch.cat (ResizeArray(part 0L half @ part half (n - half)), 0L)
            apart (classifier images) halves)

    /// What a row of logits should not look like, over all rows: the least and the greatest of them, and how
    /// far a row's sum is from 1 at most. logits: [n; k].
    let outline (logits: Tensor) =
        Scope.value (fun () ->
            let logits = logits.detach().``to`` torch.float64
            let off = (logits.sum 1L - 1.0).abs()
            logits.min().item<float>(), logits.max().item<float>(), Figures.largest off)

    /// Whether rows of this outline look like probabilities: all in [0, 1], adding up to 1. The gradients of
    /// such a classifier shrink where it is sure.
    let areProbabilities (low, high, off) = low > -1e-5 && high < 1.0 + 1e-5 && off < 1e-5

    /// The unrest that float32 does not explain.
    let tolerated = 1e-4

    /// What is wrong with a classifier, seen from its answers to a few images: <c>"answers change from pass
    /// to pass"</c>, <c>"gives probabilities, not logits"</c>. Empty for a sound one.
    let faults (classifier: Classifier) (images: Tensor) : string list =
        Scope.value (fun () ->
            use _ = torch.no_grad ()

            [
                if not (unrest classifier images <= tolerated) then "answers change from pass to pass"
                if areProbabilities (outline (classifier images)) then "gives probabilities, not logits"
            ])
