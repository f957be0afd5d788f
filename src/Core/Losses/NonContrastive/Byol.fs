namespace AdvContrast.Core.Losses

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Losses between a prediction and a target that gets no gradient: BYOL's and SimSiam's.
[<RequireQualifiedAccess>]
module Byol =

    /// 2 - 2 cos(p, stop(z)) in both orders (Grill et al. 2020, eq. 2): predictions p1, p2 of the network in
    /// training, targets z1, z2 of its average, all [n; d], raw, n at least 1. Result 0-dim, 0 to 8.
    let loss (p1: Tensor) (p2: Tensor) (z1: Tensor) (z2: Tensor) =
        Embeddings.together 1L [ nameof p1, p1; nameof p2, p2; nameof z1, z1; nameof z2, z2 ]

        Scope.tensor (fun () -> 4.0 - (Cosine.towards z2 p1 + Cosine.towards z1 p2).mean() * 2.0)

[<RequireQualifiedAccess>]
module SimSiam =

    /// -cos(p, stop(z)) in both orders, half of each (Chen and He 2021, eq. 2): BYOL's loss up to scale and
    /// constant, with the targets from the network in training. All [n; d], raw, n at least 1. Result 0-dim,
    /// -1 to 1.
    let loss (p1: Tensor) (p2: Tensor) (z1: Tensor) (z2: Tensor) =
        Scope.tensor (fun () -> Byol.loss p1 p2 z1 z2 * 0.25 - 1.0)
