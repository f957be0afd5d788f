namespace AdvContrast.Core.Runs

open System
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// The choices of a configuration that decide a run's steps.
[<RequireQualifiedAccess>]
module Decisions =

    // What decides a run's steps, by the option that sets it, as text.
    let private decisions (c: PretrainConfig) =
        let threat text = Threat.parse text |> Result.map Threat.text |> Result.defaultValue text
        let text show value = value |> Option.map show |> Option.defaultValue "none"
        let given = c.Given |> Option.map Map.toList |> Option.defaultValue []

        [
            "--method", c.Method
            "--dataset", c.Dataset
            "--images", text string c.Images
            "--network", text id c.Network
            "--width", text string c.Width
            "--given",
            (if given.IsEmpty then
                 "none"
             else
                 given |> List.map (fun (n, r) -> n + "=" + r) |> String.concat " ")
            "--batch", text string c.Batch
            "--optimizer", text id c.Optimizer
            "--learning-rate",
            text
                (fun (r: float) -> r.ToString("R", Globalization.CultureInfo.InvariantCulture))
                c.LearningRate
            "--threat", text threat c.Threat
            "--seed", string c.Seed
            "--precision", c.Precision
        ]

    /// Refuses, by its option, each choice that decides a run's steps and is not what it was: a run that is resumed
    /// may have other epochs, another folder of the same data, another device, threads and checkpoints.
    let requireSame (before: PretrainConfig) (now: PretrainConfig) : Result<unit, Error list> =
        let faults = [
            for (option, was), (_, is) in List.zip (decisions before) (decisions now) do
                if not (String.Equals(was, is, StringComparison.OrdinalIgnoreCase)) then
                    Error.BadOption(
                        option,
                        sprintf
                            "the run has %s, and a run that is resumed keeps it; start another run for %s."
                            was
                            is
                    )
        ]

        if faults.IsEmpty then Ok() else Error faults
