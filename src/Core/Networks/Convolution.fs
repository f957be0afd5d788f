namespace AdvContrast.Core.Networks

open System.Collections.Concurrent
open System.Threading
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The parameters that select libtorch's kernel for a convolution of square kernels with zero padding.
type ConvolutionCase = {
    Channels: int64
    Height: int64
    Width: int64
    Outputs: int64
    Size: int64
    Stride: int64
    Padding: int64
    /// <c>"float32"</c> or <c>"bfloat16"</c>, or another type's name in PyTorch.
    DType: string
    ChannelsLast: bool
}

/// Square convolutions and linear maps in the number format of their weight.
[<RequireQualifiedAccess>]
module Convolution =

    // libtorch 2.10 computes bfloat16 convolutions of so few channels by another kernel on CPUs: its gradients in
    // the images are off by up to 20 % and differ from call to call.
    let private fewChannels = 2L

    /// A weight of a convolution [k; c; h; w] or of a linear map [k; c], or a bias, in bfloat16; weights of
    /// convolutions of one or two input channels stay in float32.
    let lower (weight: Tensor) =
        if weight.shape.Length = 4 && weight.shape[1] <= fewChannels then
            weight.alias ()
        else
            weight.``to`` torch.bfloat16

    /// The input of a linear operation in the number format of its weight.
    let internal input (weight: Tensor) (x: Tensor) =
        if x.dtype = weight.dtype then x.alias () else x.``to`` weight.dtype

    // On CPUs libtorch 2.10's kernels of one pixel give wrong values for some shapes and end the process for others
    // (pytorch/pytorch#177227), so the pixels are the rows of one matrix.
    let private onePixel (stride: int64) (weight: Tensor) (bias: Tensor) (x: Tensor) =
        let pixels = x.permute (0L, 2L, 3L, 1L)
        let used = pixels.slice(1L, 0L, pixels.shape[1], stride).slice(2L, 0L, pixels.shape[2], stride)
        let y = torch.nn.functional.linear (used.reshape (-1L, used.shape[3]), weight.flatten 1L, bias)
        y.view(used.shape[0], used.shape[1], used.shape[2], -1L).permute(0L, 3L, 1L, 2L)

    let internal outputLength (size: int64) (stride: int64) (padding: int64) (length: int64) =
        (length + 2L * padding - size) / stride + 1L

    /// The convolution by libtorch's own kernel for it.
    let internal direct (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) (x: Tensor) =
        torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |])

    /// The convolution as a product of matrices (im2col; Chellapilla, Puri and Simard 2006), for cases where
    /// libtorch's kernel is wrong.
    let internal byMatrix (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) (x: Tensor) =
        let size = weight.shape[2]
        let outcome length = outputLength size stride padding length
        let columns = torch.nn.functional.unfold (x, size, 1L, padding, stride)
        let y = (weight.flatten 1L).matmul columns
        let y = y.view (x.shape[0], -1L, outcome x.shape[2], outcome x.shape[3])
        if isNull bias then y else y + bias.view (-1L, 1L, 1L)

    let private caseOf stride padding (weight: Tensor) (x: Tensor) = {
        Channels = x.shape[1]
        Height = x.shape[2]
        Width = x.shape[3]
        Outputs = weight.shape[0]
        Size = weight.shape[2]
        Stride = stride
        Padding = padding
        DType = (string x.dtype).ToLowerInvariant()
        ChannelsLast = not (x.is_contiguous ())
    }

    // Cases that KernelCheck has found wrong in this process.
    let private wrong = ConcurrentDictionary<ConvolutionCase, unit>()

    let private observer = new ThreadLocal<ResizeArray<ConvolutionCase>>()

    /// From now on this case is computed by byMatrix.
    let internal replace (case: ConvolutionCase) = wrong[case] <- ()

    /// The cases that a computation on this thread hands to libtorch's convolution kernels on a CPU.
    let internal casesOf (compute: unit -> unit) : ConvolutionCase list =
        observer.Value <- ResizeArray()

        try
            compute ()
            observer.Value |> Seq.distinct |> List.ofSeq
        finally
            observer.Value <- null

    let private byKernel stride padding (weight: Tensor) bias (x: Tensor) =
        if not (isNull observer.Value) then observer.Value.Add(caseOf stride padding weight x)

        if not wrong.IsEmpty && wrong.ContainsKey(caseOf stride padding weight x) then
            byMatrix stride padding weight bias x
        else
            direct stride padding weight bias x

    // Whether the images have one pixel and so has the result: only one tap of the kernel meets it. Of such a
    // bfloat16 convolution with a stride, libtorch 2.10 leaves parts of the weight's gradient unwritten on CPUs.
    let private isOneTap stride padding (weight: Tensor) (x: Tensor) =
        let size = weight.shape[2]

        x.shape[2] = 1L && x.shape[3] = 1L && padding < size && outputLength size stride padding 1L = 1L

    /// A convolution with zero padding.
    /// x: images [n; c; h; w]; weight: [k; c; size; size]; bias: [k] in the weight's number format, or null.
    /// Gives [n; k; h'; w'] in the weight's number format.
    let conv2d (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let x = input weight x

            if not (x.is_cpu ()) then
                direct stride padding weight bias x
            elif weight.shape[2] = 1L && padding = 0L then
                onePixel stride weight bias x
            elif isOneTap stride padding weight x then
                onePixel 1L (weight.narrow(2L, padding, 1L).narrow(3L, padding, 1L)) bias x
            else
                byKernel stride padding weight bias x)

    /// A linear map: x [n; c], weight [k; c], bias [k] or null -> [n; k] in the weight's number format.
    let linear (weight: Tensor) (bias: Tensor) (x: Tensor) =
        Scope.tensor (fun () -> torch.nn.functional.linear (input weight x, weight, bias))
