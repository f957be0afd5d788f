namespace AdvContrast.Core.Methods

open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Attacks

/// DynACL (Luo, Wang and Wang, ICLR 2023): ACL whose augmentation weakens during training, while the
/// adversarial contrast gains weight, and whose second view passes through a momentum encoder.
[<RequireQualifiedAccess>]
module DynAcl =

    let private clean, private adv = SimClr.clean, Branch "adv"
    let private slow = "slow"
    let private citation =
        "Luo, Wang and Wang: Rethinking the Effect of Data Augmentation in Adversarial Contrastive Learning, ICLR 2023"

    /// Strength of the augmentation: from 1 towards 0, in blocks of 50 epochs.
    let strength = Schedule.refreshed 50 (Schedule.linear 1.0 0.0)

    /// What the adversarial contrast gains and the clean one loses, omega: from 0 towards 2/3, in blocks of
    /// epochs that begin one epoch early.
    let gain epochsABlock =
        Schedule.ahead 1 (Schedule.refreshed epochsABlock (Schedule.linear 0.0 (2.0 / 3.0)))

    /// Two views whose augmentation weakens.
    let views: ViewSpec list =
        [ "v1"; "v2" ]
        |> List.map (fun name -> {
            Name = name
            Source = "image"
            Make = fun progress -> Acl.views (strength.Run progress)
        })

    /// 1/2 [ (1 - omega) clean + (1 + omega) adversarial ].
    let weighted (omega: float) (clean: Tensor) (adversarial: Tensor) =
        Scope.tensor (fun () -> (clean * (1.0 - omega) + adversarial * (1.0 + omega)) * 0.5)

    // The first view through the network in training, the second through its average, which has batch norms
    // of its own.
    let private pair name view1 view2 branch = [
        Pass.train name [ view1 ] branch
        Pass.train (name + "-slow") [ view2 ] branch |> Pass.by (Average slow)
    ]

    let private inEval (pass: Pass) = Pass.look { pass with Call = { pass.Call with Mode = Eval } }
    let private contrast name view1 view2 = SimClr.contrast 0.5 name view1 (name + "-slow") view2
    let private omega = gain 50

    let method =
        let natural, adversarial = contrast "clean" "v1" "v2", contrast "adv" "a1" "a2"

        {
            Acl.dualStream with
                Name = "dynacl"
                Summary = "ACL with augmentation that weakens, against a momentum encoder's views"
                Citation = citation
                Averages = [ { Name = slow; Decay = Schedule.constant 0.99; Statistics = Own; Lags = true } ]
                Step = {
                    Step.create
                        views
                        (pair "clean" "v1" "v2" clean @ pair "adv" "a1" "a2" adv)
                        "1/2 [ (1 - w) NTX(q(x1; clean), k(x2; clean)) + (1 + w) NTX(q(a1; adv), k(a2; adv)) ], T = 0.5"
                        (fun scene -> weighted (omega.Run scene.Progress) (natural scene) (adversarial scene)) with
                        Adversaries = [
                            Acl.attack
                                [ "a1", "v1"; "a2", "v2" ]
                                (pair "adv" "a1" "a2" adv |> List.map inEval)
                                (contrast "adv" "a1" "a2")
                        ]
                }
                Recipe = {
                    Acl.dualStream.Recipe with
                        Optimizer =
                            Transform.larsMomentum
                                (Schedule.perEpoch (Schedule.warmUp 10 (Schedule.cosine 5.0 1e-6)))
                                0.9
                                1e-3
                                1e-6
                }
                Deploy = Average slow, adv
        }

    /// DynACL's post-processing of an encoder (section 4.3): k-means of its clean features, then a linear
    /// layer and after it all weights trained with the clusters as classes; the classifier is dropped.
    let refine name summary citation (encoder: Method) start quirks =
        let classes = 10
        let labels = PseudoLabels.label classes

        {
            Supervised.trades "linear" labels classes start with
                Name = name
                Summary = summary
                Citation = citation
                Quirks = Map.ofList quirks
                Before = [
                    Stage.Train("encoder", encoder)
                    Stage.Compute("clusters", PseudoLabels.stage "encoder" (Some clean) [ classes ])
                    Stage.Train("linear", Supervised.linearProbe "encoder" labels classes)
                ]
        }

    let private withClusters = "DynACL, then TRADES with its clusters as classes"

    /// DynACL++.
    let plusPlus = refine "dynacl++" withClusters citation method (Gaussian 0.001) []

    /// DynACL++ as its code has it: the attack starts where its gradient is 0.
    let plusPlusAsPublished =
        refine "dynacl++:as-published" withClusters citation method AtInput [
            "the attack starts from the image itself", "the first step follows rounding, as in the code"
        ]
