namespace AdvContrast.Core

open System.Globalization

/// How the size of a perturbation is measured.
type Norm =
    | Linf
    | L2
    | L1

/// What an adversary may do: move an image by at most Radius in Norm, within the pixel box.
/// The radius is in input units: images live in [0, 1], so the field's 8/255 is 0.03137.
type Threat = {
    Norm: Norm
    Radius: float
    /// The range of a pixel; None leaves pixels unbounded.
    Box: (float * float) option
}

[<RequireQualifiedAccess>]
module Threat =

    /// A threat on images in [0, 1]. ArgumentException where the radius is negative or not finite.
    let create norm radius =
        Shape.nonNegative (nameof radius) radius

        { Norm = norm; Radius = radius; Box = Some(0.0, 1.0) }

    /// <c>linf:0.1</c>, <c>l2:0.5</c>, <c>linf:8/255</c>: a norm's name and a radius, as a number or a
    /// fraction.
    let parse (text: string) =
        let bad problem = Result.Error(Error.BadOption("--threat", problem))

        let number (s: string) =
            // Without separators of thousands: "0,5" is a slip for 0.5, not 5.
            match System.Double.TryParse(s, NumberStyles.Float, CultureInfo.InvariantCulture) with
            | true, v when System.Double.IsFinite v && v >= 0.0 -> Some v
            | _ -> None

        let radius (s: string) =
            match s.Split '/' with
            | [| whole |] -> number whole
            | [| above; below |] ->
                match number above, number below with
                | Some a, Some b when System.Double.IsFinite(a / b) -> Some(a / b)
                | _ -> None
            | _ -> None

        match text.Split ':' with
        | [| norm; size |] ->
            match norm.ToLowerInvariant(), radius size with
            | "linf", Some r -> Ok(create Linf r)
            | "l2", Some r -> Ok(create L2 r)
            | "l1", Some r -> Ok(create L1 r)
            | ("linf" | "l2" | "l1"), None ->
                bad (sprintf "'%s' is not a radius; write a number or a fraction, as in linf:8/255." size)
            | _ -> bad (sprintf "'%s' is not a norm; choose linf, l2 or l1." norm)
        | _ -> bad (sprintf "'%s' is not NORM:RADIUS; write for instance linf:8/255 or l2:0.5." text)

    let private write threat radius =
        let norm =
            match threat.Norm with
            | Linf -> "linf"
            | L2 -> "l2"
            | L1 -> "l1"

        sprintf "%s:%s" norm radius

    /// The form that <c>parse</c> reads, exactly.
    let text threat = write threat (threat.Radius.ToString("R", CultureInfo.InvariantCulture))

    /// The form for people: Linf in 255ths where it is a whole number of them, else with four digits.
    let label threat =
        let levels = threat.Radius * 255.0

        if threat.Norm = Linf && levels >= 0.5 && abs (levels - round levels) < 1e-6 then
            write threat (sprintf "%.0f/255" levels)
        else
            write threat (threat.Radius.ToString("0.####", CultureInfo.InvariantCulture))
