namespace AdvContrast.Core

/// Adversarial contrastive learning (Jiang, Chen, Chen and Wang, NeurIPS 2020).
[<RequireQualifiedAccess>]
module Acl =

    let private clean = SimClr.clean
    let private adv = Branch "adv"

    /// Dual stream: NT-Xent of two clean views through the clean batch norms, and of two adversarial views, made
    /// jointly to raise the latter, through the adversarial ones; half of each. The attack runs in eval mode on
    /// the adversarial branch and is not clipped to the pixel box before its first gradient.
    let dualStream =
        let temperature = 0.5
        let natural = SimClr.contrast temperature "clean" "v1" "v2"
        let adversarial = SimClr.contrast temperature "adv" "a1" "a2"

        {
            SimClr.method with
                Name = "acl-ds"
                Summary =
                    "contrast of two clean views and of two adversarial views, each with its own batch norms"
                Citation =
                    "Jiang, Chen, Chen and Wang: Robust Pre-Training by Adversarial Contrastive Learning, NeurIPS 2020"
                Branches = [ clean; adv ]
                Head = Head.acl [ clean; adv ]
                Step = {
                    Views =
                        View.compose [
                            Crop.randomResized 0.1
                            View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.1)
                            View.sometimes 0.2 Colour.grey
                        ]
                        |> SimClr.twoViews
                    Adversaries = [
                        {
                            Makes = [ "a1", "v1"; "a2", "v2" ]
                            Threat = Threat.create Linf (8.0 / 255.0)
                            Ascent = { Ascent.pgd 0.25 5 with Start = Uniform false }
                            Passes = [ Pass.eval "adv" [ "a1"; "a2" ] adv ]
                            Objective = adversarial
                        }
                    ]
                    Passes = [ Pass.train "clean" [ "v1"; "v2" ] clean; Pass.train "adv" [ "a1"; "a2" ] adv ]
                    Formula =
                        "1/2 [ NTX(F(x1; clean), F(x2; clean)) + NTX(F(x1 + d1; adv), F(x2 + d2; adv)) ], T = 0.5"
                    Loss = fun scene -> (natural scene + adversarial scene) * 0.5
                    Measures =
                        fun scene -> [
                            "clean", float ((natural scene).item<float32>())
                            "adversarial", float ((adversarial scene).item<float32>())
                        ]
                }
                Recipe = {
                    SimClr.method.Recipe with
                        Optimizer =
                            Transform.larsMomentum
                                (Schedule.warmUp 10 (Schedule.cosine 5.0 1e-6))
                                0.9
                                1e-3
                                1e-6
                }
                Deploy = Online, adv
        }
