namespace AdvContrast.Core.Losses

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Negatives weighted by how similar they are, less the share of them that are positives in truth (Robinson
/// et al. 2021; Chuang et al. 2020).
type HardNegatives = {
    /// Concentration beta, 0 or more; 0 weighs all negatives alike.
    Concentration: float
    /// Class prior tau+, at least 0 and below 1: the share of negatives that are of the anchor's class.
    ClassPrior: float
    /// Logarithm of the least that a negative's exp s is taken for on average; None: -1/T, the least there is.
    Floor: float option
    /// The weights of candidate k are divided by the mean of row k, not by that of the anchor's row: a slip of
    /// A-InfoNCE's published code.
    MeansByColumn: bool
    /// A pair's denominator is its positive's, not its anchor's: another slip of that code.
    DenominatorOfPositive: bool
}

/// The denominator of the softmax.
type Denominator =
    /// exp s summed over every candidate but the anchor itself.
    | AllOthers
    /// The same as the sum over all candidates less exp(1/T) in single precision, as ACL's code computes it;
    /// it overflows in single precision at temperatures below 0.012.
    | AllLessConstant
    /// The mean exp s over the anchor's own image, and what hard negatives amount to.
    | Hard of HardNegatives

/// Options of the contrastive kernel.
type Contrast = {
    Similarity: Similarity
    Denominator: Denominator
    /// Candidate i is anchor i itself, for every anchor i, and is left out of its row.
    SelfIncluded: bool
}

[<RequireQualifiedAccess>]
module HardNegatives =

    /// As the paper's formula has it. ArgumentException for a concentration below 0 or a prior outside [0, 1).
    let create concentration classPrior =
        Shape.nonNegative (nameof concentration) concentration

        if not (classPrior >= 0.0 && classPrior < 1.0) then
            invalidArg (nameof classPrior) (sprintf "at least 0 and below 1 was expected, got %g." classPrior)

        {
            Concentration = concentration
            ClassPrior = classPrior
            Floor = None
            MeansByColumn = false
            DenominatorOfPositive = false
        }

/// The contrastive kernel: similarity, then a row term, then the mean over anchors. Everything in the field
/// that has this form is an instance of it.
[<RequireQualifiedAccess>]
module InfoNce =

    let private minusInfinity = Double.NegativeInfinity.ToScalar()

    // log of the mean exp s over the anchor's own image and, beside it, what the negatives amount to:
    // max{ (R - tau N p) / (1 - tau), N e^floor } with R = sum w e^s / mean w, w = e^(beta s).
    let private hard contrast h (own: Tensor) (scores: Tensor) =
        let columns, ownCount = scores.shape[1], own.shape[1]
        let negativeCount = float (columns - ownCount - (if contrast.SelfIncluded then 1L else 0L))
        // Everything below is relative to the row's peak, so that nothing overflows at small temperatures.
        let peak = scores.detach().amax([| 1L |])
        let least = torch.full_like (own, minusInfinity, scores.dtype)
        let negatives = scores.scatter (1L, own, least)
        let beta = h.Concentration

        // At beta = 0 the weight is 1 for every column, negative or not.
        let logMean =
            if beta = 0.0 then
                torch.zeros_like peak
            else
                (negatives * beta).logsumexp(1L) - log (float columns)

        let weighted = negatives * (1.0 + beta)

        let logSum =
            if h.MeansByColumn then
                (weighted - logMean.unsqueeze 0L).logsumexp(1L)
            else
                weighted.logsumexp (1L) - logMean

        let positive = (scores.gather(1L, own).logsumexp(1L) - log (float ownCount) - peak).exp()
        let sum = (logSum - peak).exp()
        let debiased = (sum - positive * (h.ClassPrior * negativeCount)) / (1.0 - h.ClassPrior)
        let floor = Option.defaultValue (-1.0 / contrast.Similarity.Temperature) h.Floor
        let least = (floor - peak).exp() * negativeCount
        peak + (positive + debiased.maximum least).log()

    let private logDenominator contrast (pairs: Pairs) (scores: Tensor) =
        let temperature = contrast.Similarity.Temperature

        match contrast.Denominator with
        | AllOthers -> scores.logsumexp (1L)
        | AllLessConstant -> (scores.logsumexp(1L).exp() - float (float32 (exp (1.0 / temperature)))).log()
        | Hard h ->
            match pairs.Own with
            | Some own -> hard contrast h own scores
            | None -> invalidArg (nameof pairs) "hard negatives need to know every anchor's own image."

    let private check contrast (pairs: Pairs) (anchors: Tensor) (candidates: Tensor) =
        Embeddings.check (nameof anchors) 1L anchors
        Embeddings.check (nameof candidates) 2L candidates
        Shape.rank "p" (nameof pairs) pairs.Anchors
        Shape.same (nameof pairs) pairs.Positives "their anchors" pairs.Anchors
        Shape.same (nameof pairs) pairs.Weights "their anchors" pairs.Anchors

        if candidates.shape[1] <> anchors.shape[1] then
            invalidArg
                (nameof candidates)
                (sprintf
                    "candidates are as wide as anchors, got %s and %s."
                    (Shape.text candidates)
                    (Shape.text anchors))

        if contrast.Denominator = AllLessConstant && not contrast.SelfIncluded then
            invalidArg
                (nameof contrast)
                "a sum less the self term was expected to have one: the anchors are among the candidates."

        if contrast.SelfIncluded && candidates.shape[0] < anchors.shape[0] then
            invalidArg
                (nameof candidates)
                (sprintf
                    "the anchors are among the candidates, got %s and %s."
                    (Shape.text candidates)
                    (Shape.text anchors))

    // -log( exp s / (sum + guard) + guard ), without the exponentials, which overflow.
    let private guarded (guard: float) (positives: Tensor) (denominators: Tensor) =
        let guard = torch.full_like (denominators, (log guard).ToScalar())
        (positives - denominators.logaddexp guard).logaddexp(guard).neg()

    // Unit rows compared, over T, the anchors themselves left out.
    let private scores contrast (anchors: Tensor) (candidates: Tensor) =
        let a, c = Similarity.sides contrast.Similarity anchors candidates
        let scores = (a / contrast.Similarity.Temperature).matmul(c.t ())

        // Behind autograd's back: the gradient of exp is 0 where it is, and need not be set to 0 once more.
        if contrast.SelfIncluded && contrast.Denominator <> AllLessConstant then
            scores.detach().diagonal(0L, 0L, 1L).fill_ minusInfinity |> ignore

        scores

    let private pairTerms contrast (pairs: Pairs) (anchors: Tensor) (candidates: Tensor) =
        let scores = scores contrast anchors candidates
        let places = pairs.Anchors * scores.shape[1] + pairs.Positives
        let at (x: Tensor) = x.flatten().index_select(0L, places)

        match contrast.Denominator with
        | AllOthers when contrast.Similarity.Guard = 0.0 -> at(scores.log_softmax 1L).neg()
        | denominator ->
            let rows =
                match denominator with
                | Hard { DenominatorOfPositive = true } -> pairs.Positives
                | _ -> pairs.Anchors

            let denominators = (logDenominator contrast pairs scores).index_select(0L, rows)

            match denominator with
            | AllOthers -> guarded contrast.Similarity.Guard (at scores) denominators
            | _ -> denominators - at scores

    let private weighted contrast (pairs: Pairs) (anchors: Tensor) candidates =
        let terms = pairTerms contrast pairs anchors candidates
        (terms * pairs.Weights.``to`` terms.dtype).sum() / float anchors.shape[0]

    /// For every pair (i, j) the term -s(i, j) + log of i's denominator: [p], in float32 at least.
    ///
    /// anchors: [n; d]; candidates: [m; d], raw embeddings, normalised here.
    let terms contrast pairs anchors candidates =
        check contrast pairs anchors candidates
        Scope.tensor (fun () -> pairTerms contrast pairs anchors candidates)

    /// The pairs' terms, each times its weight, summed and divided by the number of anchors: 0-dim.
    let loss contrast pairs anchors candidates =
        check contrast pairs anchors candidates
        Scope.tensor (fun () -> weighted contrast pairs anchors candidates)

    let private stacked similarity denominator between (views: Tensor list) =
        Scope.tensor (fun () ->
            let first = List.head views
            let pairs = Pairs.ofViews first.device first.shape[0] views.Length between
            let z = torch.cat (ResizeArray views, 0L)
            weighted { Similarity = similarity; Denominator = denominator; SelfIncluded = true } pairs z z)

    /// Views of the same images against one another: every row of every view is an anchor, and all rows are
    /// its candidates. between: view drawn, view that it is drawn to (from 0), weight.
    ///
    /// views: two or more [b; d], row m of each the same image, raw embeddings, b at least 2. Result 0-dim.
    let ofViews similarity denominator between (views: Tensor list) =
        if views.Length < 2 then
            invalidArg (nameof views) (sprintf "two views or more were expected, got %d." views.Length)

        Embeddings.together 2L (views |> List.mapi (fun i view -> sprintf "%s[%d]" (nameof views) i, view))
        stacked similarity denominator between views

    /// NT-Xent (Chen et al. 2020, eq. 1) over 2b embeddings: each view's partner is the positive, the other
    /// 2b - 2 embeddings are the negatives, only self-similarity is left out; the mean over all 2b anchors.
    ///
    /// temperature above 0; view1 and view2: [b; d], row m of one the partner of row m of the other, raw (not
    /// normalised) embeddings, b at least 2. Result 0-dim.
    let ntXent temperature (view1: Tensor) (view2: Tensor) =
        Embeddings.together 2L [ nameof view1, view1; nameof view2, view2 ]
        stacked (Similarity.cosine temperature) AllOthers [ 0, 1, 1.0; 1, 0, 1.0 ] [ view1; view2 ]

    /// One-sided: only the anchors are drawn, each to its partner; its candidates are the other anchors and
    /// all partners (C-LEAD; Ghosh, Kumar and Sur 2025).
    ///
    /// temperature above 0; anchors and partners: [b; d], raw embeddings, b at least 2. Result 0-dim.
    let oneSided temperature (anchors: Tensor) (partners: Tensor) =
        Embeddings.together 2L [ nameof anchors, anchors; nameof partners, partners ]
        let similarity = Similarity.cosine temperature

        Scope.tensor (fun () ->
            let b = anchors.shape[0]
            let candidates = torch.cat (ResizeArray [ anchors; partners ], 0L)

            weighted
                { Similarity = similarity; Denominator = AllOthers; SelfIncluded = true }
                (Pairs.aligned anchors.device b b)
                anchors
                candidates)
