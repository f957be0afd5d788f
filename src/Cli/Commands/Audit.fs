namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Core.Audit
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Audit =

    let private inspection (arguments: ParseResults<AuditArguments>) : AuditRun =
        let usual = AuditRun.defaults

        {
            Dataset = arguments.TryGetResult AuditArguments.Dataset
            Data = arguments.TryGetResult AuditArguments.Data
            Images = arguments.GetResult(AuditArguments.Images, usual.Images)
            Threat = arguments.TryGetResult AuditArguments.Threat
            Probe = arguments.GetResult(AuditArguments.Probe, usual.Probe)
            Seed = arguments.GetResult(AuditArguments.Seed, usual.Seed)
            Threads = arguments.TryGetResult AuditArguments.Threads
            Effort = usual.Effort
        }

    let private verdict check =
        match check.Verdict with
        | Verdict.Passed -> "passed"
        | Verdict.Warned -> "warned"
        | Verdict.Failed -> "FAILED"
        | Verdict.NotRun _ -> "not run"

    // Measures, or why there are none.
    let private value check =
        match check.Verdict with
        | Verdict.NotRun reason -> reason
        | _ -> Check.told check

    let private show asked (inspected: AuditedEncoder) =
        Terminal.table [ "check"; "value"; "threshold"; "verdict" ] [
            for check in inspected.Audited.Checks do
                [ sprintf "%d %s" check.Number check.Name; value check; check.Threshold; verdict check ]
        ]

        Coverage.sentences inspected.Dataset asked inspected.Coverage |> List.iter Terminal.line
        Terminal.line (
            sprintf "%s: %s." (Threat.label inspected.Threat) (Check.word inspected.Audited.Finding)
        )

    let private figures (check: Check) = {|
        number = check.Number
        name = check.Name
        measures = [ for m in check.Measures -> {| what = m.What; value = Json.finite m.Value |} ]
        threshold = check.Threshold
        verdict = (verdict check).ToLowerInvariant()
        reason =
            match check.Verdict with
            | Verdict.NotRun reason -> Some reason
            | _ -> None
        images = check.Images
    |}

    /// The exit code of a finding: 0, 9 or 10.
    let private code finding =
        match finding with
        | Finding.NoSign -> 0
        | Finding.Suspicious -> 9
        | Finding.Invalid -> 10

    let run (arguments: ParseResults<AuditArguments>) : Result<int, Error list> = result {
        let json = arguments.TryGetResult AuditArguments.Json
        let from = arguments.GetResult AuditArguments.From
        let other = arguments.TryGetResult AuditArguments.Surrogate
        let seconds = Terminal.clock ()
        let overwrite = arguments.Contains AuditArguments.Overwrite
        do! Json.check overwrite json |> Result.mapError List.singleton
        let options: WeightsOptions = {
            Network = arguments.TryGetResult AuditArguments.Network
            Normalise = arguments.TryGetResult AuditArguments.Normalise
            Prefix = arguments.TryGetResult AuditArguments.Prefix
            BatchNorm = arguments.TryGetResult AuditArguments.Batch_Norm
        }
        let! device =
            arguments.TryGetResult AuditArguments.Device |> Weights.device |> Result.mapError List.singleton
        let! encoder = Weights.load options device from |> Result.mapError List.singleton
        use encoder = encoder
        // Both compute on the same images.
        let! surrogate =
            other
            |> Option.traverseResult (Weights.ofRun (Some encoder.Device))
            |> Result.mapError List.singleton

        try
            let! inspected =
                Terminal.withProgress (fun show ->
                    Workbench.audit
                        (fun what share -> show what share "")
                        Terminal.stop
                        encoder
                        surrogate
                        (inspection arguments))

            show (arguments.TryGetResult AuditArguments.Images) inspected
            let audited = inspected.Audited

            do!
                Json.write json {|
                    run = from
                    ``method`` = encoder.Configuration.Method
                    notes = encoder.Notes
                    surrogate = other
                    dataset = inspected.Dataset
                    images = inspected.Coverage.Images
                    coverage = inspected.Coverage
                    threat = Threat.text inspected.Threat
                    probe = inspected.Probe
                    seed = inspected.Seed
                    device = string encoder.Device
                    finding = Check.word audited.Finding
                    clean = audited.Clean.Fraction
                    worst = audited.Worst.Fraction
                    low = fst audited.Worst.Interval
                    high = snd audited.Worst.Interval
                    checks = audited.Checks |> List.map figures
                    seconds = seconds ()
                |}
                |> Result.mapError List.singleton

            return code audited.Finding
        finally
            surrogate |> Option.iter (fun surrogate -> (surrogate :> System.IDisposable).Dispose())
    }
