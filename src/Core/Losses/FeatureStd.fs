namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Whether embeddings still differ from image to image: what to watch where no negatives keep them apart.
[<RequireQualifiedAccess>]
module FeatureStd =

    /// The (biased) standard deviation over the batch of each dimension of the embeddings normalised to length
    /// 1, averaged over dimensions (Chen and He 2021, section 4.1): about 1 / sqrt(d) for a healthy network,
    /// 0 for one that gives all images the same embedding.
    ///
    /// embeddings: [n; d], raw, n at least 2; rows of length 0 count as they are.
    let deviation (embeddings: Tensor) : float =
        Embeddings.finite (nameof embeddings) 2L embeddings

        Scope.value (fun () ->
            let z = Similarity.normalise (embeddings.detach ())
            let centred = z - z.mean ([| 0L |], true)
            let variance = centred.square().mean [| 0L |]
            variance.sqrt().mean().ToDouble())
