namespace AdvContrast.Core

/// Adversarial contrastive learning (Jiang, Chen, Chen and Wang, NeurIPS 2020) in its four forms. DS, the one
/// that the paper recommends, is as its authors' code has it; S2S, A2A and A2S have no published code, and
/// their losses and batch norms are as the paper's section 3 describes them.
[<RequireQualifiedAccess>]
module Acl =

    let private clean = SimClr.clean
    let private adv = Branch "adv"
    let private contrast = SimClr.contrast 0.5

    let private views =
        View.compose [
            Crop.randomResized 0.1
            View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.1)
            View.sometimes 0.2 Colour.grey
        ]

    // PGD-5 within 8/255 in eval mode, not clipped to the pixel box before its first gradient.
    let private adversary makes passes objective = {
        Makes = makes
        Threat = Threat.create Linf (8.0 / 255.0)
        Ascent = { Ascent.pgd 0.25 5 with Start = Uniform false }
        Passes = passes
        Objective = objective
        Leaks = false
    }

    // Both views attacked jointly, through the adversarial batch norms.
    let private bothViews =
        let objective = contrast "adv" "a1" "adv" "a2"
        adversary [ "a1", "v1"; "a2", "v2" ] [ Pass.eval "adv" [ "a1"; "a2" ] adv ] objective

    let private create name summary branches deployed adversaries passes formula loss = {
        SimClr.method with
            Name = name
            Summary = summary
            Citation =
                "Jiang, Chen, Chen and Wang: Robust Pre-Training by Adversarial Contrastive Learning, NeurIPS 2020"
            Branches = branches
            Head = Head.acl branches
            Step = {
                Step.create (SimClr.twoViews views) passes (formula + ", T = 0.5") loss with
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
            [
                adversary
                    [ "a1", "v1" ]
                    [ Pass.eval "adv" [ "a1" ] adv; Pass.eval "clean" [ "v2" ] clean ]
                    loss
            ]
            [ Pass.train "adv" [ "a1" ] adv; Pass.train "clean" [ "v2" ] clean ]
            "NTX(F(x1 + d; adv), F(x2; clean))"
            loss

    /// Dual stream: NT-Xent of two clean views through the clean batch norms, and of two adversarial views,
    /// made jointly to raise the latter, through the adversarial ones; half of each.
    let dualStream =
        let method =
            create
                "acl-ds"
                "contrast of two clean views and of two adversarial views, each with its own batch norms"
                [ clean; adv ]
                adv
                [ bothViews ]
                [ naturalPass; adversarialPass ]
                "1/2 [ NTX(F(x1; clean), F(x2; clean)) + NTX(F(x1 + d1; adv), F(x2 + d2; adv)) ]"
                (fun scene -> (natural scene + adversarial scene) * 0.5)

        let measures scene = [
            "clean", float ((natural scene).item<float32>())
            "adversarial", float ((adversarial scene).item<float32>())
        ]

        { method with Step = { method.Step with Measures = measures } }
