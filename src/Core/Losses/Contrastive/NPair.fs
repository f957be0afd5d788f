namespace AdvContrast.Core.Losses

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The one-directional cross-view loss that CLAE calls "Plain" (Ho and Vasconcelos 2020, section 4).
[<RequireQualifiedAccess>]
module NPair =

    /// -mean over m of log( exp(u_m.v_m / T) / sum_k exp(u_m.v_k / T) ): every anchor against the other view
    /// of all images, its own among them; not symmetrised.
    ///
    /// temperature above 0; anchors and positives: [b; d], row m of one the partner of row m of the other,
    /// raw embeddings, b at least 2. Result 0-dim.
    let loss temperature (anchors: Tensor) (positives: Tensor) =
        let similarity = Similarity.cosine temperature
        Embeddings.together 2L [ nameof anchors, anchors; nameof positives, positives ]

        Scope.tensor (fun () ->
            InfoNce.loss
                { Similarity = similarity; Denominator = AllOthers; SelfIncluded = false }
                (Pairs.aligned anchors.device anchors.shape[0] 0L)
                anchors
                positives)
