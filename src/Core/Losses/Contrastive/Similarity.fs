namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Cosine similarity over a temperature, and how much of the gradient each side gets.
type Similarity = {
    /// Divides the cosine; above 0.
    Temperature: float
    /// Share of the gradient that reaches the anchors: 1 all, 0 none (a stop-gradient).
    AnchorShare: float
    /// Share of the gradient that reaches the candidates.
    CandidateShare: float
    /// Added to every length that is divided by and, but under hard negatives, to the sum under the fraction
    /// line and to the ratio under the logarithm: 0, or 1e-8 as RoCL's code has it.
    Guard: float
}

[<RequireQualifiedAccess>]
module Similarity =

    /// Cosine over T with the whole gradient on both sides. ArgumentException unless T is above 0.
    let cosine temperature =
        Shape.positive (nameof temperature) temperature

        { Temperature = temperature; AnchorShare = 1.0; CandidateShare = 1.0; Guard = 0.0 }

    /// The same with a stop-gradient on the candidates: only the anchors learn.
    let anchored temperature = { cosine temperature with CandidateShare = 0.0 }

    let private atLeastSingle (x: Tensor) =
        match x.dtype with
        | torch.ScalarType.Float16
        | torch.ScalarType.BFloat16 -> x.``to`` torch.float32
        | _ -> x.alias ()

    /// Rows scaled to unit length, in float32 at least: [n; d] -> [n; d]. A product of norms below 1e-8 would
    /// blow rounding up into a direction, so lengths are taken as at least 1e-8.
    let normalise (embeddings: Tensor) =
        Scope.tensor (fun () -> torch.nn.functional.normalize (atLeastSingle embeddings, 2.0, 1L, 1e-8))

    /// The same values with a share of the gradient: s*x + (1-s)*stop(x).
    let share amount (x: Tensor) =
        if amount = 1.0 then x.alias ()
        elif amount = 0.0 then x.detach ()
        else Scope.tensor (fun () -> x * amount + x.detach () * (1.0 - amount))

    // Unit rows with the similarity's guard and a share of the gradient.
    let private side similarity amount (x: Tensor) =
        if similarity.Guard = 0.0 then
            share amount (normalise x)
        else
            let x = atLeastSingle x
            share amount (x / (x.square().sum([| 1L |], true).sqrt() + similarity.Guard))

    /// Anchors and candidates as they are compared: unit rows, each with its share of the gradient.
    let internal sides similarity anchors candidates =
        side similarity similarity.AnchorShare anchors, side similarity similarity.CandidateShare candidates
