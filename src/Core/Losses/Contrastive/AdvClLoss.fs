namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// AdvCL's contrast of an adversarial and several clean views (Fan et al. 2021) and the asymmetric
/// forms that A-InfoNCE gives it (Yu et al. 2022).
[<RequireQualifiedAccess>]
module AdvClLoss =

    let private mean (views: Tensor list) similarity denominator between =
        // Each anchor has one pair with every other view: their mean.
        let share = 1.0 / float (views.Length - 1)
        let between = between |> List.map (fun (from, into, weight) -> from, into, weight * share)
        InfoNce.ofViews similarity denominator between views

    let private cleanViews (views: Tensor list) = [ 1 .. views.Length - 1 ]

    /// Both directions of every pair, those of the adversarial view times a weight; the mean over the pairs of
    /// an anchor, then over anchors, times T/baseTemperature (0.07 as published).
    ///
    /// views: the adversarial one first, then two clean ones or more, each [b; d], raw embeddings, b at least
    /// 2. Result 0-dim.
    let symmetric baseTemperature weight similarity denominator (views: Tensor list) =
        Shape.positive (nameof baseTemperature) baseTemperature
        let clean = cleanViews views
        let adversarial = clean |> List.collect (fun c -> [ c, 0, weight; 0, c, weight ])

        Scope.tensor (fun () ->
            mean views similarity denominator (Pairs.every 1.0 clean @ adversarial)
            * (similarity.Temperature / baseTemperature))

    /// What A-InfoNCE's published code makes of the symmetric form: the pair (clean, adversarial) is
    /// overwritten by (adversarial, clean) times the weight once more.
    let overwritten baseTemperature (weight: float) similarity denominator (views: Tensor list) =
        Shape.positive (nameof baseTemperature) baseTemperature
        let clean = cleanViews views
        let adversarial = clean |> List.map (fun c -> 0, c, weight + weight * weight)

        Scope.tensor (fun () ->
            mean views similarity denominator (Pairs.every 1.0 clean @ adversarial)
            * (similarity.Temperature / baseTemperature))

    /// Inferior positives: in a pair with the adversarial view only the anchor gets a gradient, and the clean
    /// anchor's term counts alpha, the adversarial anchor's 1 - alpha; both stand for two directions. Pairs of
    /// clean views are as in the symmetric form.
    ///
    /// views: as for the symmetric form. Result 0-dim.
    let asymmetric baseTemperature inferior similarity denominator (views: Tensor list) =
        Shape.positive (nameof baseTemperature) baseTemperature
        let clean = cleanViews views
        let drawn = 2.0 * inferior.Weight * inferior.Pull
        let drawing = 2.0 * inferior.Weight * (1.0 - inferior.Pull)
        let adversarial = clean |> List.collect (fun c -> [ c, 0, drawn; 0, c, drawing ])

        Scope.tensor (fun () ->
            (mean views similarity denominator (Pairs.every 1.0 clean)
             + mean views { similarity with CandidateShare = 0.0 } denominator adversarial)
            * (similarity.Temperature / baseTemperature))
