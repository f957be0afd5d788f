namespace AdvContrast.Core

open TorchSharp

/// Convolutions by weights of one pixel: the pixels they look at, each times the same matrix.
[<RequireQualifiedAccess>]
module Pointwise =

    /// The convolution: x [n; c; h; w], a weight [k; c; 1; 1], a bias [k] or null -> [n; k; h'; w'], its channels
    /// last.
    let conv2d (x: Tensor) (weight: Tensor) (bias: Tensor) (stride: int64) =
        Scope.tensor (fun () ->
            let pixels = x.permute (0L, 2L, 3L, 1L)
            let seen = pixels.slice(1L, 0L, pixels.shape[1], stride).slice(2L, 0L, pixels.shape[2], stride)
            // As rows of one matrix: of pixels that lie apart PyTorch 2 makes a product for each row of each map.
            let rows = seen.reshape (-1L, seen.shape[3])
            let y = torch.nn.functional.linear (rows, weight.flatten 1L, bias)
            y.view(seen.shape[0], seen.shape[1], seen.shape[2], -1L).permute(0L, 3L, 1L, 2L))
