namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Methods without negatives: each view's prediction is drawn to the other view's embedding, which gets no
/// gradient. Settings for 32 pixels as in solo-learn (da Costa et al. 2022).
[<RequireQualifiedAccess>]
module Siamese =

    let private clean = SimClr.clean

    // From next to nothing to the peak over 10 epochs, then along half a cosine to 0.
    let internal rate peak = Schedule.riseFrom 3e-5 10 (Schedule.since 10 (Schedule.cosine peak 0.0))

    /// LARS as solo-learn sets it: trust 0.02, cut at the rate, biases and normalisations left out.
    let internal layerwise peak decay =
        Transform.chain [
            Transform.only Transform.matrices (Transform.larc (Some(rate peak)) 0.02 decay)
            Transform.momentum 0.9
            Transform.scale (rate peak)
        ]

    let private prediction side = LossContext.head "predictor" side.Pass side.View

    // The views pass through the network one after the other.
    let private sides = Comparison.side "v1" "p1" clean, Comparison.side "v2" "p2" clean

    let private create name summary citation (comparison: Comparison) formula head optimizer =
        let first, second = sides

        {
            SimClr.method with
                Name = name
                Summary = summary
                Citation = citation
                Head = head
                Step = {
                    Step.create
                        (SimClr.twoViews (SimClr.views 0.2 0.5))
                        ([ for side in [ first; second ] -> Pass.train side.Pass [ side.View ] clean ]
                         @ comparison.Beside first second)
                        formula
                        (comparison.Between first second) with
                        Measures =
                            fun scene -> [
                                "deviation",
                                FeatureStd.deviation (LossContext.embedding first.Pass first.View scene)
                            ]
                }
                Recipe = { SimClr.method.Recipe with Optimizer = optimizer; Batch = 256 }
        }

    /// BYOL's loss in both orders, the targets from an average of the network. A view is predicted best from
    /// itself, so an adversary starts in its ball.
    let byolComparison = {
        Between =
            fun first second scene ->
                Byol.loss
                    (prediction first scene)
                    (prediction second scene)
                    (Comparison.targetEmbedding first scene)
                    (Comparison.targetEmbedding second scene)
        Beside = fun first second -> [ Comparison.target "target" first; Comparison.target "target" second ]
        Start = Uniform false
    }

    /// SimSiam's: the same with the targets from the network itself.
    let simSiamComparison = {
        Between =
            fun first second scene ->
                SimSiam.loss
                    (prediction first scene)
                    (prediction second scene)
                    (LossContext.embedding first.Pass first.View scene)
                    (LossContext.embedding second.Pass second.View scene)
        Beside = fun _ _ -> []
        Start = Uniform false
    }

    /// The head of BYOL, for the branches of a network.
    let byolHead branches =
        Head.both (Head.expander branches 1 4096L 256L false) (Head.predictor branches 4096L)

    /// The head of SimSiam.
    let simSiamHead branches =
        Head.both (Head.expander branches 2 2048L 2048L true) (Head.predictor branches 512L)

    /// BYOL (Grill et al., NeurIPS 2020).
    let byol =
        let method =
            create
                "byol"
                "each view predicts a slow average's embedding of the other"
                "Grill et al.: Bootstrap Your Own Latent, NeurIPS 2020"
                byolComparison
                "2 - 2 cos(p(x1), stop z'(x2)), in both orders"
                (byolHead [ clean ])
                (layerwise 1.0 1e-5)

        {
            method with
                Averages = [
                    { Name = "target"; Decay = Schedule.cosine 0.99 1.0; Statistics = Own; Lags = false }
                ]
        }

    // The rate of the predictor does not decay (section 4.2 of the paper).
    let private steadyPredictor =
        let isPredictor (name: string) = name.StartsWith "predictor."
        let predictor = Named.create "predictor" (fun name (_: int64[]) -> isPredictor name)
        let others = Named.create "the others" (fun name (_: int64[]) -> not (isPredictor name))

        Transform.chain [
            Transform.weightDecay 5e-4
            Transform.momentum 0.9
            Transform.only predictor (Transform.scale (Schedule.constant 0.06))
            Transform.only others (Transform.scale (Schedule.cosine 0.06 0.0))
        ]

    /// SimSiam (Chen and He, CVPR 2021).
    let simSiam =
        create
            "simsiam"
            "each view predicts the other's embedding, which is held still"
            "Chen and He: Exploring Simple Siamese Representation Learning, CVPR 2021"
            simSiamComparison
            "-1/2 cos(p(x1), stop z(x2)) - 1/2 cos(p(x2), stop z(x1))"
            (simSiamHead [ clean ])
            steadyPredictor
