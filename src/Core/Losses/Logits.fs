namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Checks that the losses of logits share.
[<RequireQualifiedAccess>]
module Logits =

    /// Refuses logits that are not floating point [n; k], and labels that do not fit them: int64 [n] from 0
    /// to k-1 is expected. The range is checked on the CPU alone; elsewhere the check would wait for the
    /// device.
    let labelled (name: string) (logits: Tensor) (labelsName: string) (labels: Tensor) =
        Shape.rank "n;k" name logits
        Shape.rank "n" labelsName labels

        if not (logits.is_floating_point ()) then
            invalidArg name (sprintf "floating point was expected, got %O." logits.dtype)

        if labels.dtype <> torch.ScalarType.Int64 then
            invalidArg labelsName (sprintf "%s must be int64, got %O." labelsName labels.dtype)

        if labels.shape[0] <> logits.shape[0] then
            invalidArg
                labelsName
                (sprintf "one label a row was expected: %d rows, %d labels." logits.shape[0] labels.shape[0])

        if labels.device_type = DeviceType.CPU then
            let classes = logits.shape[1]

            labels.data<int64>().ToArray()
            |> Array.iteri (fun row y ->
                if y < 0L || y >= classes then
                    invalidArg
                        labelsName
                        (sprintf "%s must lie in 0 .. %d, got %d in row %d." labelsName (classes - 1L) y row))

    /// The same logits in float32 at least.
    let widen (logits: Tensor) =
        match logits.dtype with
        | torch.ScalarType.Float16
        | torch.ScalarType.BFloat16 -> logits.``to`` torch.float32
        | _ -> logits.alias ()

    /// The largest of each row that is not the label's: [n; k], int64 [n] -> [n], k at least 2. The label's
    /// entry is replaced by minus infinity; a factor of 0 would make it the largest of a row below 0.
    let others (logits: Tensor) (labels: Tensor) =
        if logits.shape[1] < 2L then
            invalidArg
                (nameof logits)
                (sprintf "two classes or more were expected, got %s." (Shape.text logits))

        Scope.tensor (fun () ->
            let own = labels.unsqueeze 1L
            let nothing = System.Double.NegativeInfinity.ToScalar()
            let masked = torch.full_like (own, nothing, logits.dtype)
            logits.scatter(1L, own, masked).amax([| 1L |]))

    // Each row's other classes than the label, the likeliest first: int64 [n; k - 1].
    let internal rivals (logits: Tensor) (labels: Tensor) =
        Scope.tensor (fun () ->
            let own = labels.unsqueeze 1L
            let nothing = System.Double.NegativeInfinity.ToScalar()
            let others = logits.detach().scatter(1L, own, torch.full_like (own, nothing, logits.dtype))
            let struct (_, likeliest) = others.sort (1L, true, true)
            likeliest.narrow (1L, 0L, logits.shape[1] - 1L))
