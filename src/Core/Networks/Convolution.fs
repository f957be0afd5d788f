namespace AdvContrast.Core

open AdvContrast.Torch.Engine
open TorchSharp

/// How a convolution is computed: the same sums each way.
[<RequireQualifiedAccess>]
type Convolving =
    /// By libtorch's conv2d.
    | Direct
    /// Images laid side by side (Montage).
    | SideBySide
    /// One product of matrices (Im2col).
    | OneProduct
    /// Fewer products (Winograd).
    | FewerProducts
    /// Pixel by pixel (Pointwise).
    | ByPixels
    /// By conv2d, and the gradient in the images by conv2d too (Adjoint).
    | ThereAndBack

/// Convolutions with zeros around, each the way that is fastest where it runs: in bfloat16 on a CPU, as measured
/// by bench/convolutions.fsx.
[<RequireQualifiedAccess>]
module Convolution =

    let private hasTiles = lazy (TorchEngine.Current.Devices() |> Seq.exists _.HasAmx)

    // In libtorch 2.6, with oneDNN 3.6, gradients in images are as fast as convolutions.
    let private hasSlowGradients =
        lazy (TorchEngine.Current.LibTorch.Version.StartsWith("1.", System.StringComparison.Ordinal))

    // Weights that nobody learns, so that what a way makes of them it makes once.
    let private isFixed (weight: Tensor) =
        weight.dtype = torch.bfloat16 && weight.is_cpu () && not weight.requires_grad

    // With many channels.
    let private suitsFewer (weight: Tensor) (stride: int64) (padding: int64) =
        isFixed weight
        && weight.shape[3] = 3L
        && (stride, padding) = (1L, 1L)
        && min weight.shape[0] weight.shape[1] >= 128L

    // With channels enough; by a stride it takes more of them.
    let private suitsBack (weight: Tensor) (stride: int64) =
        isFixed weight
        && hasSlowGradients.Value
        && min weight.shape[0] weight.shape[1] >= (if stride = 1L then 16L else 64L)

    /// How images x [n; c; h; w] are convolved with a weight [k; c; size; size], by a stride, with so many zeros
    /// around.
    let way (x: Tensor) (weight: Tensor) (stride: int64) (padding: int64) =
        let size, height, width = weight.shape[3], x.shape[2], x.shape[3]
        let most = max height width

        if x.dtype <> torch.bfloat16 || not (x.is_cpu ()) || size <> 2L * padding + 1L then
            Convolving.Direct
        elif min height width >= 2L && most <= 4L && suitsFewer weight stride padding then
            Convolving.FewerProducts
        elif not hasTiles.Value then
            Convolving.Direct
        elif size = 1L then
            if stride > 1L then Convolving.ByPixels else Convolving.Direct
        elif stride > 1L && most <= 4L * stride then
            Convolving.OneProduct
        elif width % stride = 0L && width / stride <= (if weight.requires_grad then 8L else 4L) then
            Convolving.SideBySide
        elif suitsBack weight stride then
            Convolving.ThereAndBack
        else
            Convolving.Direct

    /// The convolution of images x [n; c; h; w] with a weight [k; c; size; size] and a bias [k] or null, by a
    /// stride, with so many zeros around. What many batches share is made of the weight once.
    let create (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) : Tensor -> Tensor =
        let fewer = Scope.later (fun () -> Winograd.weight weight)
        let back = Scope.later (fun () -> Adjoint.weight weight stride)

        let direct (x: Tensor) =
            torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |])

        fun x ->
            match way x weight stride padding with
            | Convolving.FewerProducts -> Winograd.conv2d x fewer.Value bias
            | Convolving.OneProduct -> Im2col.conv2d x weight bias stride
            | Convolving.ByPixels -> Pointwise.conv2d x weight bias stride
            | Convolving.SideBySide -> Montage.conv2d x weight bias stride
            | Convolving.ThereAndBack ->
                let height, width = x.shape[2], x.shape[3]
                let adjoint gradient = Adjoint.conv2d gradient back.Value weight.shape[3] stride height width
                TorchEngine.Current.WithAdjoint(x, direct, adjoint)
            | Convolving.Direct -> direct x
