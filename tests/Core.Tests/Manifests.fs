/// What a run's folder says of the run.
module Manifests

open System
open System.IO
open System.Text.Json
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Laws
open Configurations

let private manifest configuration step = {
    Configuration = configuration
    Environment = Platform.current ()
    Started = DateTimeOffset.UnixEpoch
    Step = step
    Steps = 9L
    Loss = 1.5
    Seconds = 2.5
    Repeatable = true
    Composition = "what ran"
}

let tests =
    testList "Manifests" [
        test "a manifest gives back its configuration, and so does a file that holds one alone" (fun () ->
            inFolder (fun folder ->
                let manifest = manifest (any 3) 3L
                Expect.isOk (Manifest.save folder manifest) "saved"
                let path = Path.Combine(folder, "run.json")
                Expect.equal (Manifest.configuration path) (Ok manifest.Configuration) "of the manifest"
                let found = JsonSerializer.Deserialize<JsonElement>(File.ReadAllText path)
                Expect.equal
                    (found.GetProperty("step").GetInt32(),
                     found.GetProperty("steps").GetInt32(),
                     found.GetProperty("loss").GetDouble())
                    (3, 9, 1.5)
                    "numbers"
                let environment = found.GetProperty "environment"
                Expect.isGreaterThan (environment.GetProperty("threads").GetInt32()) 0 "threads"
                for field in [ "program"; "dotNet"; "system"; "processor"; "libTorch" ] do
                    Expect.isNotWhitespace (environment.GetProperty(field: string).GetString()) field
                let alone = Path.Combine(folder, "alone.json")
                File.WriteAllText(alone, Configuration.toJson manifest.Configuration)
                Expect.equal (Manifest.configuration alone) (Ok manifest.Configuration) "alone"
                Expect.equal
                    (Directory.GetFiles folder |> Array.map Path.GetFileName |> Array.sort)
                    [| "alone.json"; "run.json" |]
                    "no temporary file stays"))

        test "a manifest that is missing, damaged or cannot be written is told" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "run.json")
                Expect.equal
                    (Error.exitCode (wantError (Manifest.configuration path) "missing"))
                    4
                    "missing"

                for text in
                    [
                        ""
                        "{"
                        "[]"
                        "7"
                        "{\"configuration\": 3}"
                        "{\"configuration\": {\"methods\": \"x\"}}"
                    ] do
                    File.WriteAllText(path, text)
                    let error = wantError (Manifest.configuration path) text
                    says [ path ] error text
                    Expect.equal (Error.exitCode error) 5 text

                Expect.equal
                    (Error.exitCode (wantError (Manifest.configuration folder) "a folder"))
                    5
                    "a folder"
                let error =
                    wantError (Manifest.save (Path.Combine(folder, "none")) (manifest small 0L)) "no folder"
                Expect.equal (Error.exitCode error) 6 "not writable"))

        test "a run goes on by its manifest only where its own training has not begun" (fun () ->
            inFolder (fun folder ->
                let code () = Error.exitCode (wantError (Manifest.ofRun folder) "no run")
                Expect.equal (code ()) 4 "nothing there"
                Expect.isOk (Manifest.save folder (manifest small 0L)) "announced"
                Expect.equal (Manifest.ofRun folder) (Ok small) "its configuration"
                Expect.isOk (Manifest.save folder (manifest small 3L)) "trained"
                Expect.equal (code ()) 4 "its checkpoint is missing"

                for text in [ "{"; "[]"; "7"; "{\"step\": \"0\"}"; "{\"step\": 0, \"configuration\": 3}" ] do
                    File.WriteAllText(Path.Combine(folder, "run.json"), text)
                    Expect.isError (Manifest.ofRun folder) text))

        test "what was composed in a script cannot be repeated from its manifest" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "run.json")
                Expect.isOk (Manifest.save folder { manifest small 3L with Repeatable = false }) "saved"
                let error = wantError (Manifest.configuration path) "refused"
                says [ path; "script" ] error "why"
                Expect.isOk (Manifest.save folder { manifest small 0L with Repeatable = false }) "announced"
                Expect.equal (Manifest.ofRun folder) (Ok small) "but it can go on"))
    ]
