namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Adversarial invariant regularisation (Xu, Zhang, Liu, Sugiyama and Kankanhalli, NeurIPS 2023): ACL, or
/// DynACL without its momentum encoder, with two terms that make the likeness to the un-augmented image
/// independent of the augmentation.
[<RequireQualifiedAccess>]
module Air =

    let private clean, private adv = SimClr.clean, Branch "adv"

    let private citation =
        "Xu, Zhang, Liu, Sugiyama and Kankanhalli: Enhancing Adversarial Contrastive Learning via Adversarial Invariant Regularization, NeurIPS 2023"

    let private temperature = 0.5

    let private create name summary views (omega: Schedule) divergence quirks =
        let embedding = LossContext.embedding

        let loss scene =
            let x1, x2, o =
                embedding "clean" "v1" scene, embedding "clean" "v2" scene, embedding "clean" "o" scene
            let a1, a2 = embedding "adv" "a1" scene, embedding "adv" "a2" scene
            let contrasts =
                DynAcl.weighted
                    (omega.Run scene.Progress)
                    (InfoNce.ntXent temperature x1 x2)
                    (InfoNce.ntXent temperature a1 a2)

            contrasts * 2.0
            + (AirLoss.standardBy divergence temperature x1 x2 o
               + AirLoss.adversarialBy divergence temperature a1 a2 x1 x2 o)
              * 0.5

        {
            Acl.dualStream with
                Name = name
                Summary = summary
                Citation = citation
                Quirks = Map.ofList quirks
                Step = {
                    Step.create
                        (views @ Step.views [ "o", View.identity ])
                        [ Pass.train "clean" [ "v1"; "v2"; "o" ] clean; Pass.train "adv" [ "a1"; "a2" ] adv ]
                        "(1 - w) NTX(x1, x2) + (1 + w) NTX(a1, a2) + 1/2 SIR + 1/2 AIR, T = 0.5"
                        loss with
                        Adversaries = [ Acl.bothViews ]
                }
        }

    // omega is 2/3 of what the augmentation has lost.
    let private gain =
        Named.create (sprintf "2/3 of 1 - (%s)" DynAcl.strength.Text) (fun progress ->
            2.0 / 3.0 * (1.0 - DynAcl.strength.Run progress))

    let private steady = SimClr.twoViews (Acl.views 1.0), Schedule.constant 0.0
    let private dynamic = DynAcl.views, gain

    let private overAcl divergence name quirks =
        steady
        ||> fun views omega -> create name "ACL with invariance to augmentation" views omega divergence quirks

    let private overDynAcl divergence name quirks =
        dynamic
        ||> fun views omega ->
            let summary = "ACL with augmentation that weakens, and invariance to it"
            create name summary views omega divergence quirks

    /// Over ACL's dual stream.
    let method = overAcl AirLoss.proper "acl-air" []

    /// Over DynACL.
    let dynamicMethod = overDynAcl AirLoss.proper "dynacl-air" []

    /// DynACL-AIR with DynACL's post-processing.
    let plusPlus =
        DynAcl.refine
            "dynacl-air++"
            "DynACL-AIR, then TRADES with its clusters as classes"
            citation
            dynamicMethod
            (Gaussian 0.001)
            []

    let private quirks = [
        "the divergence takes a probability for a logarithm, of products that do not add up to 1",
        "as the code has it"
    ]

    /// The first two as their code computes them.
    let asPublished = [
        overAcl AirLoss.published "acl-air:as-published" quirks
        overDynAcl AirLoss.published "dynacl-air:as-published" quirks
    ]
