namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// MART (Wang et al. 2020): adversarial training that leans on the samples which are misclassified without
/// any attack.
[<RequireQualifiedAccess>]
module Mart =

    /// The mean over samples of -log q_y - log(1 - max over k <> y of q_k) + beta * KL(p || q) * (1 - p_y),
    /// p the softmax of the clean logits and q that of the adversarial ones; gradient through both, the
    /// weight 1 - p_y included. The published guards against log 0 are part of it: 1.0001 - q + 1e-12 in the
    /// second term, q + 1e-12 inside the divergence, 1.0000001 - p_y.
    ///
    /// beta: 0 or more (5 or 6 as published); clean, adversarial: logits [n; k], k at least 2; labels: int64
    /// [n] in 0 .. k-1. Result 0-dim.
    let loss (beta: float) (clean: Tensor) (adversarial: Tensor) (labels: Tensor) =
        Shape.nonNegative (nameof beta) beta
        Logits.labelled (nameof clean) clean (nameof labels) labels
        Shape.same (nameof adversarial) adversarial (nameof clean) clean

        Scope.tensor (fun () ->
            let clean = Logits.widen clean
            let p, logP = clean.softmax 1L, clean.log_softmax 1L
            let q = (Logits.widen adversarial).softmax 1L
            let rival = Logits.others q labels
            let boosted = CrossEntropy.perSample adversarial labels - (1.0001 - rival + 1e-12).log()
            let divergence = (p * (logP - (q + 1e-12).log())).sum 1L
            let doubt = 1.0000001 - p.gather(1L, labels.unsqueeze 1L).squeeze 1L
            (boosted + divergence * doubt * beta).mean())
