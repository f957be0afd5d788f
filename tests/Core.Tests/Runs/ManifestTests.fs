/// What a run's folder says of the run.
module Tests.Runs.ManifestTests

open System
open System.Globalization
open System.IO
open System.Text.Json
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Laws
open Tests.Runs.PretrainConfigTests

let private manifest configuration step = {
    Configuration = configuration
    Environment = Platform.current ()
    Started = DateTimeOffset.UnixEpoch
    Step = step
    Steps = 9L
    Loss = Some 1.5
    Seconds = 2.5
    Images = 7L
    Provenance = None
    Notes = []
    Repeatable = true
    Composition = "what ran"
}

[<Tests>]
let tests =
    testList "Runs.Manifest" [
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
                for field in [ "program"; "dotNet"; "system"; "processor"; "torchSharp"; "libTorch" ] do
                    Expect.isNotWhitespace (environment.GetProperty(field: string).GetString()) field
                let alone = Path.Combine(folder, "alone.json")
                File.WriteAllText(alone, PretrainConfig.toJson manifest.Configuration)
                Expect.equal (Manifest.configuration alone) (Ok manifest.Configuration) "alone"
                Expect.equal
                    (Directory.GetFiles folder |> Array.map Path.GetFileName |> Array.sort)
                    [| "alone.json"; "run.json" |]
                    "no temporary file stays"))

        test "a manifest of an earlier version is read" (fun () ->
            inFolder (fun folder ->
                Expect.isOk (Manifest.save folder (manifest small 0L)) "saved"
                let path = Path.Combine(folder, "run.json")
                let now = File.ReadAllText path
                let before =
                    now
                        .Replace("\"torchSharp\"", "\"torchSource\": \"system\", \"torch\"")
                        .Replace("\"loss\"", "\"was\"")
                Expect.notEqual before now "other fields"
                File.WriteAllText(path, before)
                Expect.equal (Manifest.configuration path) (Ok small) "to repeat"
                Expect.equal (Manifest.ofRun folder) (Ok small) "to go on"))

        test "every name in a manifest is in camelCase, and nothing in it is null" (fun () ->
            inFolder (fun folder ->
                let rec visit (element: JsonElement) =
                    Expect.notEqual element.ValueKind JsonValueKind.Null "null"

                    if element.ValueKind = JsonValueKind.Object then
                        for field in element.EnumerateObject() do
                            Expect.isTrue (Char.IsAsciiLetterLower field.Name[0]) field.Name
                            Expect.all field.Name Char.IsAsciiLetter field.Name
                            visit field.Value

                Expect.isOk (Manifest.save folder (manifest small 3L)) "saved"
                use json = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "run.json")))
                visit json.RootElement))

        testProperty "numbers keep every digit" (fun (loss: float) (seconds: float) ->
            inFolder (fun folder ->
                let saved = { manifest small 3L with Loss = Some loss; Seconds = seconds }
                Expect.isOk (Manifest.save folder saved) "saved"
                use json = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "run.json")))

                for name, value in [ "loss", loss; "seconds", seconds ] do
                    let field = json.RootElement.GetProperty name
                    // Values that are not finite are written as strings.
                    let found =
                        if field.ValueKind = JsonValueKind.String then
                            Double.Parse(field.GetString(), CultureInfo.InvariantCulture)
                        else
                            field.GetDouble()
                    Expect.equal
                        (BitConverter.DoubleToInt64Bits found)
                        (BitConverter.DoubleToInt64Bits value)
                        name))

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
                        "null"
                        "{\"configuration\": 3}"
                        "{\"configuration\": null}"
                        "{\"configuration\": {\"method\": \"simclr\"}, \"configuration\": {}}"
                        "{\"configuration\": {\"method\": \"simclr\"}, \"repeatable\": \"no\"}"
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

        test "a run resumes by its manifest only where its own training has not begun" (fun () ->
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
