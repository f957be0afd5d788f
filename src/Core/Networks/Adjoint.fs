namespace AdvContrast.Core

open TorchSharp

/// The gradient of a convolution in its images, as a convolution itself: its kernels are faster than libtorch's
/// for that gradient. By a stride s each pixel of the outcome's gradient gives s x s pixels (Shi et al. 2016,
/// sub-pixel convolution); by stride 1 it is the convolution with the weight turned by half.
[<RequireQualifiedAccess>]
module Adjoint =

    // A pixel s i + a of the images met the outcome's pixel o at the weight's number s i + a + padding - s o. So
    // it looks from its own i at o = i - before ... i + after.
    let private reach (size: int64) (stride: int64) =
        let padding = size / 2L
        padding / stride, (stride - 1L + padding) / stride

    // Which number of the weight an image's pixel a meets at each place it looks at [stride; looks; size].
    let private looks (size: int64) (stride: int64) =
        let before, after = reach size stride

        Axes.map (int stride) (int (before + after + 1L)) (int size) (fun pixel look number ->
            if number = pixel + int (size / 2L) - int stride * (look - int before) then 1.0 else 0.0)

    /// What conv2d takes of a weight [k; c; size; size] with an odd size, zeros of size/2 around:
    /// [s s c; k; looks; looks].
    let weight (weight: Tensor) (stride: int64) =
        let k, c, size = weight.shape[0], weight.shape[1], weight.shape[3]

        Scope.tensor (fun () ->
            let axis = looks size stride
            let places = axis.shape[1]
            let both = Axes.both weight axis axis
            let met = both.mm (weight.permute(2L, 3L, 1L, 0L).reshape(size * size, c * k))

            Network.channelsLast (
                met
                    .view(stride * stride, places, places, c, k)
                    .permute(0L, 3L, 4L, 1L, 2L)
                    .reshape(stride * stride * c, k, places, places)
            ))

    /// The gradient in images [n; c; height; width] where the outcome's is [n; k; h; w], its channels last: by a
    /// weight made ready, of the size and the stride that the convolution has.
    let conv2d
        (gradient: Tensor)
        (weight: Tensor)
        (size: int64)
        (stride: int64)
        (height: int64)
        (width: int64)
        =
        let n, h, w = gradient.shape[0], gradient.shape[2], gradient.shape[3]
        let c = weight.shape[0] / (stride * stride)
        let before, after = reach size stride

        Scope.tensor (fun () ->
            let padded =
                if before = after then
                    gradient
                else
                    torch.nn.functional.pad (
                        gradient,
                        [| 0L; after - before; 0L; after - before |],
                        PaddingModes.Constant,
                        0.0
                    )

            let y = torch.nn.functional.conv2d (padded, weight, null, [| 1L; 1L |], [| before; before |])

            if stride = 1L then
                y
            else
                y
                    .permute(0L, 2L, 3L, 1L)
                    .reshape(n, h, w, stride, stride, c)
                    .permute(0L, 1L, 3L, 2L, 4L, 5L)
                    .reshape(n, h * stride, w * stride, c)
                    .narrow(1L, 0L, height)
                    .narrow(2L, 0L, width)
                    .permute(0L, 3L, 1L, 2L))
