namespace AdvContrast.Core.Methods

open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// RoCL (Kim, Tack and Hwang, NeurIPS 2020): a view attacked to be unlike the other view of its image, and
/// all three contrasted; with the asymmetric forms of A-InfoNCE (Yu et al., ECCV 2022).
[<RequireQualifiedAccess>]
module Rocl =

    let private clean = SimClr.clean
    let private temperature = 0.5

    /// Jitter and grey first, then flip and crop, as the code orders them.
    let private views =
        View.compose [
            View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.1)
            View.sometimes 0.2 Colour.grey
            Crop.randomResized 0.08
        ]

    // PGD-7 in steps of 0.007, clipped to the pixel box before its first gradient, in eval mode.
    let private adversary (similarity: Similarity) =
        let radius = 0.0314

        {
            Makes = [ "a", "v1" ]
            Threat = Threat.create Linf radius
            Ascent = GradientAttack.pgd (0.007 / radius) 7
            Passes = [ Pass.eval "moved" [ "a" ] clean; Pass.eval "still" [ "v2" ] clean ]
            Objective =
                fun scene ->
                    RoclLoss.pair
                        similarity
                        (LossContext.embedding "moved" "a" scene)
                        (LossContext.embedding "still" "v2" scene)
            Leaks = false
        }

    // The rate rises from a part of it to all of it, then falls along half a cosine.
    let private rate (low: float) =
        Schedule.riseFrom low 10 (Schedule.since 10 (Schedule.cosine (15.0 * low) 0.0))

    let private create name summary citation formula low similarity denominator inferior =
        let embedding = LossContext.embedding "all"

        {
            SimClr.method with
                Name = name
                Summary = summary
                Citation = citation
                Head = Head.perceptron (fun f -> 4L * f) 128L
                Step = {
                    Step.create
                        (SimClr.twoViews views)
                        [ Pass.train "all" [ "v1"; "v2"; "a" ] clean ]
                        (formula + " + 1/256 NTX(F(a), F(x2)), gradient through anchors alone, T = 0.5")
                        (fun scene ->
                            let x1, x2, a = embedding "v1" scene, embedding "v2" scene, embedding "a" scene

                            RoclLoss.loss similarity denominator inferior x1 x2 a
                            + RoclLoss.pair similarity a x2 / 256.0) with
                        Adversaries = [ adversary similarity ]
                }
                Recipe = {
                    SimClr.method.Recipe with
                        Optimizer =
                            Transform.chain [
                                Transform.layerwise {
                                    Trust = 1e-3
                                    Decay = 1e-6
                                    Epsilon = 1e-8
                                    Clip = None
                                    DecaysAlways = true
                                }
                                Transform.momentum 0.9
                                Transform.scale (rate low)
                            ]
                }
        }

    let private paper =
        "Kim, Tack and Hwang: Adversarial Self-Supervised Contrastive Learning, NeurIPS 2020"

    let private asymmetric =
        "Yu, Lou, Zhan, Li, Zuo, Liu and Liu: Adversarial Contrastive Learning via Asymmetric InfoNCE, ECCV 2022"

    let private inferior = { Pull = 0.2; Weight = 1.0 }
    let private hard = HardNegatives.create 1.0 0.12
    // The published floor is e^-2 whatever T, and the mean weight of a column's row stands for the anchor's.
    let private hardAsPublished = { hard with Floor = Some -2.0; MeansByColumn = true }

    let private guarded = { Similarity.anchored temperature with Guard = 1e-8 }
    let private exact = Similarity.anchored temperature

    // The four forms, for a similarity and hard negatives.
    let private forms similarity hard = [
        create
            "rocl"
            "contrast of two clean views and one attacked instance"
            paper
            "1/3N sum of 6 pairs of (x1, x2, a)"
            0.1
            similarity
            AllOthers
            RoclLoss.plain
        create
            "a-infonce-rocl-ip"
            "RoCL with the attacked view as inferior positive"
            asymmetric
            "1/3N [ clean pairs + 0.2 l(x -> a) + 0.8 l(a -> x) ]"
            0.1
            similarity
            AllOthers
            inferior
        create
            "a-infonce-rocl-hn"
            "RoCL with hard negatives"
            asymmetric
            "1/3N sum of 6 pairs over hard negatives (beta 1, tau+ 0.12)"
            0.2
            similarity
            (Hard hard)
            RoclLoss.plain
        create
            "a-infonce-rocl-ip-hn"
            "RoCL with the attacked view as inferior positive, over hard negatives"
            asymmetric
            "1/3N [ clean pairs + 0.2 l(x -> a) + 0.8 l(a -> x) ] over hard negatives (beta 1, tau+ 0.12)"
            0.3
            similarity
            (Hard hard)
            inferior
    ]

    /// RoCL, then A-InfoNCE's inferior positives, hard negatives, and both, by the recipes for CIFAR-10.
    let methods = forms exact hard

    /// The same as the code computes them.
    let asPublished =
        forms guarded hardAsPublished
        |> List.map (fun m ->
            let quirks = [
                "1e-8 is added to lengths, denominators and ratios", "as the code has it"
                if m.Name.EndsWith "hn" then
                    "hard negatives by the mean weight of a column's row, floor e^-2", "as the code has it"
            ]

            { m with Name = m.Name + ":as-published"; Quirks = Map.ofList quirks })
