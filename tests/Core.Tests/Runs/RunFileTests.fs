/// Files of runs that were damaged: each is read as it was, or refused with a sentence.
module Tests.Runs.RunFileTests

open System
open System.IO
open Expecto
open AdvContrast.Core.Foundation
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open FsToolkit.ErrorHandling
open AdvContrast
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support.TestRuns

// A damaged copy, or one in which a piece of JSON stands for some bytes.
let private mutated (source: Source) (bytes: byte[]) =
    let pieces = [
        "null"
        "{}"
        "[]"
        "-1"
        "1e999"
        "NaN"
        "\"\\ud800\""
        "99999999999999999999"
        "\""
        "}"
    ]

    if source.Whole(0, 1) = 0 then
        Mutation.mutate (source.Whole(0, 1_000_000)) bytes
    else
        let at = source.Whole(0, bytes.Length - 1)
        let piece = Text.Encoding.UTF8.GetBytes(source.Among pieces)
        Array.concat [ bytes[.. at - 1]; piece; bytes[min bytes.Length (at + source.Whole(1, 12)) ..] ]

let private manifest: Manifest = {
    Configuration = {
        brief "acl-ds" with
            Threat = Some "linf:0.1"
            Given = Some(Map [ "teacher", "runs/x" ])
    }
    Environment = Platform.current ()
    Started = DateTimeOffset.UnixEpoch
    Step = 0L
    Steps = 9L
    Loss = None
    Seconds = 2.5
    Images = 24L
    Provenance = Some { Version = 1; Data = "d"; Method = "m"; Stages = Map [ "teacher", "t" ] }
    Notes = [ "a note" ]
    Repeatable = true
    Composition = "what ran"
}

let private standing = {
    Key = "key"
    Stage = 1
    Queue = [| 1L; 4L |]
    Alive = [| 0L; 1L; 4L |]
    Counts = [ 5; 3 ]
    Tallies = [ { AttackCost.none with Furthest = nan } ]
    Cost = AttackCost.none
    Flags = Set [ "a flag" ]
}

let private isSentence what (error: Error) =
    Expect.isNotWhitespace (Error.message error) what
    Expect.isFalse ((Error.message error).Contains "System.") what

let private fuzz count () =
    balanced (fun () ->
        inFolder (fun folder ->
            let source = Source 31
            let run, notes = path [ folder; "run.json" ], path [ folder; "evaluation.json" ]
            Expect.isOk (Manifest.save folder manifest) "saved"
            Expect.isOk (EnsembleProgress.write notes standing) "written"
            let sound = File.ReadAllBytes run, File.ReadAllBytes notes
            let shown = sprintf "%A" standing

            for i in 1..count do
                let damaged = mutated source (fst sound)
                File.WriteAllBytes(run, damaged)
                let what () = sprintf "%d: %s" i (Text.Encoding.UTF8.GetString damaged)
                Manifest.configuration run |> Result.teeError (isSentence (what ())) |> ignore
                Manifest.ofRun folder |> Result.teeError (isSentence (what ())) |> ignore
                Manifest.requireRegistered folder |> Result.teeError (isSentence (what ())) |> ignore
                let _, seconds, _ = Manifest.sofar folder
                Expect.isTrue (Double.IsFinite seconds && seconds >= 0.0) (what ())

                let damaged = mutated source (snd sound)
                File.WriteAllBytes(notes, damaged)

                match EnsembleProgress.read notes "key" with
                | Some found -> Expect.equal (sprintf "%A" found) shown "what was written, or nothing"
                | None -> ()

            Expect.equal (files folder) [ "evaluation.json"; "run.json" ] "nothing else is written"))

[<Tests>]
let tests =
    testList "Runs.RunFile" [
        testCase "damaged manifests, configurations and notes are read as they were, or refused" (fuzz 400)
        testLong "the same for thousands of them" (fuzz 5000)
    ]
