namespace AdvContrast.Core.Foundation

open System.Threading
open TorchSharp
open AdvContrast.Core

/// Gradients of a value.
[<RequireQualifiedAccess>]
module Autograd =

    let mutable private withoutHandle = 0L

    /// The gradient of a value, a tensor of one number, in each input; None where the value does not depend on it.
    /// keepGraph: whether the graph is kept for another backward pass.
    let grad keepGraph (value: Tensor) (inputs: Tensor seq) : Tensor option list =
        torch.autograd.grad (
            ResizeArray [ value ],
            ResizeArray inputs,
            retain_graph = keepGraph,
            allow_unused = true
        )
        |> Seq.map (fun gradient ->
            if gradient.IsInvalid then
                Interlocked.Increment &withoutHandle |> ignore
                None
            else
                Some gradient)
        |> List.ofSeq

    /// Tensors of this process that have not been freed. TorchSharp counts the gradients that do not exist as
    /// tensors and never takes them off its count again; here they are taken off.
    let liveTensors () = Tensor.TotalCount - Interlocked.Read &withoutHandle
