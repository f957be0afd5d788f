namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The difference of logits ratio (Croce and Hein 2020, section 4): a margin over a spread of the same
/// logits, so that neither a constant added to them nor a factor above 0 changes it. One value a sample; the
/// gradient goes through the spread too. Where the leading logits tie the spread goes to 0 and the value is
/// as large as one likes.
[<RequireQualifiedAccess>]
module Dlr =

    // What keeps the spread of equal logits from dividing by 0.
    let private guard = 1e-12

    // The first few of each row, the largest first.
    let private leaders (count: int) (logits: Tensor) =
        if logits.shape[1] < int64 count then
            invalidArg
                (nameof logits)
                (sprintf "%d classes or more were expected, got %s." count (Shape.text logits))

        let struct (values, _) = logits.topk (count, 1)
        fun (place: int64) -> values.select (1L, place)

    let private at (labels: Tensor) (logits: Tensor) = logits.gather(1L, labels.unsqueeze 1L).squeeze 1L

    /// (max over k <> y of z_k, less z_y) / (z_1st - z_3rd): above 0 where the label has lost. In float32 at
    /// least. logits: [n; k], k at least 3; labels: int64 [n] in 0 .. k-1. Result [n].
    let perSample (logits: Tensor) (labels: Tensor) =
        Logits.labelled (nameof logits) logits (nameof labels) labels

        Scope.tensor (fun () ->
            let logits = Logits.widen logits
            let leader = leaders 3 logits
            (Logits.others logits labels - at labels logits) / (leader 0L - leader 2L + guard))

    /// (z_t - z_y) / (z_1st - (z_3rd + z_4th) / 2): what APGD-T raises to bring one other class t before the
    /// label. In float32 at least. logits: [n; k], k at least 4; labels, targets: int64 [n] in 0 .. k-1.
    /// Result [n].
    let targeted (logits: Tensor) (labels: Tensor) (targets: Tensor) =
        Logits.labelled (nameof logits) logits (nameof labels) labels
        Logits.labelled (nameof logits) logits (nameof targets) targets

        Scope.tensor (fun () ->
            let logits = Logits.widen logits
            let leader = leaders 4 logits
            let spread = leader 0L - (leader 2L + leader 3L) * 0.5
            (at targets logits - at labels logits) / (spread + guard))
