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

/// Convolutions with zeros around, each the way that is fastest where it runs. What is chosen was measured: in
/// bfloat16 on a CPU, maps of a few pixels.
[<RequireQualifiedAccess>]
module Convolution =

    let private hasTiles = lazy (TorchEngine.Current.Devices() |> Seq.exists _.HasAmx)

    // Weights that nobody learns, so that they can be made ready once, with many channels.
    let private suitsFewer (weight: Tensor) (stride: int64) (padding: int64) =
        weight.dtype = torch.bfloat16
        && weight.is_cpu ()
        && not weight.requires_grad
        && weight.shape[3] = 3L
        && (stride, padding) = (1L, 1L)
        && min weight.shape[0] weight.shape[1] >= 128L

    /// How images x [n; c; h; w] are convolved with a weight [k; c; size; size].
    let way (x: Tensor) (weight: Tensor) (stride: int64) (padding: int64) =
        let size, height, width = weight.shape[3], x.shape[2], x.shape[3]
        let most = max height width

        if x.dtype <> torch.bfloat16 || not (x.is_cpu ()) || size = 1L || size <> 2L * padding + 1L then
            Convolving.Direct
        elif min height width >= 2L && most <= 4L && suitsFewer weight stride padding then
            Convolving.FewerProducts
        elif not hasTiles.Value then
            Convolving.Direct
        elif stride > 1L && most <= 4L * stride then
            Convolving.OneProduct
        elif width % stride = 0L && width / stride <= (if weight.requires_grad then 8L else 4L) then
            Convolving.SideBySide
        else
            Convolving.Direct

    /// The convolution of images x [n; c; h; w] with a weight [k; c; size; size] and a bias [k] or null. What
    /// many batches share is made of the weight once.
    let create (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) : Tensor -> Tensor =
        let ready = if suitsFewer weight stride padding then Some(Winograd.weight weight) else None

        fun x ->
            match way x weight stride padding, ready with
            | Convolving.FewerProducts, Some weight -> Winograd.conv2d x weight bias
            | Convolving.OneProduct, _ -> Im2col.conv2d x weight bias stride
            | Convolving.SideBySide, _ -> Montage.conv2d x weight bias stride
            | _ -> torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |])
