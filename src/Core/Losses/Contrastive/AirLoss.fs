namespace AdvContrast.Core.Losses

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The divergence of two distributions over the batch. With both fields false it is that of
/// Kullback and Leibler.
type Divergence = {
    /// The second distribution enters as it is where its logarithm is meant; the value can be negative.
    ProbabilityForLogarithm: bool
    /// Products of two distributions are taken as they come and do not add up to 1.
    ProductsAsTheyCome: bool
}

/// The invariance regularisers of ACL-AIR (Xu, Zhang, Liu, Sugiyama and Kankanhalli, NeurIPS 2023): how alike
/// each image is to its un-augmented self, as a share of the whole batch, should not hang on the
/// augmentation. They compare two distributions over the batch and no anchor with its candidates, so the
/// contrastive kernel has no part in them.
[<RequireQualifiedAccess>]
module AirLoss =

    /// The divergence of Kullback and Leibler.
    let proper = { ProbabilityForLogarithm = false; ProductsAsTheyCome = false }

    /// The divergence as the published code reckons it.
    let published = { ProbabilityForLogarithm = true; ProductsAsTheyCome = true }

    // log softmax over the batch of the cosines between partners; of several pairs, the product's logarithm.
    let private shares divergence (temperature: float) (pairs: (Tensor * Tensor) list) =
        let factors = [ for x, y in pairs -> (Cosine.rows x y / temperature).log_softmax 0L ]
        let product = factors |> List.reduce (fun x y -> x + y)
        if divergence.ProductsAsTheyCome then product else product.log_softmax 0L

    // The sum of q (log q - log p), of which logarithms are given.
    let private diverge divergence (logP: Tensor) (logQ: Tensor) =
        let second = if divergence.ProbabilityForLogarithm then logP.exp () else logP
        (logQ.exp () * (logQ - second)).sum()

    /// SIR with a divergence of choice; see `standard`.
    let standardBy divergence temperature (z1: Tensor) (z2: Tensor) (zo: Tensor) =
        Shape.positive (nameof temperature) temperature
        Embeddings.together 2L [ nameof z1, z1; nameof z2, z2; nameof zo, zo ]

        Scope.tensor (fun () ->
            let share z = shares divergence temperature [ z, zo ]
            diverge divergence (share z1) (share z2))

    /// SIR, the standard invariance: KL(b || a), a the softmax over the batch of cos(z1_m, zo_m) / T and b
    /// that of cos(z2_m, zo_m) / T. A sum over the batch, and not symmetric in the views.
    ///
    /// temperature: T, above 0; z1, z2: two views of the images, zo: the un-augmented images; [n; d],
    /// partners by row, raw embeddings, n at least 2, all with gradient. Result 0-dim, 0 or more.
    let standard temperature z1 z2 zo = standardBy proper temperature z1 z2 zo

    /// AIR with a divergence of choice; see `adversarial`.
    let adversarialBy
        divergence
        temperature
        (a1: Tensor)
        (a2: Tensor)
        (z1: Tensor)
        (z2: Tensor)
        (zo: Tensor)
        =
        Shape.positive (nameof temperature) temperature

        Embeddings.together 2L [ nameof a1, a1; nameof a2, a2; nameof z1, z1; nameof z2, z2; nameof zo, zo ]

        Scope.tensor (fun () ->
            let share a z = shares divergence temperature [ a, zo; a, z ]
            diverge divergence (share a1 z1) (share a2 z2))

    /// AIR, the adversarial invariance: KL(q || p), p the softmax over the batch of (cos(a1_m, zo_m) +
    /// cos(a1_m, z1_m)) / T, which is the product of the two cosines' softmaxes normalised to sum 1, and q
    /// likewise of the second view. A sum over the batch, and not symmetric in the views.
    ///
    /// temperature: T, above 0; a1, a2: the attacked views, z1, z2: the same views clean, zo: the
    /// un-augmented images; [n; d], partners by row, raw embeddings, n at least 2, all with gradient. Result
    /// 0-dim, 0 or more.
    let adversarial temperature a1 a2 z1 z2 zo = adversarialBy proper temperature a1 a2 z1 z2 zo
