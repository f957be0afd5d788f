namespace AdvContrast.Core

open TorchSharp

/// Losses of a classifier's logits, one value a sample. Attacks sum them, so that no sample's gradient
/// depends on how many others stand beside it.
[<RequireQualifiedAccess>]
module CrossEntropy =

    // Labels are looked at only on the CPU, as embeddings are.
    let private checkRange (classes: int64) (labels: Tensor) =
        if labels.is_cpu () then
            labels.data<int64>().ToArray()
            |> Array.iteri (fun row label ->
                if label < 0L || label >= classes then
                    let expected = sprintf "labels from 0 to %d were expected" (classes - 1L)
                    invalidArg (nameof labels) (sprintf "%s, row %d has %d." expected row label))

    /// -log softmax(z)[y] in float32 at least: logits [n; k], labels int64 [n] in 0 .. k-1 -> [n]. What the
    /// logits are is not asked, since a classifier may forbid a class by -infinity.
    let perSample (logits: Tensor) (labels: Tensor) =
        Logits.labelled (nameof logits) logits (nameof labels) labels

        if not (logits.is_floating_point ()) then
            invalidArg (nameof logits) (sprintf "floating point was expected, got %O." logits.dtype)

        if labels.dtype <> torch.int64 then
            invalidArg (nameof labels) (sprintf "int64 was expected, got %O." labels.dtype)

        checkRange logits.shape[1] labels

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
