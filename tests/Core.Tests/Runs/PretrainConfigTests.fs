/// Configurations as JSON, and the runs that they describe.
module Tests.Runs.PretrainConfigTests

open System
open System.IO
open System.Text.Json
open Expecto
open FsCheck
open FSharp.Reflection
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Laws

// What JSON has to escape, and letters of several alphabets.
let private word (source: Source) =
    let letter _ = source.Among [ 'a'; 'Z'; ' '; '"'; '\\'; '/'; '\n'; '\000'; '<'; '\u2028'; 'ä'; 'ж'; '中' ]
    String(Array.init (source.Whole(0, 8)) letter)

let private maybe (source: Source) value = if source.Whole(0, 1) = 0 then None else Some(value ())

let any (seed: int) : PretrainConfig =
    let source = Source seed
    let count () = source.Whole(1, 1000)

    {
        Method = source.Among [ "simclr"; "acl-ds" ]
        Dataset = source.Among [ "sample"; "cifar10" ]
        Data = maybe source (fun () -> word source)
        Images = maybe source count
        Network = maybe source (fun () -> "small")
        Width = maybe source count
        Given = maybe source (fun () -> Map [ for _ in 0 .. source.Whole(-1, 3) -> word source, word source ])
        Epochs = maybe source count
        Batch = maybe source count
        Optimizer = maybe source (fun () -> "adam")
        LearningRate =
            maybe source (fun () ->
                source.Among [ abs (source.Normal()); 0.1 + 0.2; Double.Epsilon; Double.MaxValue; 1e-5 ])
        Threat = maybe source (fun () -> "linf:8/255")
        Seed = source.Among [ 0UL; UInt64.MaxValue; uint64 (count ()) ]
        Device = "cpu"
        Precision = source.Among [ "auto"; "float32" ]
        Threads = maybe source count
        CheckpointEvery = maybe source (fun () -> source.Among [ "epoch"; "500"; "10min" ])
        Keep = maybe source count
        KeepBest = source.Whole(0, 1) = 1
    }

let private ofJson text = PretrainConfig.ofJson "run.json" text

let small = {
    PretrainConfig.defaults with
        Images = Some 40
        Network = Some "small"
        Width = Some 2
        Epochs = Some 2
        Batch = Some 16
        Precision = "float32"
}

// The training that a configuration describes; its data set is the caller's.
let private training (c: PretrainConfig) : Result<Trainer, Error list> = result {
    let! registered = PretrainConfig.registered c
    let! method, precision, device = PretrainConfig.validate c registered
    let! dataset = TrainingSetup.dataset c |> Result.mapError List.singleton
    return!
        TrainingSetup.training c method precision device dataset Map.empty |> Result.mapError List.singleton
}

