namespace AdvContrast.Core

open TorchSharp

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
    let private onePixel (x: Tensor) (weight: Tensor) (bias: Tensor) (stride: int64) =
        let pixels = x.permute (0L, 2L, 3L, 1L)
        let seen = pixels.slice(1L, 0L, pixels.shape[1], stride).slice(2L, 0L, pixels.shape[2], stride)
        let y = torch.nn.functional.linear (seen.reshape (-1L, seen.shape[3]), weight.flatten 1L, bias)
        y.view(seen.shape[0], seen.shape[1], seen.shape[2], -1L).permute(0L, 3L, 1L, 2L)

    /// A convolution with zero padding.
    /// x: images [n; c; h; w]; weight: [k; c; size; size]; bias: [k] in the weight's number format, or null.
    /// Gives [n; k; h'; w'] in the weight's number format.
    let conv2d (stride: int64) (padding: int64) (weight: Tensor) (bias: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let x = input weight x

            if weight.shape[2] = 1L && weight.shape[3] = 1L && padding = 0L && x.is_cpu () then
                onePixel x weight bias stride
            else
                torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |]))

    /// A linear map: x [n; c], weight [k; c], bias [k] or null -> [n; k] in the weight's number format.
    let linear (weight: Tensor) (bias: Tensor) (x: Tensor) =
        Scope.tensor (fun () -> torch.nn.functional.linear (input weight x, weight, bias))
