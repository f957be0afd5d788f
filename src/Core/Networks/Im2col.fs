namespace AdvContrast.Core

open TorchSharp

/// A convolution as one product of matrices (im2col; Chellapilla, Puri and Simard 2006): what each pixel of the
/// outcome looks at in a row of its own. The rows are a product too, so gradients need no scattering.
[<RequireQualifiedAccess>]
module Im2col =

    // Along an axis with zeros around it: what each pixel of the outcome sees [outcome; size; length].
    let private windows (length: int64) (size: int64) (stride: int64) =
        let outcome = int ((length - 1L) / stride) + 1

        Axes.map outcome (int size) (int length) (fun pixel at seen ->
            if seen = pixel * int stride + at - int size / 2 then 1.0 else 0.0)

    /// The convolution: x [n; c; h; w], a weight [k; c; size; size] with an odd size, a bias [k] or null, zeros
    /// of size/2 around -> [n; k; h'; w'], its channels last.
    let conv2d (x: Tensor) (weight: Tensor) (bias: Tensor) (stride: int64) =
        let n, c, h, w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
        let k, size = weight.shape[0], weight.shape[3]

        Scope.tensor (fun () ->
            let rows, columns = windows h size stride, windows w size stride
            let seen = Axes.both x rows columns
            let images = x.permute(0L, 2L, 3L, 1L).reshape(n, h * w, c)
            let all = seen.expand(n, -1L, -1L).bmm(images).view(-1L, size * size * c)
            let weight = weight.permute(0L, 2L, 3L, 1L).reshape(k, size * size * c)
            let y = all.mm(weight.t ()).view(n, rows.shape[0], columns.shape[0], k).permute(0L, 3L, 1L, 2L)
            if isNull bias then y else y + bias.view (-1L, 1L, 1L))
