namespace AdvContrast.Core.Audit

open System.Globalization

/// The verdict of one check.
[<RequireQualifiedAccess>]
type Verdict =
    | Passed
    /// Worth knowing; the figures stand.
    | Warned
    | Failed
    /// It could not be made, and why.
    | NotRun of reason: string

/// The verdict of an audit as a whole.
[<RequireQualifiedAccess>]
type Finding =
    | NoSign
    /// Something looks like masked gradients, or like attacks too weak to tell.
    | Suspicious
    /// Accuracy under attack means nothing for this classifier.
    | Invalid

/// Something that was measured.
type Measure = {
    What: string
    Value: float
    /// A share of images or steps, told in percent.
    IsShare: bool
}

/// One question about an evaluation, and its answer.
type Check = {
    /// 1 to 18.
    Number: int
    Name: string
    Measures: Measure list
    /// The threshold of the measures, in words.
    Threshold: string
    Verdict: Verdict
    /// Places of the images that speak against the classifier, among those that were given.
    Images: int list
}

[<RequireQualifiedAccess>]
module Check =

    // Number, name, threshold. The numbers of the thresholds stand where they are applied.
    let private questions = [
        1, "determinism", "no verdict changes, logits by at most 1e-4"
        2, "logits", "are no probabilities"
        3, "range", "all finite, in the box, in the ball"
        4, "gradients", "at most 5 % vanish"
        5, "steps help", "PGD leaves at most FGSM + 0.5 %"
        6, "radius", "more room leaves at most 0.5 % more"
        7, "no bounds", "at most chance at 0.5, none at 1"
        8, "more steps", "twice as many break at most 4 % more"
        9, "more restarts", "twice as many break at most 4 % more"
        10, "Square", "breaks at most 0.5 % that gradients left"
        11, "transfer", "breaks at most 0.5 % that gradients left"
        12, "noise", "breaks at most 0.5 % that gradients left"
        13, "other losses", "break at most 10 % more than cross-entropy"
        14, "landscape", "uphill at least 75 %, cosine at least 0.1"
        15, "finite differences", "differ by at most 30 %"
        16, "ascent", "at most 40 % of steps fall, 10 % of images stay"
        17, "worst case", "is known to within 10 points"
        18, "attacks at work", "find what is known to be there"
    ]

    /// How many checks there are.
    let count = questions.Length

    let private question number = questions |> List.find (fun (n, _, _) -> n = number)

    /// A check by its number.
    let create number verdict measures (images: int list) =
        let _, name, threshold = question number

        {
            Number = number
            Name = name
            Measures = measures
            Threshold = threshold
            Verdict = verdict
            Images = images
        }

    /// One that could not be made.
    let notRun number reason = create number (Verdict.NotRun reason) [] []

    /// A measured share, 0 to 1.
    let share what value = { What = what; Value = value; IsShare = true }

    /// Another measured number.
    let number what value = { What = what; Value = value; IsShare = false }

    /// Failed, warned or passed, as the first that holds.
    let verdict fails warns =
        if fails then Verdict.Failed
        elif warns then Verdict.Warned
        else Verdict.Passed

    /// Tolerance in images: max(1, share * n).
    let allowed share n = max 1 (int (share * float n))

    /// The measures for people.
    let told check =
        let one m =
            let value =
                if m.IsShare then
                    (100.0 * m.Value).ToString("0.0", CultureInfo.InvariantCulture) + " %"
                else
                    m.Value.ToString("0.###", CultureInfo.InvariantCulture)

            if m.What = "" then value else m.What + " " + value

        check.Measures |> List.map one |> String.concat ", "

    // Without these there is nothing that the others could say.
    let private foundations = [ 1; 2; 3; 17; 18 ]

    /// The whole in one word: invalid where answers, range, sample or attacks are at fault, suspicious where
    /// another check has failed. Warnings change nothing.
    let finding (checks: Check list) =
        let failed = checks |> List.filter (fun c -> c.Verdict = Verdict.Failed) |> List.map _.Number

        if failed |> List.exists (fun number -> List.contains number foundations) then Finding.Invalid
        elif not failed.IsEmpty then Finding.Suspicious
        else Finding.NoSign

    /// <c>"no sign of masking"</c>, <c>"suspicious"</c>, <c>"invalid"</c>.
    let word finding =
        match finding with
        | Finding.NoSign -> "no sign of masking"
        | Finding.Suspicious -> "suspicious"
        | Finding.Invalid -> "invalid"
