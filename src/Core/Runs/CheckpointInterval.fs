namespace AdvContrast.Core.Runs

open System
open System.Globalization
open AdvContrast.Core.Foundation

/// When a run writes a checkpoint, besides at its end and when it is stopped.
type CheckpointInterval =
    | EveryEpoch
    | EverySteps of int64
    | EveryMinutes of float

[<RequireQualifiedAccess>]
module CheckpointInterval =

    /// By its text: <c>"epoch"</c>, <c>"500"</c> for every 500 steps, <c>"10min"</c> for every 10 minutes.
    let parse (text: string) : Result<CheckpointInterval, Error> =
        let unit, number =
            match text.Trim().ToLowerInvariant() with
            | minutes when minutes.EndsWith "min" -> "min", minutes[.. minutes.Length - 4]
            | other -> "", other

        match unit, number, Int64.TryParse number with
        | "", "epoch", _ -> Ok EveryEpoch
        | "", _, (true, steps) when steps >= 1L -> Ok(EverySteps steps)
        | _ ->
            match Double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture) with
            | true, minutes when unit = "min" && minutes > 0.0 && Double.IsFinite minutes ->
                Ok(EveryMinutes minutes)
            | _ ->
                let advice = sprintf "'%s' is no rhythm; write epoch, 500 for steps, or 10min." text
                Error(Error.BadOption("--checkpoint-every", advice))

    /// Whether to write a checkpoint now.
    let isDue rhythm (at: Progress) (since: TimeSpan) =
        match rhythm with
        | EveryEpoch -> at.StepInEpoch = 0
        | EverySteps steps -> at.Step % steps = 0L
        | EveryMinutes minutes -> since.TotalMinutes >= minutes
