namespace AdvContrast.Core.Losses

/// How an adversarial view takes part in a multi-view contrast (Yu et al. 2022, "inferior positives").
type PositiveWeights = {
    /// alpha, 0 to 1: the share of a pair's pull that the clean side feels; 1/2 treats both sides alike.
    Pull: float
    /// w, 0 or more: the weight of the pairs that the adversarial view is in.
    Weight: float
}

/// RoCL's contrast of three views (Kim, Tack and Hwang 2020) and the asymmetric forms that A-InfoNCE
/// gives it. Every similarity sends its gradient to the anchor alone.
[<RequireQualifiedAccess>]
module RoclLoss =

    /// NT-Xent with a stop-gradient on the candidates: what RoCL's attack raises, and 1/256 of it with the
    /// adversarial view is RoCL's regulariser.
    ///
    /// similarity: its candidates' share is taken as 0; view1, view2: [b; d], partners by row, raw embeddings,
    /// b at least 2. Result 0-dim.
    let pair similarity view1 view2 =
        InfoNce.ofViews { similarity with CandidateShare = 0.0 } AllOthers [ 0, 1, 1.0; 1, 0, 1.0 ] [
            view1
            view2
        ]

    /// The weights that make the general form RoCL's own.
    let plain = { Pull = 0.5; Weight = 2.0 }

    /// 1/(3b) sum over images of l(1,2) + l(2,1) + w [ alpha (l(1,a) + l(2,a)) + (1 - alpha) (l(a,1) + l(a,2)) ].
    ///
    /// similarity: its candidates' share is taken as 0; view1, view2, adversarial: [b; d], raw embeddings, b at
    /// least 2. Result 0-dim.
    let loss similarity denominator inferior view1 view2 adversarial =
        let drawn = inferior.Weight * inferior.Pull
        let drawing = inferior.Weight * (1.0 - inferior.Pull)

        InfoNce.ofViews
            { similarity with CandidateShare = 0.0 }
            denominator
            (Pairs.every 1.0 [ 0; 1 ] @ [ 0, 2, drawn; 1, 2, drawn; 2, 0, drawing; 2, 1, drawing ])
            [ view1; view2; adversarial ]