// Checks the training of a configuration and frees its data.
let private looking c (look: Trainer -> 'a) =
    let training =
        Expect.wantOk (training c |> Result.mapError (List.map Error.message)) "a sound configuration"
    use _ = training.Dataset
    look training

let private faults c = Expect.wantError (PretrainConfig.check c) "faults"

[<Tests>]
let tests =
    testList "Runs.PretrainConfig" [
        testProperty "JSON gives back what was written" (fun (seed: int) ->
            let c = any seed
            Expect.equal (ofJson (PretrainConfig.toJson c)) (Ok c) "configuration")

        testProperty
            "fields are written in camelCase, those that are chosen and no others"
            (fun (seed: int) ->
                let c = any seed
                use json = JsonDocument.Parse(PretrainConfig.toJson c)
                let chosen = [
                    for field in FSharpType.GetRecordFields typeof<PretrainConfig> do
                        // None is null at run time.
                        if not (isNull (field.GetValue c)) then
                            string (Char.ToLowerInvariant field.Name[0]) + field.Name.Substring 1
                ]
                Expect.equal
                    [ for field in json.RootElement.EnumerateObject() -> field.Name ]
                    chosen
                    "fields")

        test "every truncated text is refused" (fun () ->
            let text = PretrainConfig.toJson (any 3)

            for length in 0 .. text.Length - 1 do
                let error = wantError (ofJson text[.. length - 1]) (sprintf "%d characters" length)
                Expect.equal (Error.exitCode error) 5 "damaged")

        testProperty "a changed text gives a configuration or an error with the path" (fun (seed: int) ->
            let source = Source seed
            let text = Text.StringBuilder(PretrainConfig.toJson (any seed))

            for _ in 0 .. source.Whole(0, 2) do
                text[source.Whole(0, text.Length - 1)] <-
                    source.Among(List.ofSeq "\"{}[]:,\\u0d8n19e.- x\000\n")

            match ofJson (string text) with
            | Ok found -> Expect.equal (ofJson (PretrainConfig.toJson found)) (Ok found) "a configuration"
            | Error error ->
                says [ "run.json" ] error "sentence"
                Expect.equal (Error.exitCode error) 5 "damaged")

        test "what is not chosen is not written, and has its default when read" (fun () ->
            let json = PretrainConfig.toJson PretrainConfig.defaults
            Expect.isFalse (json.Contains "threat" || json.Contains "null") "nothing that was not chosen"
            Expect.equal
                (ofJson "{\"method\": \"acl-ds\"}")
                (Ok { PretrainConfig.defaults with Method = "acl-ds" })
                "the method alone"
            Expect.equal
                (ofJson "{\"method\": \"acl-ds\", \"epochs\": null, \"device\": null}")
                (Ok { PretrainConfig.defaults with Method = "acl-ds" })
                "null is not chosen")

        testTheory
            "what is no configuration is refused with the file and the reason"
            [
                "no JSON", "nonsense", []
                "nothing", "", []
                "null", "null", []
                "a list", "[]", []
                "a number", "3", []
                "no method", "{\"dataset\": \"sample\"}", [ "method" ]
                "a field twice",
                "{\"method\": \"simclr\", \"seed\": 1, \"seed\": 2}",
                [ "Duplicate"; "'seed'" ]
                "an unknown field", "{\"method\": \"simclr\", \"epocs\": 3}", [ "'epocs'"; "'epochs'" ]
                "a field in another case",
                "{\"method\": \"simclr\", \"Epochs\": 3}",
                [ "'Epochs'"; "'epochs'" ]
                "null for the method", "{\"method\": null}", [ "'method'" ]
                "cut short", "{\"method\": \"simclr\", \"seed\": ", []
                "text after the end", "{\"method\": \"simclr\"} x", []
                "an escape that is not Unicode", "{\"\\ud800\": 3}", []
                "an infinite number",
                "{\"method\": \"simclr\", \"learningRate\": 1e999}",
                [ "'learningRate'"; "finite" ]
                "not a number",
                "{\"method\": \"simclr\", \"learningRate\": \"NaN\"}",
                [ "'learningRate'"; "finite" ]
                "a number for a text", "{\"method\": \"simclr\", \"given\": {\"teacher\": 3}}", [ "'given'" ]
                "a name twice",
                "{\"method\": \"simclr\", \"given\": {\"a\": \"x\", \"a\": \"y\"}}",
                [ "Duplicate"; "'a'" ]
                "a long value",
                sprintf "{\"method\": \"simclr\", \"epochs\": \"%s\"}" (String('x', 1000)),
                [ "'epochs'"; "xxx..." ]
                "a text for a number", "{\"method\": \"simclr\", \"epochs\": \"three\"}", [ "epochs" ]
                "a fraction for a whole number", "{\"method\": \"simclr\", \"batch\": 1.5}", [ "batch" ]
                "a negative seed", "{\"method\": \"simclr\", \"seed\": -1}", [ "seed" ]
                "a list for a text", "{\"method\": [\"simclr\"]}", [ "method" ]
            ]
            (fun (name, text, parts) ->
                let error = wantError (ofJson text) name
                says ("run.json" :: parts) error name
                Expect.equal (Error.exitCode error) 5 "damaged")

        test "all faults are told at once" (fun () ->
            let bad = {
                small with
                    Method = "simclear"
                    Width = Some 0
                    Images = Some -1
                    Epochs = Some 0
                    Batch = Some 1
                    Threads = Some 0
                    LearningRate = Some nan
                    Precision = "float8"
                    Device = "abacus"
            }
            let sentences = faults bad |> List.map Error.message

            for part in
                [
                    "'simclear'"
                    "--width"
                    "--images"
                    "--epochs"
                    "--batch"
                    "--threads"
                    "--learning-rate"
                    "'float8'"
                    "--device"
                ] do
                Expect.exists sentences (fun s -> s.Contains part) part

            Expect.hasLength sentences 9 "one each")

        testTheory
            "each fault alone"
            [
                "method", { small with Method = "acl_ds" }, "'acl-ds'"
                "network", { small with Network = Some "resnet" }, "'resnet18'"
                "threat", { small with Method = "acl-ds"; Threat = Some "l0:3" }, "--threat"
                "optimiser", { small with Optimizer = Some "sdg" }, "'sgd'"
                "a rate without an optimiser", { small with LearningRate = Some 0.1 }, "--optimizer"
                "a rate of nought",
                { small with Optimizer = Some "sgd"; LearningRate = Some 0.0 },
                "--learning-rate"
                "an infinite rate",
                { small with Optimizer = Some "sgd"; LearningRate = Some infinity },
                "--learning-rate"
                "precision", { small with Precision = "bfloat61" }, "'bfloat16'"
                "a card's precision",
                { small with Precision = "tf32" },
                "choose float32 or bfloat16, or --device cuda"
                "device", { small with Device = "cup" }, "--device"
                "a device that libtorch knows and we do not", { small with Device = "mkldnn" }, "--device"
                "images", { small with Images = Some 1 }, "--images"
            ]
            (fun (name, c, part) ->
                let errors = faults c
                Expect.hasLength errors 1 name
                says [ part ] errors.Head name)

        test "no device that is not there" (fun () ->
            if not (torch.cuda.is_available ()) then
                let card = { small with Device = "cuda"; Precision = "tf32" }
                Expect.hasLength (faults card) 1 "its precision is no fault"
                says
                    [ "--device"; "'cuda:1'" ]
                    (wantError (PretrainConfig.device "cuda:1") "cuda")
                    "sentence")

        test "data that is not there is a fault of its own" (fun () ->
            let error =
                match training { small with Dataset = "cifar10"; Data = Some "/no/such/folder" } with
                | Error [ e ] -> e
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)
            says [ "/no/such/folder" ] error "sentence")

        test "choices reach the run" (fun () ->
            looking { small with Method = "acl-ds"; Threat = Some "l2:0.5"; Seed = 9UL } (fun t ->
                Expect.equal
                    (t.Dataset.Count, t.Batch, t.Epochs, t.Machine.Seed)
                    (40L, 16, 2, 9UL)
                    "numbers"
                Expect.equal
                    (List.exactlyOne t.Method.Step.Adversaries).Threat
                    (Threat.create L2 0.5)
                    "threat"
                Expect.equal t.Machine.Network.FeatureWidth 8L "width"
                Expect.equal t.Machine.Precision Precision.Float32 "precision"))

        test "what is not chosen is as the method's recipe says" (fun () ->
            looking
                { small with Epochs = None; Batch = None; Images = None; Network = None; Width = Some 1 }
                (fun t ->
                    let recipe = SimClr.method.Recipe
                    Expect.equal (t.Batch, t.Epochs) (recipe.Batch, recipe.Epochs) "batch and epochs"
                    Expect.equal t.Dataset.Count 6000L "all images"
                    Expect.stringContains t.Machine.Network.Text "ResNet-18" "network"
                    Expect.equal t.Method.Recipe.Optimizer.Text recipe.Optimizer.Text "update rule"))

        test "the images are drawn by the seed" (fun () ->
            let labels seed =
                looking { small with Seed = seed } (fun t -> wholes t.Dataset.Labels, bits t.Dataset.Images)
            Expect.equal (labels 1UL) (labels 1UL) "the same again"
            Expect.notEqual (labels 1UL) (labels 2UL) "another seed")

        test "optimisers by name, with warm-up over a tenth of the run" (fun () ->
            for name, part in
                [
                    "sgd", "SGD, rate 2 epochs of warm-up, then cosine 0.1 to 0"
                    "lars", "LARS, rate 2 epochs of warm-up, then cosine 5 to 0"
                    "adam", "rate 2 epochs of warm-up, then cosine 0.001 to 0"
                ] do
                let m =
                    Expect.wantOk
                        (PretrainConfig.methodOf { small with Optimizer = Some name; Epochs = Some 20 })
                        name
                Expect.stringContains m.Recipe.Optimizer.Text part name

            let m =
                Expect.wantOk
                    (PretrainConfig.methodOf {
                        small with
                            Optimizer = Some "sgd"
                            LearningRate = Some 0.7
                            Epochs = Some 500
                    })
                    "rate"
            Expect.stringContains
                m.Recipe.Optimizer.Text
                "10 epochs of warm-up, then cosine 0.7 to 0"
                "a rate, and at most ten epochs")

        test "what a card computes in is no matter on a CPU" (fun () ->
            let before = torch.backends.cudnn.allow_tf32
            Accelerator.convolveInTf32 torch.CPU (not before)
            Expect.equal torch.backends.cudnn.allow_tf32 before "TF32")

        test "settled, a configuration says which precision runs" (fun () ->
            let settled = PretrainConfig.settle { small with Precision = "auto" }
            Expect.contains [ "float32"; "bfloat16" ] settled.Precision "precision"
            Expect.equal { settled with Precision = "auto" } { small with Precision = "auto" } "all else"
            Expect.equal (PretrainConfig.settle settled) settled "once settled, it stays")
    ]
