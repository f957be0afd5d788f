namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// CLAE (Ho and Vasconcelos, NeurIPS 2020): beside two views of each image a third, one gradient step from the
/// first that makes it hard to tell whose it is. It goes over any method that compares two views; it is for
/// better clean features, not for robustness.
[<RequireQualifiedAccess>]
module Clae =

    let private clean = SimClr.clean
    let private adv = Branch "adv"

    let private citation =
        "Ho and Vasconcelos: Contrastive Learning with Adversarial Examples, NeurIPS 2020"

    // The adversarial batch norms' statistics move slowly, in all passes.
    let private slowly (pass: Pass) = { pass with Call = { pass.Call with Momentum = 0.01 } }

    // The side by which the network in training saw the first view.
    let private firstSide (method: Method) =
        let sees (pass: Pass) = pass.Who = Online && List.contains "v1" pass.Views
        let pass = method.Step.Passes |> List.find sees
        Comparison.side "v1" pass.Name pass.Call.Branch

    /// CLAE over a method with two views v1 and v2: L + alpha * l(F(v1), F(a; adv)), where a is one step of a
    /// whole radius (in pixel units, unbounded by the pixel box) from v1 that raises l(F(v1; adv), F(a; adv)),
    /// all in train mode. head: the method's, for two branches. ArgumentException for a negative alpha.
    let over name (comparison: Comparison) head (radius: float) (alpha: float) (method: Method) =
        Shape.nonNegative (nameof alpha) alpha
        let first = firstSide method
        let still, moved = Comparison.side "v1" "still" adv, Comparison.side "a" "moved" adv
        let adversarial = Comparison.side "a" "adv" adv

        let adversary = {
            Makes = [ "a", "v1" ]
            Threat = { Threat.create Linf radius with Box = None }
            Ascent = {
                GradientAttack.fgsm with
                    Start = comparison.Start
                    Text = if comparison.Start = AtInput then "FGSM" else "FGSM from a random start"
            }
            Passes =
                [
                    for side in [ still; moved ] ->
                        { Pass.train side.Pass [ side.View ] adv with Learn = false } |> slowly
                ]
                @ (comparison.Beside still moved |> List.map Pass.look)
            Objective = comparison.Between still moved
            Leaks = false
        }

        let loss = comparison.Between first adversarial

        // The average's passes over the clean first view are among the method's own, where it has them.
        let beside =
            comparison.Beside first adversarial
            |> List.filter (fun pass -> method.Step.Passes |> List.forall (fun own -> own.Name <> pass.Name))

        {
            method with
                Name = name
                Summary = sprintf "%s, and of the first with an adversarial one" method.Summary
                Citation = citation
                Quirks =
                    Map [ "adversarial views may leave [0, 1]", "the step is neither projected nor clipped" ]
                Branches = [ clean; adv ]
                Head = head [ clean; adv ]
                Step = {
                    method.Step with
                        Adversaries = [ adversary ]
                        Passes = method.Step.Passes @ [ slowly (Pass.train "adv" [ "a" ] adv) ] @ beside
                        Formula = sprintf "%s; + %g l(F(x1; clean), F(a; adv))" method.Step.Formula alpha
                        Loss = fun scene -> method.Step.Loss scene + loss scene * alpha
                }
        }

    // --- the methods that the paper puts it over, by its recipes

    let private simClr = {
        SimClr.method with
            Head = Head.perceptron id 64L
            Step = { SimClr.method.Step with Views = SimClr.twoViews (SimClr.views 0.08 1.0) }
            Recipe = {
                SimClr.method.Recipe with
                    Optimizer =
                        Transform.chain [
                            Transform.adam 0.9 0.999 1e-8
                            Transform.scale (Schedule.constant 3e-4)
                        ]
                    Batch = 256
                    Epochs = 100
            }
    }

    let private embedded name summary citation comparison formula =
        let first, second = Comparison.side "v1" "clean" clean, Comparison.side "v2" "clean" clean

        {
            simClr with
                Name = name
                Summary = summary
                Citation = citation
                Head = Head.linear 128L
                Step =
                    Step.create
                        (SimClr.twoViews (
                            View.compose [
                                Crop.randomResized 0.2
                                Colour.jitter 0.4 0.4 0.4 0.4
                                View.sometimes 0.2 Colour.grey
                            ]
                        ))
                        [ Pass.train "clean" [ "v1"; "v2" ] clean ]
                        formula
                        (comparison.Between first second)
                Recipe = {
                    simClr.Recipe with
                        Optimizer =
                            Transform.sgd (Schedule.drops 0.03 [ 120, 0.1; 160, 0.05; 200, 0.01 ]) 0.9 5e-4
                        Batch = 128
                        Epochs = 301
                }
        }

    let private plainComparison = Comparison.ofEmbeddings (NPair.loss 0.1)
    let private spreadComparison = Comparison.ofEmbeddings (InstanceSpread.loss 0.1 1.0)

    /// The one-directional contrast that the paper calls "Plain".
    let plain =
        embedded
            "n-pair"
            "one-directional contrast of two clean views"
            citation
            plainComparison
            "Plain(F(x1), F(x2)), T = 0.1"

    /// Invariant and spreading instance features, UEL (Ye et al., CVPR 2019).
    let spread =
        embedded
            "uel"
            "two clean views alike, all images apart"
            "Ye, Zhang, Yuen and Chang: Unsupervised Embedding Learning via Invariant and Spreading Instance Feature, CVPR 2019"
            spreadComparison
            "UEL(F(x1), F(x2)), T = 0.1"

    // The published 0.03 is in normalised units: half of it in pixels for SimCLR's, a fifth for CIFAR's.
    let private half, private fifth = 0.015, 0.006

    /// Over SimCLR, by the paper's recipe.
    let method = over "clae" (SimClr.comparison 0.5) (fun _ -> Head.perceptron id 64L) half 1.0 simClr

    /// Over Plain.
    let overPlain = over "clae-n-pair" plainComparison (fun _ -> Head.linear 128L) fifth 1.0 plain

    /// Over Plain as its code runs it: the first view passes through the clean batch norms once more.
    let overPlainAsPublished =
        let again = { Pass.train "again" [ "v1" ] clean with Learn = false }

        {
            overPlain with
                Name = overPlain.Name + ":as-published"
                Quirks =
                    overPlain.Quirks
                    |> Map.add "the clean statistics move twice" "the code passes the first view again"
                Step = { overPlain.Step with Passes = overPlain.Step.Passes @ [ again ] }
        }

    /// Over UEL.
    let overSpread = over "clae-uel" spreadComparison (fun _ -> Head.linear 128L) fifth 1.0 spread

    /// Over each other method that compares two views.
    let overOthers = [
        over "clae-moco-v2" (MoCo.comparison 0.2) (fun _ -> Head.mlp 128L) half 1.0 MoCo.method
        over "clae-byol" Siamese.byolComparison Siamese.byolHead half 1.0 Siamese.byol
        over "clae-simsiam" Siamese.simSiamComparison Siamese.simSiamHead half 1.0 Siamese.simSiam
        over
            "clae-barlow-twins"
            RedundancyReduction.barlowComparison
            (fun branches -> Head.expander branches 2 2048L 2048L false)
            half
            1.0
            RedundancyReduction.barlowTwins
        over
            "clae-vicreg"
            RedundancyReduction.vicRegComparison
            (fun branches -> Head.expander branches 2 2048L 2048L false)
            half
            1.0
            RedundancyReduction.vicReg
    ]
