namespace AdvContrast.Core.Foundation

open TorchSharp
open AdvContrast.Core

/// Tensors read as numbers of .NET.
[<RequireQualifiedAccess>]
module internal TensorStats =

    let floats (x: Tensor) =
        Scope.value (fun () -> x.detach().``to``(torch.float64).cpu().contiguous().data<float>().ToArray())

    /// The largest of them; NaN where one is NaN.
    let largest (x: Tensor) = Scope.value (fun () -> x.detach().max().``to``(torch.float64).item<float>())

    /// The smallest of them; NaN where one is NaN.
    let smallest (x: Tensor) = Scope.value (fun () -> x.detach().min().``to``(torch.float64).item<float>())

    /// 0 for none.
    let mean (values: float[]) = if values.Length = 0 then 0.0 else Array.average values

    /// The share of values for which something holds; 0 for none.
    let share (holds: 'a -> bool) (values: 'a[]) =
        mean (values |> Array.map (fun value -> if holds value then 1.0 else 0.0))
