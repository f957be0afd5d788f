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

let tests =
    testList "Manifests" [
        test "a manifest gives back its configuration, and so does a file that holds one alone" (fun () ->
            inFolder (fun folder ->
                let manifest = {
                    Configuration = any 3
                    Environment = Platform.current ()
                    Started = DateTimeOffset.UnixEpoch
                    Step = 3L
                    Steps = 9L
                    Loss = 1.5
                    Seconds = 2.5
                    Repeatable = true
                    Composition = "what ran"
                }
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
                for field in [ "program"; "dotNet"; "system"; "processor"; "torchSource"; "libTorch" ] do
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
                let manifest = {
                    Configuration = small
                    Environment = Platform.current ()
                    Started = DateTimeOffset.UnixEpoch
                    Step = 0L
                    Steps = 0L
                    Loss = 0.0
                    Seconds = 0.0
                    Repeatable = true
                    Composition = "what ran"
                }
                let error = wantError (Manifest.save (Path.Combine(folder, "none")) manifest) "no folder"
                Expect.equal (Error.exitCode error) 6 "not writable"))
    ]
