namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// How far logits are over the border between a label and the nearest other class (Carlini and Wagner 2017,
/// section V.A), one value a sample. It does not saturate where softmax does.
[<RequireQualifiedAccess>]
module Margin =

    /// max over k <> y of z_k, less z_y: above 0 where the label has lost. In float32 at least.
    /// logits: [n; k], k at least 2; labels: int64 [n] in 0 .. k-1. Result [n].
    let perSample (logits: Tensor) (labels: Tensor) =
        Logits.labelled (nameof logits) logits (nameof labels) labels

        Scope.tensor (fun () ->
            let logits = Logits.widen logits
            Logits.others logits labels - logits.gather(1L, labels.unsqueeze 1L).squeeze 1L)

    /// z_t, less max over k <> t of z_k: above 0 where the target has won. Otherwise as <c>perSample</c>.
    let targeted (logits: Tensor) (targets: Tensor) =
        Logits.labelled (nameof logits) logits (nameof targets) targets
        Scope.tensor (fun () -> (perSample logits targets).neg())
