namespace AdvContrast.Core.Evaluation

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks

/// Query counts of attacks and statistics of the images that they produced.
type AttackCost = {
    /// Forward passes, each counted for every image in it, and gradients likewise; without the verdict on
    /// what was stored.
    Forwards: int64
    Gradients: int64
    /// Images of which some gradient was 0 everywhere.
    ZeroGradients: int
    /// Images whose logits, loss or gradient were not finite at some point, by the names of
    /// <c>NotFinite.places</c>.
    NotFinite: Map<string, int>
    /// The furthest that a stored image is from its original, in the threat's norm.
    Furthest: float
    /// The least and the greatest pixel of what was stored; None where nothing was attacked.
    Pixels: (float * float) option
}

[<RequireQualifiedAccess>]
module AttackCost =

    /// Of no image at all.
    let none = {
        Forwards = 0L
        Gradients = 0L
        ZeroGradients = 0
        NotFinite = Map [ for place in NotFinite.places -> place, 0 ]
        Furthest = 0.0
        Pixels = None
    }

    /// Of both together.
    let add a b = {
        Forwards = a.Forwards + b.Forwards
        Gradients = a.Gradients + b.Gradients
        ZeroGradients = a.ZeroGradients + b.ZeroGradients
        NotFinite = a.NotFinite |> Map.map (fun place count -> count + b.NotFinite[place])
        Furthest = max a.Furthest b.Furthest
        Pixels =
            match a.Pixels, b.Pixels with
            | Some(low, high), Some(low', high') -> Some(min low low', max high high')
            | pixels, None
            | None, pixels -> pixels
    }

    /// Of what an attack did to some victims.
    let ofHarm threat (victims: AttackBatch) (harm: AttackResult) =
        Scope.value (fun () ->
            let number (x: Tensor) = x.``to``(torch.float64).item<float>()
            let sum (x: Tensor) = x.sum(System.Nullable torch.int64).item<int64>()
            let images (counts: Tensor) = int (sum (counts.gt (0L.ToScalar())))
            let some = harm.Images.numel () > 0L

            {
                Forwards = sum harm.Forwards
                Gradients = sum harm.Gradients
                ZeroGradients = images harm.ZeroGradients
                NotFinite = harm.NotFinite |> Map.map (fun _ counts -> images counts)
                Furthest =
                    if some then
                        number ((Projection.distance threat.Norm victims.Images harm.Images).max())
                    else
                        0.0
                Pixels =
                    if some then Some(number (harm.Images.min ()), number (harm.Images.max ())) else None
            })

    // What is said of a place where a number of images had values that are not finite.
    let private lost place count =
        sprintf
            "%s of %d image%s %s not finite"
            place
            count
            (if count = 1 then "" else "s")
            (if place = NotFinite.Logits then "are" else "is")

    /// Flags with the numbers that there are for them.
    let told tally (flags: Set<string>) =
        let plain = "zero gradient"
        let places = Map [ for place in NotFinite.places -> NotFinite.flag place, place ]

        flags
        |> Set.map (fun flag ->
            match Map.tryFind flag places with
            | Some place when tally.NotFinite[place] > 0 -> lost place tally.NotFinite[place]
            | None when flag = plain && tally.ZeroGradients > 0 ->
                sprintf "%s of %d image(s)" plain tally.ZeroGradients
            | _ -> flag)
