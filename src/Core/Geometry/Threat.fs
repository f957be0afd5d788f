namespace AdvContrast.Core

open System.Globalization

/// How the size of a perturbation is measured.
type Norm =
    | Linf
    | L2
    | L1

/// What an adversary may do: move an image by at most Radius in Norm, within the pixel box.
/// The radius is in input units: images live in [0, 1], so the field's 8/255 is 0.03137; of images in another
/// box it is in that box's units.
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

    /// The same threat on images whose pixels go from low to high; the radius stays as it is, and is then in
    /// those units. ArgumentException where they are not finite, or low is not below high.
    let boxed (low: float) (high: float) threat =
        if not (System.Double.IsFinite low && System.Double.IsFinite high && low < high) then
            invalidArg (nameof high) (sprintf "a range from low to high was expected, got %g to %g." low high)

        { threat with Box = Some(low, high) }

    /// The same threat on images whose pixels may be any numbers.
    let unbounded threat = { threat with Box = None }

    // Whether pixels from low to high all lie in the box.
    let internal holds low high threat =
        match threat.Box with
        | Some(least, most) -> least <= low && high <= most
        | None -> true

    /// <c>linf:0.1</c>, <c>l2:0.5</c>, <c>linf:8/255</c>: a norm's name and a radius, as a number or a
    /// fraction; then, for another box than [0, 1], the range of a pixel, as in <c>linf:0.1:-1:1</c> or, for
    /// unbounded pixels, <c>linf:0.1:-inf:inf</c>.
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

        let ball (norm: string) size =
            match norm.ToLowerInvariant(), radius size with
            | "linf", Some r -> Ok(create Linf r)
            | "l2", Some r -> Ok(create L2 r)
            | "l1", Some r -> Ok(create L1 r)
            | ("linf" | "l2" | "l1"), None ->
                bad (sprintf "'%s' is not a radius; write a number or a fraction, as in linf:8/255." size)
            | _ -> bad (sprintf "'%s' is not a norm; choose linf, l2 or l1." norm)

        let within (low: string) (high: string) threat =
            let face (s: string) = System.Double.TryParse(s, NumberStyles.Float, CultureInfo.InvariantCulture)

            match (low, high), face low, face high with
            | ("-inf", "inf"), _, _ -> Ok(unbounded threat)
            | _, (true, low), (true, high) when
                System.Double.IsFinite low && System.Double.IsFinite high && low < high
                ->
                Ok(boxed low high threat)
            | _ -> bad (sprintf "'%s:%s' is no range of a pixel; write for instance 0:1 or -1:1." low high)

        match text.Split ':' with
        | [| norm; size |] -> ball norm size
        | [| norm; size; low; high |] -> ball norm size |> Result.bind (within low high)
        | _ -> bad (sprintf "'%s' is not NORM:RADIUS; write for instance linf:8/255 or l2:0.5." text)

    let private ball threat radius =
        let norm =
            match threat.Norm with
            | Linf -> "linf"
            | L2 -> "l2"
            | L1 -> "l1"

        sprintf "%s:%s" norm radius

    /// The form that <c>parse</c> reads, exactly.
    let text threat =
        let number (x: float) = x.ToString("R", CultureInfo.InvariantCulture)

        let box =
            match threat.Box with
            | Some(0.0, 1.0) -> ""
            | Some(low, high) -> sprintf ":%s:%s" (number low) (number high)
            | None -> ":-inf:inf"

        ball threat (number threat.Radius) + box

    /// The form for people, of the ball alone: Linf in 255ths where it is a whole number of them, else with
    /// four digits.
    let label threat =
        let levels = threat.Radius * 255.0

        if threat.Norm = Linf && levels >= 0.5 && abs (levels - round levels) < 1e-6 then
            ball threat (sprintf "%.0f/255" levels)
        else
            ball threat (threat.Radius.ToString("0.####", CultureInfo.InvariantCulture))
