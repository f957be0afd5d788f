namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// Whether a classifier's answers can be judged by attacks at all (Croce and Hein 2020; Carlini et al. 2019).
[<RequireQualifiedAccess>]
module ModelSanity =

    // Rows of length 1: what counts is where logits point, not how large they are. What is not finite counts
    // as 0.
    let private unit (x: Tensor) =
        let x = (x.``to`` torch.float64).nan_to_num(0.0, 0.0, 0.0)
        x / (Projection.length L2 x).clamp_min(1e-12.ToScalar()).unsqueeze 1L

    let private apart (a: Tensor) (b: Tensor) = TensorStats.largest (Projection.distance L2 (unit a) (unit b))

    /// Nondeterminism of a classifier: the largest L2 distance between the logits of the first and of a later one of
    /// five passes over the same images, rows normalised to length 1. 0 for a deterministic classifier.
    /// images: [n; c; h; w].
    let unrest (classifier: Classifier) (images: Tensor) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let passes = List.init 5 (fun _ -> classifier images)
            passes.Tail |> List.map (apart passes.Head) |> List.max)

    /// Dependence on the batch: the same distance between the logits of one batch and of its two halves, as batch norm in
    /// training mode causes. images: [n; c; h; w].
    let company (classifier: Classifier) (images: Tensor) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let n = images.shape[0]
            let half = (n + 1L) / 2L
            let part start length =
                if length = 0L then [] else [ classifier (images.narrow (0L, start, length)) ]
            let halves = torch.cat (ResizeArray(part 0L half @ part half (n - half)), 0L)
            apart (classifier images) halves)

    /// The largest such distance that float32 rounding explains.
    let tolerated = 1e-4

    /// Which rows of logits [n; k] name a class: those with a largest entry that is finite. -infinity forbids
    /// a class; NaN or infinity anywhere in a row is no answer. Result: bool [n].
    let answered (logits: Tensor) = Scope.tensor (fun () -> (logits.detach().amax [| 1L |]).isfinite())

    /// The class that each row of logits [n; k] names, or -1 where it names none: int64 [n].
    let guesses (logits: Tensor) =
        Scope.tensor (fun () ->
            (logits.argmax 1L).masked_fill((answered logits).logical_not(), (-1L).ToScalar()))

    /// Statistics of logits over all rows: the least and the greatest of them, and how
    /// far a row's sum is from 1 at most. logits: [n; k].
    let outline (logits: Tensor) =
        Scope.value (fun () ->
            let logits = logits.detach().``to`` torch.float64
            let off = (logits.sum 1L - 1.0).abs()
            logits.min().item<float>(), logits.max().item<float>(), TensorStats.largest off)

    /// Whether rows of this outline look like probabilities: all in [0, 1], adding up to 1. The gradients of
    /// such a classifier shrink where it is sure.
    let isOfProbabilities (low, high, off) = low >= -1e-4 && high <= 1.0001 && off <= 1e-3

    /// Whether all rows of logits [n; k] look like probabilities.
    let areProbabilities (logits: Tensor) = logits.shape[0] > 0L && isOfProbabilities (outline logits)

    /// The flag of a classifier that returns probabilities.
    let probabilities = "gives probabilities, not logits"

    // This number of images is enough to see chance, or a batch's statistics, at work.
    let private most = 32L

    // Half of some images, and one of noise, so that the batch is another even where all images are alike.
    let private otherBatch box (images: Tensor) =
        let half = images.narrow (0L, 0L, (images.shape[0] + 1L) / 2L)
        let low, high = Option.defaultValue (0.0, 1.0) box
        let shape = List.ofArray images.shape[1..]
        let noise = Rng.uniform shape (Rng.create 1UL "soundness" [| 0L |]) * (high - low) + low
        torch.cat (ResizeArray [ half; noise.``to``(images.dtype).``to`` images.device ], 0L)

    // What one more pass, with its gradient, shows of a classifier that gave these logits for these images.
    let private seen box (classifier: Classifier) (images: Tensor) (logits: Tensor) =
        Scope.value (fun () ->
            let batch = otherBatch box images
            let half = batch.shape[0] - 1L
            use _ = torch.enable_grad ()
            let leaf = batch.requires_grad_ true
            let later: Tensor = classifier leaf
            let struct (top, _) = later.topk (2, 1)
            let slope = GradientAttackLoop.slope false (top.select (1L, 0L) - top.select (1L, 1L)) leaf
            use _ = torch.no_grad ()
            let far a b = not (apart a b <= tolerated)

            [
                if far (logits.narrow (0L, 0L, half)) (later.narrow (0L, 0L, half)) then
                    if far later (classifier batch) then
                        "answers change from pass to pass"
                    else
                        "answers depend on the other images of the batch"

                if slope.count_nonzero().item<int64>() = 0L then "no gradient reaches the images"
                if areProbabilities logits then probabilities
            ])

    /// Runs work with a classifier of images in a box, and tells what is wrong with the classifier:
    /// <c>"answers change from pass to pass"</c>, <c>"answers depend on the other images of the batch"</c> as
    /// in training mode, <c>"no gradient reaches the images"</c>, <c>"gives probabilities, not logits"</c>;
    /// nothing of a sound one. It compares the first answers that the work gets with those of one more pass
    /// over at most 16 of the same images; where they differ, another pass tells why.
    let during box (classifier: Classifier) (work: Classifier -> 'a) : 'a * Set<string> =
        let mutable first: (Tensor * Tensor) option = None
        let classifier = Classifier.guarded classifier

        let remembering (images: Tensor) =
            let logits = classifier images

            if first.IsNone && images.shape[0] > 0L then
                let keep (x: Tensor) =
                    x.detach().narrow(0L, 0L, min most x.shape[0]).clone().DetachFromDisposeScope()

                first <- Some(keep images, keep logits)

            logits

        try
            let result = work remembering

            result,
            first
            |> Option.map (fun (images, logits) -> Set.ofList (seen box classifier images logits))
            |> Option.defaultValue Set.empty
        finally
            for images, logits in Option.toList first do
                images.Dispose()
                logits.Dispose()

    /// The faults of a classifier on a few images, as <c>during</c> reports them.
    let faults box (classifier: Classifier) (images: Tensor) : Set<string> =
        Scope.value (fun () ->
            during box classifier (fun classifier ->
                use _ = torch.no_grad ()
                classifier images |> ignore)
            |> snd)
