namespace AdvContrast.Core.Methods

open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Methods that compare dimensions and not samples: views alike, dimensions apart. Settings for 32 pixels as
/// in solo-learn (da Costa et al. 2022).
[<RequireQualifiedAccess>]
module RedundancyReduction =

    let private clean = SimClr.clean

    // A view agrees best with itself, so an adversary starts in its ball.
    let private comparing loss = { Comparison.ofEmbeddings loss with Start = Uniform false }

    let private create name summary citation (comparison: Comparison) formula rate decay =
        let first, second = Comparison.side "v1" "p1" clean, Comparison.side "v2" "p2" clean

        {
            SimClr.method with
                Name = name
                Summary = summary
                Citation = citation
                Head = Head.expander [ clean ] 2 2048L 2048L false
                Step = {
                    Step.create
                        (SimClr.twoViews (SimClr.views 0.2 0.5))
                        [ for side in [ first; second ] -> Pass.train side.Pass [ side.View ] clean ]
                        formula
                        (comparison.Between first second) with
                        Measures =
                            fun scene -> [
                                "deviation",
                                FeatureStd.deviation (LossContext.embedding first.Pass first.View scene)
                            ]
                }
                Recipe = { SimClr.method.Recipe with Optimizer = Siamese.layerwise rate decay; Batch = 256 }
        }

    /// Barlow Twins' loss at lambda = 0.005.
    let barlowComparison = comparing (BarlowTwins.loss 0.005)

    /// VICReg's at the weights 25, 25 and 1.
    let vicRegComparison = comparing (VicReg.loss 25.0 25.0 1.0)

    /// Barlow Twins (Zbontar et al., ICML 2021).
    let barlowTwins =
        create
            "barlow-twins"
            "the cross-correlation of two views drawn to the identity"
            "Zbontar, Jing, Misra, LeCun and Deny: Barlow Twins, ICML 2021"
            barlowComparison
            "sum (1 - C_ii)^2 + 0.005 sum C_ij^2"
            0.3
            1e-4

    /// VICReg (Bardes, Ponce and LeCun, ICLR 2022).
    let vicReg =
        create
            "vicreg"
            "views alike, dimensions spread and uncorrelated"
            "Bardes, Ponce and LeCun: VICReg, ICLR 2022"
            vicRegComparison
            "25 invariance + 25 variance + covariance"
            0.3
            1e-4
