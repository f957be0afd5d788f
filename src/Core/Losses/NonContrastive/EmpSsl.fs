namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Extreme multi-patch self-supervision (Tong, Chen, Ma and LeCun 2023; robust: Ghofrani and Jamshidi 2025):
/// many crops of an image drawn to their mean, and the batch spread over all directions. What keeps the
/// images apart is a volume and no pair, so the contrastive kernel has no part in it.
[<RequireQualifiedAccess>]
module EmpSsl =

    // The halved log-determinant of I + scale * Z'Z for each crop of [v; n; d]. By Sylvester's identity ZZ'
    // gives the same, so the smaller of the two is factored. Its eigenvalues are 1 or more, so that the
    // factor exists; errors are not asked for, since to ask would make a device be waited for.
    let private codingRates (scale: float) (z: Tensor) =
        let transposed = z.transpose (1L, 2L)
        let gram = if z.shape[1] < z.shape[2] then z.bmm transposed else transposed.bmm z
        let identity = torch.eye (gram.shape[1], dtype = gram.dtype, device = gram.device)
        let struct (factor, _) = torch.linalg.cholesky_ex (identity + gram * scale)
        factor.diagonal(0L, 1L, 2L).log().sum 1L

    /// -invariance * the mean cosine of crops with their image's mean - the mean over crops of
    /// 1/2 log det(I + d / (n * distortion) Z'Z), Z one crop of all images.
    ///
    /// invariance: 0 or more (200 as published); distortion: the squared distortion of the coding rate, above
    /// 0 (0.2); crops: at least 2, each [n; d], row m of image m, raw embeddings, n at least 2. Gradient
    /// flows through the mean as well. Result 0-dim, in float32 at least.
    let loss (invariance: float) (distortion: float) (crops: Tensor list) =
        Shape.nonNegative (nameof invariance) invariance
        Shape.positive (nameof distortion) distortion

        if crops.Length < 2 then
            invalidArg (nameof crops) (sprintf "at least 2 crops were expected, got %d." crops.Length)

        Embeddings.together 2L [ for i, crop in List.indexed crops -> $"{nameof crops}[{i}]", crop ]

        Scope.tensor (fun () ->
            let n, d = crops[0].shape[0], crops[0].shape[1]
            let z = Similarity.normalise (torch.cat (ResizeArray crops, 0L))
            let z = z.view (int64 crops.Length, n, d)
            // Rows are of length 1, so their mean cosine with their mean is the length of that.
            let closeness = torch.linalg.vector_norm (z.mean [| 0L |], 2.0, [| 1L |])
            let rates = codingRates (float d / (float n * distortion)) z
            (closeness.mean () * invariance + rates.mean ()).neg())
