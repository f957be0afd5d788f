namespace AdvContrast.Core

open TorchSharp

/// Cosine similarity over a temperature, and how much of the gradient each side gets.
type Similarity = {
    /// Divides the cosine; above 0.
    Temperature: float
    /// Share of the gradient that reaches the anchors: 1 all, 0 none (a stop-gradient).
    AnchorShare: float
    /// Share of the gradient that reaches the candidates.
    CandidateShare: float
}

[<RequireQualifiedAccess>]
module Similarity =

    /// Cosine over T with the whole gradient on both sides. ArgumentException unless T is above 0.
    let cosine temperature =
        Shape.positive (nameof temperature) temperature

        { Temperature = temperature; AnchorShare = 1.0; CandidateShare = 1.0 }

    /// Rows scaled to unit length, in float32 at least: [n; d] -> [n; d]. A product of norms below 1e-8 would
    /// blow rounding up into a direction, so lengths are taken as at least 1e-8.
    let normalise (embeddings: Tensor) =
        let x =
            match embeddings.dtype with
            | torch.ScalarType.Float16
            | torch.ScalarType.BFloat16 -> embeddings.``to`` torch.float32
            | _ -> embeddings

        torch.nn.functional.normalize (x, 2.0, 1L, 1e-8)

    /// The same values with a share of the gradient: s*x + (1-s)*stop(x).
    let share amount (x: Tensor) =
        if amount = 1.0 then x.alias ()
        elif amount = 0.0 then x.detach ()
        else x * amount + x.detach () * (1.0 - amount)
