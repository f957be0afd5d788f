namespace AdvContrast.Core.ThreatModel

open System.Globalization
open AdvContrast.Core.Foundation

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

    let private number (x: float) = x.ToString("R", CultureInfo.InvariantCulture)

    let private boxText threat =
        match threat.Box with
        | Some(0.0, 1.0) -> ""
        | Some(low, high) -> sprintf ":%s:%s" (number low) (number high)
        | None -> ":-inf:inf"

    /// The form that <c>parse</c> reads, exactly.
    let text threat = ball threat (number threat.Radius) + boxText threat

    /// The form for people, of the ball alone: Linf in 255ths where it is a whole number of them, else with
    /// four digits.
    let label threat =
        let levels = threat.Radius * 255.0

        if threat.Norm = Linf && levels >= 0.5 && abs (levels - round levels) < 1e-6 then
            ball threat (sprintf "%.0f/255" levels)
        else
            ball threat (threat.Radius.ToString("0.####", CultureInfo.InvariantCulture))

    /// From low to high of the box, 1 where pixels are unbounded: what 1 is to images in [0, 1].
    let internal width threat = threat.Box |> Option.fold (fun _ (low, high) -> high - low) 1.0

    // How far apart two images of `values` values can be in the box; in L2 and L1 it needs their number.
    let private reach (values: int64 option) threat =
        match threat.Box, threat.Norm, values with
        | Some _, Linf, _ -> Some(width threat)
        | Some _, L2, Some d -> Some(width threat * sqrt (float d))
        | Some _, L1, Some d -> Some(width threat * float d)
        | _ -> None

    // The radius in 255ths, where that is what was meant.
    let private guess values threat =
        let meant = { threat with Radius = threat.Radius / 255.0 }

        match reach values meant with
        | Some reach when width threat <= 2.0 && threat.Radius >= 1.0 && meant.Radius < reach ->
            sprintf " Did you mean %s%s?" (ball threat (sprintf "%g/255" threat.Radius)) (boxText threat)
        | _ -> ""

    /// What is wrong with a threat, in a sentence: a radius that is not a number or below 0, one that reaches
    /// every image of the box, or a box that is empty. values: how many numbers an image has; without it, no
    /// bound is known in L2 and L1.
    let problem (values: int64 option) threat : string option =
        match threat.Box, reach values threat with
        | _ when not (System.Double.IsFinite threat.Radius && threat.Radius >= 0.0) ->
            Some(sprintf "the radius must be a number of 0 or more, got %g." threat.Radius)
        | Some(low, high), _ when
            not (System.Double.IsFinite low && System.Double.IsFinite high && low < high)
            ->
            Some(sprintf "the range of a pixel must go from low to high, got %g to %g." low high)
        | Some(low, high), Some reach when threat.Radius >= reach ->
            Some(
                sprintf
                    "'%s' reaches every image with pixels from %g to %g, which are at most %g apart in this norm.%s"
                    (ball threat (number threat.Radius))
                    low
                    high
                    reach
                    (guess values threat)
            )
        | _ -> None

    /// The threat, or Error.BadOption where it has a problem.
    let usable values threat =
        match problem values threat with
        | Some problem -> Result.Error(Error.BadOption("--threat", problem))
        | None -> Ok threat

    /// The threat, or Error.BadOption where it is not one on a data set's pixels, which are from 0 to 1.
    let onDataset threat =
        match threat.Box with
        | None
        | Some(0.0, 1.0) -> Ok threat
        | Some(low, high) ->
            let advice =
                sprintf
                    "the pixels of a data set are from 0 to 1, not %g to %g; give the radius in those units, without a range."
                    low
                    high

            Result.Error(Error.BadOption("--threat", advice))

    /// Refuses a threat that has a problem: ArgumentException.
    let require (name: string) values threat =
        problem values threat |> Option.iter (fun problem -> invalidArg name problem)
