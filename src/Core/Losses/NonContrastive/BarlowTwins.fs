namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Barlow Twins (Zbontar et al. 2021): the cross-correlation of two views' dimensions drawn to the identity.
/// It compares dimensions and not samples, so the contrastive kernel has no part in it.
[<RequireQualifiedAccess>]
module BarlowTwins =

    // Each dimension to mean 0 and (biased) variance 1 over the batch, as a batch norm without weights does.
    let private standardise (x: Tensor) =
        let centred = x - x.mean ([| 0L |], true)
        centred / (centred.square().mean([| 0L |], true) + 1e-5).sqrt()

    /// sum_i (1 - C_ii)^2 + lambda * sum over i <> j of C_ij^2, C the cross-correlation over the batch (eq. 1
    /// and 2).
    ///
    /// lambda: 0 or more (0.005 as published); view1, view2: [n; d], raw embeddings, n at least 2. Result
    /// 0-dim.
    let loss (lambda: float) (view1: Tensor) (view2: Tensor) =
        Shape.nonNegative (nameof lambda) lambda
        Embeddings.finite (nameof view1) 2L view1
        Embeddings.finite (nameof view2) 2L view2
        Shape.same (nameof view2) view2 (nameof view1) view1

        Scope.tensor (fun () ->
            let correlation = (standardise view1).t().matmul(standardise view2) / float view1.shape[0]
            let own = correlation.diagonal (0L, 0L, 1L)
            let others = correlation.square().sum() - own.square().sum()
            (1.0 - own).square().sum() + others * lambda)
