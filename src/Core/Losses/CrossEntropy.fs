namespace AdvContrast.Core

open TorchSharp

/// Losses of a classifier's logits, one value a sample. Attacks sum them, so that no sample's gradient
/// depends on how many others stand beside it.
[<RequireQualifiedAccess>]
module CrossEntropy =

    /// -log softmax(z)[y] in float32 at least: logits [n; k], labels int64 [n] in 0 .. k-1 -> [n].
    let perSample (logits: Tensor) (labels: Tensor) =
        Shape.rank "n;k" (nameof logits) logits
        Shape.rank "n" (nameof labels) labels

        if labels.shape[0] <> logits.shape[0] then
            invalidArg
                (nameof labels)
                (sprintf "one label a row was expected: %d rows, %d labels." logits.shape[0] labels.shape[0])

        Scope.tensor (fun () ->
            let logits =
                match logits.dtype with
                | torch.ScalarType.Float16
                | torch.ScalarType.BFloat16 -> logits.``to`` torch.float32
                | _ -> logits

            torch.nn.functional.cross_entropy (logits, labels, reduction = torch.nn.Reduction.None))

    /// The mean over samples: 0-dim.
    let mean (logits: Tensor) (labels: Tensor) = Scope.tensor (fun () -> (perSample logits labels).mean())
