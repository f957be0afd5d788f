namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Losses of a classifier's logits, one value a sample. Attacks sum them, so that no sample's gradient
/// depends on how many others stand beside it.
[<RequireQualifiedAccess>]
module CrossEntropy =

    /// -log softmax(z)[y] in float32 at least: logits [n; k], labels int64 [n] in 0 .. k-1 -> [n]. What the
    /// logits are is not asked, since a classifier may forbid a class by -infinity.
    let perSample (logits: Tensor) (labels: Tensor) =
        Logits.labelled (nameof logits) logits (nameof labels) labels

        Scope.tensor (fun () ->
            torch.nn.functional.cross_entropy (
                Logits.widen logits,
                labels,
                reduction = torch.nn.Reduction.None
            ))

    /// The mean over samples, of which there is at least 1: 0-dim.
    let mean (logits: Tensor) (labels: Tensor) =
        if labels.numel () = 0L then invalidArg (nameof labels) "at least 1 sample was expected, got none."
        Scope.tensor (fun () -> (perSample logits labels).mean())
