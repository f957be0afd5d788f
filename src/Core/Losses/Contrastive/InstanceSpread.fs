namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Invariant and spreading instance features, UEL (Ye, Zhang, Yuen and Chang, CVPR 2019). A loss of its own:
/// besides the share of the positive in a row, the share of every negative enters, so a row term of the
/// kernel cannot carry it.
[<RequireQualifiedAccess>]
module InstanceSpread =

    /// With P_ij = exp(z_i.stop(z_j) / T) and D_i = P_i,positive + m * sum over the other j of P_ij:
    /// -mean over i of [ log(P_i,positive / D_i) + m * sum over the other j of log(1 - P_ij / D_i) ].
    ///
    /// temperature above 0; spread: m, 0 or more (1 as published); view1 and view2: [B; d], partners by row,
    /// raw embeddings, B at least 2. The second factor of every similarity gets no gradient. Result 0-dim.
    let loss temperature (spread: float) (view1: Tensor) (view2: Tensor) =
        Shape.nonNegative (nameof spread) spread
        Embeddings.together 2L [ nameof view1, view1; nameof view2, view2 ]

        Scope.tensor (fun () ->
            let similarity = { Similarity.cosine temperature with CandidateShare = 0.0 }
            let b = view1.shape[0]
            let z = Similarity.normalise (torch.cat (ResizeArray [ view1; view2 ], 0L))
            let scores = z.matmul (z.detach().t()) / similarity.Temperature
            let rows = torch.arange ((2L * b).ToScalar(), dtype = torch.int64, device = z.device)
            let partners = rows.roll(b, 0L).unsqueeze 1L
            let positive = scores.gather (1L, partners)
            // What is left of a row are the negatives: neither itself nor its partner.
            let left = System.Double.NegativeInfinity.ToScalar()
            let negatives = scores.scatter (1L, partners, torch.full_like (positive, left))
            let negatives = negatives.scatter (1L, rows.unsqueeze 1L, torch.full_like (positive, left))
            let row = torch.cat (ResizeArray [ positive; negatives + log spread ], 1L)
            let total = row.logsumexp (1L, true)
            let invariance = (positive - total).squeeze 1L
            // Of an entry that is left out p is 0, and log(1 - p) adds nothing.
            let spreading = (negatives - total).exp().neg().log1p().sum 1L
            (invariance + spreading * spread).mean().neg())
