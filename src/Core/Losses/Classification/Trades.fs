namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// TRADES (Zhang et al. 2019): cross-entropy on clean images, and how far the predictions on adversarial ones
/// are from those on clean ones.
[<RequireQualifiedAccess>]
module Trades =

    /// KL(p || q) = sum_k p_k (log p_k - log q_k), one value a sample, p the softmax of the clean logits and
    /// q that of the adversarial ones, in float32 at least; gradient through both. It is what the inner
    /// attack raises, and it has no gradient where both images are the same: the attack starts beside the
    /// image.
    /// clean, adversarial: [n; k]. Result [n], 0 or more.
    let divergence (clean: Tensor) (adversarial: Tensor) =
        Shape.rank "n;k" (nameof clean) clean
        Shape.same (nameof adversarial) adversarial (nameof clean) clean

        Scope.tensor (fun () ->
            let logP = (Logits.widen clean).log_softmax 1L
            let logQ = (Logits.widen adversarial).log_softmax 1L
            (logP.exp () * (logP - logQ)).sum 1L)

    /// CE(clean, y) + beta * KL(p || q), both means over the batch, with the gradient through both
    /// predictions.
    ///
    /// beta: 0 or more (6 as published for CIFAR-10); clean, adversarial: logits [n; k]; labels: int64 [n] in
    /// 0 .. k-1. Result 0-dim.
    let loss (beta: float) (clean: Tensor) (adversarial: Tensor) (labels: Tensor) =
        Shape.nonNegative (nameof beta) beta
        Logits.labelled (nameof clean) clean (nameof labels) labels

        Scope.tensor (fun () -> CrossEntropy.mean clean labels + (divergence clean adversarial).mean() * beta)
