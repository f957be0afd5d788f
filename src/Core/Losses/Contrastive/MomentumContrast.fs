namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Momentum contrast, MoCo v2 (He et al. 2020; Chen et al. 2020): queries against a queue of earlier keys.
/// Besides the negatives that all queries share, each has one candidate of its own, so it is no row of the
/// contrastive kernel.
[<RequireQualifiedAccess>]
module MomentumContrast =

    let private sameWidth name (x: Tensor) otherName (other: Tensor) =
        if x.shape[1] <> other.shape[1] then
            invalidArg
                name
                (sprintf
                    "%s and %s must be of one width, got %s and %s."
                    name
                    otherName
                    (Shape.text x)
                    (Shape.text other))

    /// -mean over i of log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum_j exp(q_i.Q_j / T)) ) (He et al.,
    /// eq. 1).
    ///
    /// temperature: T, above 0 (0.2 in v2); queries, keys: [n; d], partners by row, raw embeddings, n at
    /// least 1; queue: [K; d], rows of length 1, K at least 1. Queries alone get gradient. Result 0-dim.
    let loss (temperature: float) (queries: Tensor) (keys: Tensor) (queue: Tensor) =
        Shape.positive (nameof temperature) temperature
        Embeddings.together 1L [ nameof queries, queries; nameof keys, keys ]
        Embeddings.unit (nameof queue) 1L queue
        sameWidth (nameof queue) queue (nameof queries) queries

        Scope.tensor (fun () ->
            let q = Similarity.normalise queries / temperature
            let positive = (q * Similarity.normalise (keys.detach ())).sum 1L
            let negatives = q.matmul(queue.detach().``to``(q.dtype).t()).logsumexp 1L
            (positive.logaddexp negatives - positive).mean())

    /// The queue with the keys of a batch before all others and as many of the oldest gone: [K; d] -> [K; d].
    /// Of more than K keys the first K enter. A queue starts as K random rows so enqueued.
    ///
    /// keys: [n; d], raw embeddings, which enter with length 1 and without gradient; queue: [K; d], whose
    /// type the new one has.
    let enqueue (keys: Tensor) (queue: Tensor) =
        Embeddings.check (nameof keys) 1L keys
        Shape.rank "K;d" (nameof queue) queue
        sameWidth (nameof keys) keys (nameof queue) queue

        Scope.tensor (fun () ->
            let entering = min keys.shape[0] queue.shape[0]
            let newest = (Similarity.normalise (keys.detach ())).narrow(0L, 0L, entering)
            let staying = queue.detach().narrow(0L, 0L, queue.shape[0] - entering)
            torch.cat (ResizeArray [ newest.``to`` queue.dtype; staying ], 0L))
