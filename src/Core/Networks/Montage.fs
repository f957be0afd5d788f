namespace AdvContrast.Core

open AdvContrast.Torch.Engine
open TorchSharp

/// Convolutions of small maps. Where products of tiles (AMX) compute, oneDNN reads all weights anew for every
/// image: of maps of a few pixels that costs far more than the products. So images are laid side by side, with
/// zeros between them, and convolved as one.
[<RequireQualifiedAccess>]
module Montage =

    // Pixels across. oneDNN 2.6 gives wrong gradients of weights from about 480.
    let private widest = 160L

    /// The convolution, images side by side: x [n; c; h; w], a weight [k; c; size; size] with an odd size, a bias
    /// [k] or null, zeros of size/2 around; the stride divides w. The same sums as conv2d's.
    let conv2d (x: Tensor) (weight: Tensor) (bias: Tensor) (stride: int64) =
        let n, c, h, w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
        let padding = weight.shape[3] / 2L
        // The zeros between two images: enough for both, and the next begins where a window does.
        let pitch = w + (padding + stride - 1L) / stride * stride
        let together = max 1L (min n (widest / pitch))
        let rows = (n + together - 1L) / together

        Scope.tensor (fun () ->
            let pad (x: Tensor) (sizes: int64 list) =
                torch.nn.functional.pad (x, Array.ofList sizes, PaddingModes.Constant, 0.0)
            let images = x.permute (0L, 2L, 3L, 1L)
            let missing = rows * together - n
            let images = if missing = 0L then images else pad images [ 0L; 0L; 0L; 0L; 0L; 0L; 0L; missing ]
            let images = images.reshape(rows, together, h, w, c).permute(0L, 2L, 1L, 3L, 4L)
            let montage = (pad images [ 0L; 0L; 0L; pitch - w ]).reshape(rows, h, together * pitch, c)

            let y =
                torch.nn.functional.conv2d (
                    montage.permute (0L, 3L, 1L, 2L),
                    weight,
                    bias,
                    [| stride; stride |],
                    [| padding; padding |]
                )

            let k, high = y.shape[1], y.shape[2]
            let y = y.permute(0L, 2L, 3L, 1L).reshape(rows, high, together, pitch / stride, k)
            let y = y.narrow(3L, 0L, w / stride).permute(0L, 2L, 1L, 3L, 4L)
            y.reshape(rows * together, high, w / stride, k).narrow(0L, 0L, n).permute(0L, 3L, 1L, 2L))
