namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Supervised contrast (Khosla et al. 2020, eq. 2): all samples of a class are one another's positives.
[<RequireQualifiedAccess>]
module SupCon =

    /// The mean over anchors of -1/|P(i)| sum over P(i) of log( exp s(i, p) / sum over k <> i of exp s(i, k) ).
    /// An anchor whose class is nowhere else in the batch adds nothing.
    ///
    /// temperature above 0; embeddings: [n; d], raw, n at least 2; labels: int64 [n]. ArgumentException where
    /// no two labels are equal. Result 0-dim.
    let loss temperature (embeddings: Tensor) (labels: Tensor) =
        Embeddings.check (nameof embeddings) 2L embeddings
        Shape.rank "n" (nameof labels) labels

        if labels.dtype <> torch.ScalarType.Int64 || labels.shape[0] <> embeddings.shape[0] then
            invalidArg
                (nameof labels)
                (sprintf
                    "one int64 label a row was expected: %d rows, %d labels of type %O."
                    embeddings.shape[0]
                    labels.shape[0]
                    labels.dtype)

        let similarity = Similarity.cosine temperature

        Scope.tensor (fun () ->
            let pairs = Pairs.ofLabels labels

            if pairs.Anchors.shape[0] = 0L then
                invalidArg (nameof labels) "at least two rows of one class were expected, all labels differ."

            InfoNce.loss
                { Similarity = similarity; Denominator = AllOthers; SelfIncluded = true }
                pairs
                embeddings
                embeddings)
