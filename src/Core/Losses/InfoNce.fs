namespace AdvContrast.Core

open TorchSharp

/// The contrastive kernel: similarity, then a row term, then the mean over anchors.
[<RequireQualifiedAccess>]
module InfoNce =

    let private checkEmbeddings (name: string) (x: Tensor) =
        Shape.rank "n;d" name x

        if not (x.is_floating_point ()) then
            invalidArg name (sprintf "%s must be floating point, got %O." name x.dtype)

    /// For every anchor i the term -s(i, positive(i)) + log sum_k exp s(i, k) over all candidates k, the
    /// positive among them (van den Oord et al. 2018, eq. 4): [n].
    ///
    /// anchors: [n; d]; candidates: [m; d], raw embeddings, normalised here. positives: the candidate's row
    /// for every anchor, int64 [n]. excludeSelf: anchors and candidates are the same rows, and row i leaves i
    /// out. Log-sum-exp runs in float32 at least.
    let terms
        (similarity: Similarity)
        excludeSelf
        (positives: Tensor)
        (anchors: Tensor)
        (candidates: Tensor)
        =
        checkEmbeddings (nameof anchors) anchors
        checkEmbeddings (nameof candidates) candidates
        Shape.rank "n" (nameof positives) positives

        if positives.shape[0] <> anchors.shape[0] then
            invalidArg
                (nameof positives)
                (sprintf "%d anchors have %d positives." anchors.shape[0] positives.shape[0])

        if excludeSelf then
            Shape.same (nameof candidates) candidates (nameof anchors) anchors
        elif candidates.shape[1] <> anchors.shape[1] then
            invalidArg
                (nameof candidates)
                (sprintf
                    "candidates are as wide as anchors, got %s and %s."
                    (Shape.text candidates)
                    (Shape.text anchors))

        Scope.tensor (fun () ->
            let a = Similarity.normalise anchors |> Similarity.share similarity.AnchorShare
            let c = Similarity.normalise candidates |> Similarity.share similarity.CandidateShare
            let scores = a.matmul (c.t ()) / similarity.Temperature

            if excludeSelf then
                scores.diagonal(0L, 0L, 1L).fill_(System.Double.NegativeInfinity.ToScalar()) |> ignore

            // The positive's score as a product of rows: its gradient needs no second n-by-m matrix.
            let positive = (a * c.index_select (0L, positives)).sum(1L) / similarity.Temperature
            scores.logsumexp (1L) - positive)

    /// NT-Xent (Chen et al. 2020, eq. 1) over 2B embeddings: each view's partner is the positive, the other
    /// 2B - 2 embeddings are the negatives, only self-similarity is left out; the mean over all 2B anchors.
    ///
    /// temperature above 0; view1 and view2: [B; d], row m of one the partner of row m of the other, raw (not
    /// normalised) embeddings, B at least 1. Result 0-dim.
    let ntXent temperature (view1: Tensor) (view2: Tensor) =
        checkEmbeddings (nameof view1) view1
        Shape.same (nameof view1) view1 (nameof view2) view2
        let b = view1.shape[0]

        if b < 1L then invalidArg (nameof view1) "the batch holds no image."

        Scope.tensor (fun () ->
            let z = torch.cat (ResizeArray [ view1; view2 ], 0L)
            let partners = torch.arange ((2L * b).ToScalar(), dtype = torch.int64, device = z.device)
            let partners = partners.roll (b, 0L)
            (terms (Similarity.cosine temperature) true partners z z).mean())
