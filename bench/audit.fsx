// How often the audit is wrong: small classifiers are trained, audited as they are, and audited spoilt.
//
//   dotnet fsi build.fsx build
//   dotnet fsi bench/audit.fsx measure      the error rates, on models that no threshold was fixed on
//   dotnet fsi bench/audit.fsx fix          what the thresholds were fixed on: the extremes of every measure
//
// `measure 1/3` is the first third of it. About four seconds a model on two cores.
#I "../src/Cli/bin/Release/net10.0"
#r "TorchSharp.dll"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"
#load "../tests/Core.Tests/Pupils.fs"

open System
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Audit
open Pupils

let radius norm radius lesson = under (Threat.create norm radius) lesson

let pupil seed build robust steps lesson = lazy (teach seed build robust steps lesson)

// Other seeds, other data and other networks on either side.
let fixing =
    lazy
        [
            for seed in [ 101UL; 102UL ] do
                for robust in [ false; true ] do
                    pupil seed relu robust 60 (pictures seed 3 6L)
                    pupil seed deep robust 80 (pictures seed 5 10L)
                    pupil seed conv robust 60 (clothes 3000 300 100 14)
            pupil 103UL tanh' true 60 (pictures 103UL 3 6L |> radius L2 0.6)
            pupil 104UL relu false 60 (pictures 104UL 5 10L |> radius L2 0.8)
            pupil 105UL deep true 60 (pictures 105UL 3 6L |> radius L1 3.0)
        ]

let measuring =
    lazy
        [
            for seed in [ 201UL; 202UL; 203UL ] do
                for robust in [ false; true ] do
                    pupil seed tanh' robust 70 (pictures seed 4 8L)
                    pupil seed relu robust 100 (clothes 1000 400 100 7)
                    pupil seed conv robust 50 (pictures (seed + 10UL) 6 12L)
                    pupil seed tanh' robust 60 (clothes 1000 400 100 14)
            for robust in [ false; true ] do
                pupil 204UL relu robust 60 (pictures 214UL 4 8L |> radius L2 0.7)
                pupil 205UL tanh' robust 60 (clothes 1000 400 100 7 |> radius L2 0.3)
                pupil 206UL tanh' robust 60 (pictures 216UL 4 8L |> radius L1 4.0)
                pupil 207UL relu robust 60 (pictures 217UL 4 8L |> radius Linf (8.0 / 255.0))
        ]

let failed number (audited: Audited) =
    audited.Checks |> List.exists (fun c -> c.Number = number && c.Verdict = Verdict.Failed)

// What went otherwise than it should.
let tell (pupil: Pupil) (audited: Audited) =
    printfn "%s, %s: %s" pupil.Name (Threat.label pupil.Lesson.Threat) (Check.word audited.Finding)

    for check in audited.Checks do
        if check.Verdict <> Verdict.Passed then
            match check.Verdict with
            | Verdict.NotRun _ -> ()
            | verdict -> printfn "    %d %s: %A, %s" check.Number check.Name verdict (Check.told check)

let part (all: 'a list) (text: string) =
    match text.Split '/' with
    | [| part; parts |] ->
        all |> List.indexed |> List.filter (fun (i, _) -> i % int parts = int part - 1) |> List.map snd
    | _ -> all

let measure (pupils: Lazy<Pupil> list) =
    let pupils = pupils |> List.map _.Value

    let healthy = [
        for pupil in pupils do
            let audited = audit Audit.standard 1UL pupil
            if audited.Finding <> Finding.NoSign then tell pupil audited
            pupil, audited
    ]

    let wrong = healthy |> List.filter (fun (_, audited) -> audited.Finding <> Finding.NoSign)
    printfn "sound: %d, wrongly flagged: %d" healthy.Length wrong.Length

    for fault in faults do
        let spoilt = pupils |> List.filter (fun pupil -> fault.Fits pupil.Build) |> List.map (spoil fault)
        let audits = spoilt |> List.map (fun pupil -> pupil, audit Audit.standard 1UL pupil)
        let unseen = audits |> List.filter (fun (_, audited) -> not (failed fault.Meant audited))
        let missed = audits |> List.filter (fun (_, audited) -> audited.Finding = Finding.NoSign)
        for pupil, audited in unseen do
            tell pupil audited
        printfn
            "%s: %d, not seen by check %d: %d, missed: %d"
            fault.Kind
            audits.Length
            fault.Meant
            unseen.Length
            missed.Length

// The extremes of every measure over sound models.
let extremes (pupils: Lazy<Pupil> list) =
    let pupils = pupils |> List.map _.Value
    let audits = pupils |> List.map (fun pupil -> pupil, audit Audit.standard 1UL pupil)

    for pupil, audited in audits do
        tell pupil audited
        printfn "    clean %.2f, worst %.2f" audited.Clean.Fraction audited.Worst.Fraction

    for number in 1 .. Check.count do
        [
            for _, audited in audits do
                for check in audited.Checks do
                    if check.Number = number then for m in check.Measures -> m.What, m.Value
        ]
        |> List.groupBy fst
        |> List.iter (fun (what, values) ->
            let values = values |> List.map snd
            printfn "%2d %-22s %10.4g to %.4g" number what (List.min values) (List.max values))

match List.tail (List.ofArray fsi.CommandLineArgs) with
| [ "measure" ] -> measure measuring.Value
| [ "measure"; which ] -> measure (part measuring.Value which)
| [ "fix" ] -> extremes fixing.Value
| _ ->
    eprintfn "usage: dotnet fsi bench/audit.fsx measure [PART/PARTS] | fix"
    exit 2
