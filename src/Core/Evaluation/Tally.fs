namespace AdvContrast.Core

open TorchSharp

/// What attacks took of a classifier and left behind, over the images that they were run on.
type Tally = {
    /// Forward passes, each counted for every image in it, and gradients likewise; without the verdict on
    /// what was stored.
    Forwards: int64
    Gradients: int64
    /// Images of which some gradient was 0 everywhere.
    ZeroGradients: int
    /// The furthest that a stored image is from its original, in the threat's norm.
    Furthest: float
    /// The least and the greatest pixel of what was stored; None where nothing was attacked.
    Pixels: (float * float) option
    /// Pixels of what was stored that are no numbers.
    NotFinite: int64
}

[<RequireQualifiedAccess>]
module Tally =

    /// Of no image at all.
    let none = {
        Forwards = 0L
        Gradients = 0L
        ZeroGradients = 0
        Furthest = 0.0
        Pixels = None
        NotFinite = 0L
    }

    /// Of both together.
    let add a b = {
        Forwards = a.Forwards + b.Forwards
        Gradients = a.Gradients + b.Gradients
        ZeroGradients = a.ZeroGradients + b.ZeroGradients
        Furthest = max a.Furthest b.Furthest
        Pixels =
            match a.Pixels, b.Pixels with
            | Some(low, high), Some(low', high') -> Some(min low low', max high high')
            | pixels, None
            | None, pixels -> pixels
        NotFinite = a.NotFinite + b.NotFinite
    }

    /// Of what an attack did to some victims.
    let ofHarm threat (victims: Victims) (harm: Harm) =
        Scope.value (fun () ->
            let number (x: Tensor) = x.``to``(torch.float64).item<float>()
            let sum (x: Tensor) = x.sum(System.Nullable torch.int64).item<int64>()
            let some = harm.Images.numel () > 0L

            {
                Forwards = sum harm.Forwards
                Gradients = sum harm.Gradients
                ZeroGradients = int (sum (harm.ZeroGradients.gt (0.0.ToScalar())))
                Furthest =
                    if some then
                        number ((Ball.distance threat.Norm victims.Images harm.Images).max())
                    else
                        0.0
                Pixels =
                    if some then Some(number (harm.Images.min ()), number (harm.Images.max ())) else None
                NotFinite = sum (harm.Images.isfinite().logical_not())
            })

    /// Flags with the numbers that there are for them.
    let told tally (flags: Set<string>) =
        let plain = "zero gradient"

        flags
        |> Set.map (fun flag ->
            if flag = plain && tally.ZeroGradients > 0 then
                sprintf "%s of %d image(s)" plain tally.ZeroGradients
            else
                flag)
        |> fun flags ->
            if tally.NotFinite > 0L then
                Set.add (sprintf "%d pixel(s) stored that are no numbers" tally.NotFinite) flags
            else
                flags
