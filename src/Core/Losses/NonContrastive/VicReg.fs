namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// VICReg (Bardes, Ponce and LeCun 2022): views alike, dimensions spread and uncorrelated. It compares
/// dimensions and not samples, so the contrastive kernel has no part in it.
[<RequireQualifiedAccess>]
module VicReg =

    let private covariance (x: Tensor) =
        let centred = x - x.mean ([| 0L |], true)
        centred.t().matmul centred / float (x.shape[0] - 1L)

    // The mean shortfall of each dimension's standard deviation from 1, and the mean square of covariances.
    let private spread (x: Tensor) =
        let c = covariance x
        let variances = c.diagonal (0L, 0L, 1L)
        let shortfall = (1.0 - (variances + 1e-4).sqrt()).clamp_min(0.0.ToScalar()).mean()
        shortfall, (c.square().sum() - variances.square().sum()) / float x.shape[1]

    /// invariance * mean square difference + variance * mean of the two views' shortfalls + covariance * the
    /// sum of their mean squared covariances (eq. 6; published weights 25, 25, 1). The shortfalls are
    /// averaged over the views; some implementations add them, which doubles that weight.
    ///
    /// Weights 0 or more; view1, view2: [n; d], raw embeddings, n at least 2. Result 0-dim.
    let loss (invariance: float) (variance: float) (covariance: float) (view1: Tensor) (view2: Tensor) =
        Shape.nonNegative (nameof invariance) invariance
        Shape.nonNegative (nameof variance) variance
        Shape.nonNegative (nameof covariance) covariance
        Embeddings.finite (nameof view1) 2L view1
        Embeddings.finite (nameof view2) 2L view2
        Shape.same (nameof view2) view2 (nameof view1) view1

        Scope.tensor (fun () ->
            let shortfall1, covariances1 = spread view1
            let shortfall2, covariances2 = spread view2

            (view1 - view2).square().mean() * invariance
            + (shortfall1 + shortfall2) * (0.5 * variance)
            + (covariances1 + covariances2) * covariance)
