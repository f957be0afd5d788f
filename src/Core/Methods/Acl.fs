namespace AdvContrast.Core.Methods

open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Adversarial contrastive learning (Jiang, Chen, Chen and Wang, NeurIPS 2020) in its four forms. DS, the one
/// that the paper recommends, is as its authors' code has it; S2S, A2A and A2S have no published code, and
/// their losses and batch norms are as the paper's section 3 describes them.
[<RequireQualifiedAccess>]
module Acl =

    let private clean = SimClr.clean
    let private adv = Branch "adv"
    let private contrast = SimClr.contrast 0.5

    /// Crop and flip, jitter, grey; at strength 1 as ACL has them, at 0 nothing but the flip (DynACL's scale;
    /// Luo, Wang and Wang 2023, section 4.1).
    let views (strength: float) =
        let s = strength

        View.compose [
            Crop.randomResized (1.0 - 0.9 * s)
            View.sometimes (0.8 * s) (Colour.jitter (0.4 * s) (0.4 * s) (0.4 * s) (0.1 * s))
            View.sometimes (0.2 * s) Colour.grey
        ]

    /// PGD-5 within 8/255, not clipped to the pixel box before its first gradient: new views, each with the
    /// view it starts from, raised jointly.
    let attack makes passes objective = {
        Makes = makes
        Threat = Threat.create Linf (8.0 / 255.0)
        Ascent = { GradientAttack.pgd 0.25 5 with Start = Uniform false }
        Passes = passes
        Objective = objective
        Leaks = false
    }

    // Both views attacked jointly, through the adversarial batch norms in eval mode.
    let private bothViewsBy contrast =
        attack
            [ "a1", "v1"; "a2", "v2" ]
            [ Pass.eval "adv" [ "a1"; "a2" ] adv ]
            (contrast "adv" "a1" "adv" "a2")

    /// The adversary of A2A and DS: NT-Xent of both views raised jointly.
    let bothViews = bothViewsBy contrast

    let private create name summary branches deployed adversaries passes formula loss = {
        SimClr.method with
            Name = name
            Summary = summary
            Citation =
                "Jiang, Chen, Chen and Wang: Robust Pre-Training by Adversarial Contrastive Learning, NeurIPS 2020"
            Branches = branches
            Head = Head.acl branches
            Step = {
                Step.create (SimClr.twoViews (views 1.0)) passes (formula + ", T = 0.5") loss with
                    Adversaries = adversaries
            }
            Recipe = {
                SimClr.method.Recipe with
                    Optimizer =
                        Transform.larsMomentum (Schedule.warmUp 10 (Schedule.cosine 5.0 1e-6)) 0.9 1e-3 1e-6
            }
            Deploy = Online, deployed
    }

    let private naturalPass = Pass.train "clean" [ "v1"; "v2" ] clean
    let private natural = contrast "clean" "v1" "clean" "v2"
    let private adversarialPass = Pass.train "adv" [ "a1"; "a2" ] adv
    let private adversarial = contrast "adv" "a1" "adv" "a2"

    /// Standard to standard: SimCLR with ACL's views, head and recipe; the paper's baseline.
    let standard =
        create
            "acl-s2s"
            "contrast of two clean views, by ACL's recipe"
            [ clean ]
            clean
            []
            [ naturalPass ]
            "NTX(F(x1), F(x2))"
            natural

    /// Adversarial to adversarial: both views are attacked jointly, and nothing else is learnt from.
    let adversarialToAdversarial =
        create
            "acl-a2a"
            "contrast of two adversarial views"
            [ adv ]
            adv
            [ bothViews ]
            [ adversarialPass ]
            "NTX(F(x1 + d1), F(x2 + d2))"
            adversarial

    /// Adversarial to standard: the first view is attacked against the second, which stays clean; each has
    /// its own batch norms.
    let adversarialToStandard =
        let loss = contrast "adv" "a1" "clean" "v2"

        create
            "acl-a2s"
            "contrast of an adversarial and a clean view, each with its own batch norms"
            [ clean; adv ]
            adv
            [ attack [ "a1", "v1" ] [ Pass.eval "adv" [ "a1" ] adv; Pass.eval "clean" [ "v2" ] clean ] loss ]
            [ Pass.train "adv" [ "a1" ] adv; Pass.train "clean" [ "v2" ] clean ]
            "NTX(F(x1 + d; adv), F(x2; clean))"
            loss

    let private dualStreamBy contrast =
        let natural: Loss = contrast "clean" "v1" "clean" "v2"
        let adversarial: Loss = contrast "adv" "a1" "adv" "a2"

        let method =
            create
                "acl-ds"
                "contrast of two clean views and of two adversarial views, each with its own batch norms"
                [ clean; adv ]
                adv
                [ bothViewsBy contrast ]
                [ naturalPass; adversarialPass ]
                "1/2 [ NTX(F(x1; clean), F(x2; clean)) + NTX(F(x1 + d1; adv), F(x2 + d2; adv)) ]"
                (fun scene -> (natural scene + adversarial scene) * 0.5)

        let measures scene = [
            "clean", float ((natural scene).item<float32>())
            "adversarial", float ((adversarial scene).item<float32>())
        ]

        { method with Step = { method.Step with Measures = measures } }

    /// Dual stream: NT-Xent of two clean views through the clean batch norms, and of two adversarial views,
    /// made jointly to raise the latter, through the adversarial ones; half of each.
    let dualStream = dualStreamBy contrast

    /// The same with the denominator as the code computes it.
    let dualStreamAsPublished =
        let published pass1 view1 pass2 view2 : Loss =
            fun scene ->
                InfoNce.ofViews (Similarity.cosine 0.5) AllLessConstant [ 0, 1, 1.0; 1, 0, 1.0 ] [
                    LossContext.embedding pass1 view1 scene
                    LossContext.embedding pass2 view2 scene
                ]

        {
            dualStreamBy published with
                Name = "acl-ds:as-published"
                Quirks =
                    Map [
                        "self-similarity is subtracted as exp(1/T) in single precision", "as the code has it"
                    ]
        }
