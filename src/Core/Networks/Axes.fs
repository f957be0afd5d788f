namespace AdvContrast.Core

open TorchSharp

/// Linear maps of images that do the same along each axis: what becomes of an axis of so many pixels is a tensor
/// of zeros and a few numbers.
[<RequireQualifiedAccess>]
module internal Axes =

    /// [a; b; length], an entry from its three places.
    let map a b length (entry: int -> int -> int -> float) = torch.from_array (Array3D.init a b length entry)

    /// Along both axes, [a; b; h] and [c; d; w] -> the matrix [a c b d; h w] like x, in number format and device.
    let both (x: Tensor) (rows: Tensor) (columns: Tensor) =
        torch
            .einsum("abh,cdw->acbdhw", rows, columns)
            .reshape(-1L, rows.shape[2] * columns.shape[2])
            .``to``(x.dtype, x.device)
