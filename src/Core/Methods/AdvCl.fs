namespace AdvContrast.Core.Methods

open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// AdvCL (Fan, Liu, Chen, Zhang and Gan, NeurIPS 2021): two clean views, a high-frequency view and an attacked
/// image contrasted, and a second attacked image classified by clusters; with the asymmetric forms of
/// A-InfoNCE (Yu et al., ECCV 2022).
[<RequireQualifiedAccess>]
module AdvCl =

    let private clean, private adv, private ce = SimClr.clean, Branch "adv", Branch "adv-ce"
    let private temperature, private baseTemperature = 0.5, 0.07
    let private clusters = [ 2; 10; 50; 100; 500 ]
    let private cleanViews = [ "t1"; "t2"; "h" ]

    let private strong =
        View.compose [
            Crop.randomResized 0.2
            View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.1)
            View.sometimes 0.2 Colour.grey
        ]

    // The attacked images start from the same weak view that the high frequencies are taken from.
    let private views =
        Step.views [ "org", Crop.padded 4L; "t1", strong; "t2", strong ]
        @ [ { Name = "h"; Source = "org"; Make = fun _ -> Frequency.highPass 8.0 } ]

    /// The parts of a form of the contrast. The adaptive pull and the attack use it too.
    [<NoEquality; NoComparison>]
    type private Form = {
        /// The contrast of (adversarial, t1, t2, h), given the pull of this step.
        Contrast: LossContext -> Tensor list -> Tensor
        /// The objective of the attack.
        Attacked: Tensor list -> Tensor
        Memory: Memory
        /// Looks that only the memory needs.
        Looks: Pass list
    }

    let private embeddings adversarialPass view scene =
        LossContext.embedding adversarialPass view scene
        :: [ for clean in cleanViews -> LossContext.embedding clean clean scene ]

    // A fifth of the mean cross-entropy over the numbers of clusters.
    let private pseudo pass view scene =
        clusters
        |> List.map (fun k ->
            let name = PseudoLabels.label k
            CrossEntropy.mean (LossContext.head name pass view scene) (scene.Labels name))
        |> List.reduce (fun (a: Tensor) b -> a + b)
        |> fun sum -> sum * (0.2 / float clusters.Length)

    let private raising makes passes objective = {
        Makes = makes
        Threat = Threat.create Linf (8.0 / 255.0)
        Ascent = { GradientAttack.pgd 0.25 5 with Start = Uniform false }
        Passes = passes
        Objective = objective
        Leaks = false
    }

    // Attack passes are in train mode. In the published code they move the statistics of every branch, the
    // clean one's at each step; here only those of the attacked branches.
    let private attackPass (pass: Pass) = { pass with Learn = false }

    let private adversaries movesClean form =
        let looks =
            cleanViews |> List.map (fun v -> { attackPass (Pass.train v [ v ] clean) with Keep = movesClean })

        [
            raising [ "a", "org" ] (attackPass (Pass.train "moved" [ "a" ] adv) :: looks) (fun scene ->
                form.Attacked(embeddings "moved" "a" scene))
            raising [ "b", "org" ] [ attackPass (Pass.train "moved" [ "b" ] ce) ] (pseudo "moved" "b")
        ]

    let private advice =
        "the encoder whose features are clustered for pseudo-labels. The paper's was trained on ImageNet: whatever other images yours has seen, this run has seen too."

    let private create name summary citation formula rate epochs movesClean form = {
        SimClr.method with
            Name = name
            Summary = summary
            Citation = citation
            Quirks =
                Map [ "pseudo-labels bring in what their encoder has seen", "extra data, where it saw any" ]
            Before = [
                Stage.External("encoder", advice)
                Stage.Compute("pseudo-labels", PseudoLabels.stage "encoder" None clusters)
            ]
            Branches = [ clean; adv; ce ]
            Head =
                (Head.shared 128L, clusters)
                ||> List.fold (fun head k -> Head.both head (Head.classifier (PseudoLabels.label k) (Some k)))
            Step = {
                Step.create
                    views
                    ([ for v in cleanViews -> Pass.train v [ v ] clean ]
                     @ [ Pass.train "adv" [ "a" ] adv; Pass.train "ce" [ "b" ] ce ]
                     @ form.Looks)
                    (formula + " + 0.2 mean over K of CE(b, pseudo-K), T = 0.5")
                    (fun scene -> form.Contrast scene (embeddings "adv" "a" scene) + pseudo "ce" "b" scene) with
                    Adversaries = adversaries movesClean form
            }
            Memory = form.Memory
            Recipe = {
                SimClr.method.Recipe with
                    Optimizer =
                        Transform.sgd
                            (Schedule.riseFrom 0.01 10 (Schedule.cosine rate (rate * 1e-3)))
                            0.9
                            1e-4
                    Epochs = epochs
            }
            Deploy = Online, adv
    }

    // --- the forms

    let private similarity = Similarity.cosine temperature

    let private symmetric weight denominator =
        AdvClLoss.symmetric baseTemperature weight similarity denominator

    let private overwritten weight denominator =
        AdvClLoss.overwritten baseTemperature weight similarity denominator

    let private still contrast attacked = {
        Contrast = fun _ -> contrast
        Attacked = attacked
        Memory = Memory.none
        Looks = []
    }

    let private reals = [ "mean"; "count"; "pull" ]

    /// How far the clean side is pulled, by the mean distance d between the features of an image and of its
    /// attacked form: the least pull until an epoch, while the mean of d settles; after that the least where d
    /// is above that mean, 1/2 where it is below a bound, and along a line between.
    let pullAt (least: float) settles (bound: float) epoch (mean: float) (distance: float) =
        if epoch < settles || distance > mean then least
        elif distance < bound then 0.5
        else least + (0.5 - least) * (mean - distance) / (mean - bound)

    // Inferior positives whose pull adapts. The features compared are those of the clean branch.
    let private adaptive movesClean weight denominator attacked =
        let least, settles, bound = 0.2, 30, 0.4

        let distance scene =
            Scope.value (fun () ->
                let difference =
                    LossContext.features "look-a" "a" scene - LossContext.features "look-org" "org" scene
                (difference.square().sum(1L).sqrt().mean()).``to``(TorchSharp.torch.float64).item<float>())

        let pull scene =
            pullAt least settles bound scene.Progress.Epoch (LossContext.real "mean" scene) (distance scene)

        let after scene =
            if scene.Progress.Epoch >= settles then
                scene.Memory
            else
                let count, mean = LossContext.real "count" scene, LossContext.real "mean" scene

                scene.Memory
                |> Map.add "mean" (Leaf.Float((mean * count + distance scene) / (count + 1.0)))
                |> Map.add "count" (Leaf.Float(count + 1.0))

        let look name view = { Pass.train name [ view ] clean with Learn = false; Keep = movesClean }

        {
            Contrast =
                fun scene views ->
                    let inferior = { Pull = pull scene; Weight = weight }
                    AdvClLoss.asymmetric baseTemperature inferior similarity denominator views
            Attacked = attacked
            Memory = {
                Init = fun _ _ -> Map [ for name in reals[..1] -> name, Leaf.Float 0.0 ]
                After = after
            }
            Looks = [ look "look-org" "org"; look "look-a" "a" ]
        }

    let private paper =
        "Fan, Liu, Chen, Zhang and Gan: When Does Contrastive Learning Preserve Adversarial Robustness, NeurIPS 2021"

    let private asymmetric =
        "Yu, Lou, Zhan, Li, Zuo, Liu and Liu: Adversarial Contrastive Learning via Asymmetric InfoNCE, ECCV 2022"

    let private hard prior = HardNegatives.create 1.0 prior

    /// AdvCL by its own recipe.
    let method =
        create
            "advcl"
            "contrast of an attacked image and three clean views, and its clusters"
            paper
            "1/(0.14 * 4N) sum of all pairs of (a, x1, x2, h), each anchor's mean"
            0.5
            1000
            false
            (still (symmetric 1.0 AllOthers) (symmetric 1.0 AllOthers))

    // A-InfoNCE's three forms by the recipes for CIFAR-10: contrasts with and without the stop-gradient.
    let private forms movesClean contrast hard =
        let ip = "the attacked image as inferior positive (adaptive pull)"

        [
            create
                "a-infonce-ip"
                ("AdvCL with " + ip)
                asymmetric
                "AdvCL's with 1.2 [ alpha l(x -> a) + (1 - alpha) l(a -> x) ], anchors alone drawn"
                1.0
                400
                movesClean
                (adaptive movesClean 1.2 AllOthers (contrast 1.2 AllOthers))
            create
                "a-infonce-hn"
                "AdvCL with hard negatives"
                asymmetric
                "AdvCL's over hard negatives (beta 1, tau+ 0.12)"
                1.2
                400
                movesClean
                // The attack of this form uses plain negatives.
                (still (contrast 1.0 (Hard(hard 0.12))) (contrast 1.0 AllOthers))
            create
                "a-infonce-ip-hn"
                (sprintf "AdvCL with %s, over hard negatives" ip)
                asymmetric
                "AdvCL's with 0.7 [ alpha l(x -> a) + (1 - alpha) l(a -> x) ] over hard negatives (beta 1, tau+ 0.1)"
                2.0
                400
                movesClean
                (adaptive movesClean 0.7 (Hard(hard 0.1)) (contrast 0.7 AllOthers))
        ]

    /// A-InfoNCE's inferior positives, hard negatives, and both.
    let asymmetricMethods = forms false symmetric hard

    /// The same as their code computes them.
    let asPublished =
        let hardAsPublished prior = {
            hard prior with
                MeansByColumn = true
                DenominatorOfPositive = true
                Floor = Some(1.0 / temperature - 2.0)
        }

        forms true overwritten hardAsPublished
        |> List.map (fun m ->
            let hardOnes = [
                if m.Name.EndsWith "hn" then
                    "hard negatives by the mean weight of a column's row, a pair's denominator its positive's, the floor e^2 too high",
                    "as the code has it"
            ]

            {
                m with
                    Name = m.Name + ":as-published"
                    Quirks =
                        (m.Quirks,
                         ("without the stop-gradient the pair (clean, attacked) is overwritten, in the attack too",
                          "as the code has it")
                         :: ("attacks and looks move the clean branch's statistics", "as the code has it")
                         :: hardOnes)
                        ||> List.fold (fun quirks (name, why) -> Map.add name why quirks)
            })
