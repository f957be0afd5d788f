/// What a resumed run may change, what it refuses, and what it says of itself.
module Tests.Runs.ResumeOptionTests

open System
open System.IO
open System.Text.Json
open System.Threading
open Expecto
open FSharp.Reflection
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.TestRuns
open Support

let private json folder =
    JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(path [ folder; "run.json" ]))

// Stops a run after some steps.
let private stopped folder step c =
    use stop = new CancellationTokenSource()
    let watch (e: Event) = if e.At.Step = step then stop.Cancel()
    interruption (Workbench.pretrain (Some folder) watch stop.Token c)

let private resumed change folder watch =
    Expect.wantOk (told (Workbench.resumeWith change folder watch forever)) "resumed" |> weightsOf

let private refused change folder = refusal (Workbench.resumeWith change folder ignore forever)

// A change of every choice that decides a run's steps, by its option.
let private decisions: (string * (PretrainConfig -> PretrainConfig)) list = [
    "--method", (fun c -> { c with Method = "moco" })
    "--dataset", (fun c -> { c with Dataset = "mnist" })
    "--images", (fun c -> { c with Images = Some 23 })
    "--network", (fun c -> { c with Network = Some "resnet18" })
    "--width", (fun c -> { c with Width = Some 3 })
    "--given", (fun c -> { c with Given = Some(Map [ "teacher", "runs/x" ]) })
    "--batch", (fun c -> { c with Batch = Some 6 })
    "--optimizer", (fun c -> { c with Optimizer = Some "sgd" })
    "--learning-rate", (fun c -> { c with LearningRate = Some 0.5 })
    "--threat", (fun c -> { c with Threat = Some "linf:0.2" })
    "--seed", (fun c -> { c with Seed = 12UL })
    "--precision", (fun c -> { c with Precision = "bfloat16" })
]

// What may be another: epochs, place of the data, device, threads and checkpoints.
let private free = [ "Epochs"; "Data"; "Device"; "Threads"; "CheckpointEvery"; "Keep"; "KeepBest" ]

let private ppm (value: int) =
    Array.append "P6 8 8 255\n"B (Array.init 192 (fun i -> byte ((value + i * 7) % 256)))

// Two classes of four images, for training and for tests.
let private images folder =
    for part in [ "train"; "test" ] do
        for label in [ "a"; "b" ] do
            let home = path [ folder; part; label ]
            Directory.CreateDirectory home |> ignore

            for i in 0..3 do
                File.WriteAllBytes(path [ home; sprintf "%d.ppm" i ], ppm (i * 20 + int label[0]))

let private onFolder data = {
    brief "simclr" with
        Dataset = "folder"
        Data = Some data
        Images = None
        Batch = Some 4
}

[<Tests>]
let tests =
    testList "Runs.ResumeOption" [
        test "every choice is one that a resume may change or one that it refuses" (fun () ->
            let fields =
                FSharpType.GetRecordFields(typeof<PretrainConfig>) |> Array.map _.Name |> Set.ofArray
            let option (name: string) = name.Substring(2).Replace("-", "").ToLowerInvariant()
            let fixed' = decisions |> List.map (fst >> option)
            let all = fields |> Set.map _.ToLowerInvariant()
            let known = Set.ofList (fixed' @ (free |> List.map _.ToLowerInvariant()))
            Expect.equal known all "fields of a configuration")

        test "what decides a run's steps is refused by name, and nothing is touched" (fun () ->
            inFolder (fun folder ->
                stopped folder 4L (brief "acl-ds")
                let before = files folder |> List.map (fun f -> f, File.ReadAllBytes(path [ folder; f ]))

                for option, change in decisions do
                    let error = refused change folder
                    says [ option + ":"; "resumed keeps it" ] error option
                    Expect.equal (Error.exitCode error) 2 option

                let all = decisions |> List.map snd |> List.reduce (>>)
                let errors = Workbench.resumable all folder |> fun found -> Expect.wantError found "all"
                Expect.hasLength errors decisions.Length "all of them at once"

                let after = files folder |> List.map (fun f -> f, File.ReadAllBytes(path [ folder; f ]))
                Expect.equal after before "the folder"
                let same (c: PretrainConfig) = { c with Method = "ACL-DS"; Network = Some "Small" }
                Expect.isOk (Workbench.resumable same folder) "the same in other letters"))

        test "a run of a constant rate that is trained further is the longer run" (fun () ->
            inFolder (fun folder ->
                let method = SimClr.method |> updating (Transform.scale (Schedule.constant 0.1))
                let run epochs into =
                    Workbench.train into ignore forever { brief "" with Epochs = Some epochs } method
                let whole = Expect.wantOk (told (run 4 None)) "whole" |> weightsOf
                Expect.wantOk (told (run 2 (Some folder))) "short" |> weightsOf |> ignore
                let longer (c: PretrainConfig) = { c with Epochs = Some 4 }
                let further = Workbench.resumeOf longer folder ignore forever method
                Expect.equal (Expect.wantOk (told further) "further" |> weightsOf) whole "weights"))

        test "more epochs are trained and told, fewer than begun refused" (fun () ->
            inFolder (fun folder ->
                pretrained (Some folder) ignore (brief "simclr") |> ignore
                let epochs n (c: PretrainConfig) = { c with Epochs = Some n }
                says [ "--epochs:"; "finished"; "3 epochs" ] (refused id folder) "as it is"
                says [ "--epochs:"; "3 of 3"; "more than 3" ] (refused (epochs 2) folder) "fewer"
                let seen = ResizeArray<Event>()
                resumed (epochs 5) folder seen.Add |> ignore
                Expect.equal [ for e in seen -> int e.At.Step ] [ 10..15 ] "steps"
                let notes = seen[0].Notes
                Expect.isTrue (notes |> List.exists _.Contains("5 epochs instead of 3")) "what it does"
                Expect.isTrue (notes |> List.exists _.Contains("learning rate changes")) "to schedules"
                Expect.isEmpty seen[1].Notes "once"
                let found = json folder
                Expect.equal
                    (found.GetProperty("configuration").GetProperty("epochs").GetInt32())
                    5
                    "epochs"
                let kept = [ for note in found.GetProperty("notes").EnumerateArray() -> note.GetString() ]
                Expect.equal (List.sort kept) (List.sort notes) "in the manifest"))

        test "data may move, but not change" (fun () ->
            inFolder (fun folder ->
                let data, moved, run =
                    path [ folder; "data" ], path [ folder; "moved" ], path [ folder; "run" ]
                images data
                let whole = pretrained None ignore (onFolder data)
                stopped run 3L (onFolder data)
                Directory.Move(data, moved)
                Expect.equal (Error.exitCode (refused id run)) 4 "its place is empty"
                let there (c: PretrainConfig) = { c with Data = Some moved }
                let file = path [ moved; "train"; "a"; "0.ppm" ]
                let sound = File.ReadAllBytes file
                File.WriteAllBytes(file, Array.updateAt 100 (sound[100] + 1uy) sound)
                says [ "--data:"; "images" ] (refused there run) "one byte of one image"
                File.WriteAllBytes(file, sound)
                let other = path [ moved; "train"; "b"; "9.ppm" ]
                File.Move(file, other)
                says [ "--data:" ] (refused there run) "another label, another order"
                File.Move(other, file)
                Expect.equal (resumed there run ignore) whole "moved alone"))

        test "a data set's hash is of pixels, labels, order and normalisation" (fun () ->
            let hashOf (pixels: float[]) (labels: int64[]) change =
                use images = tensor [ 3; 1; 1; 2 ] pixels
                use data = Dataset.ofTensors "three" images (torch.tensor labels)
                Provenance.ofDataset (change data)

            let pixels = [| 0.1; 0.2; 0.3; 0.4; 0.5; 0.6 |]
            let first = hashOf pixels [| 0L; 1L; 1L |] id
            Expect.equal (hashOf pixels [| 0L; 1L; 1L |] id) first "the same"

            for what, other in
                [
                    "a pixel", hashOf (Array.updateAt 3 0.41 pixels) [| 0L; 1L; 1L |] id
                    "a label", hashOf pixels [| 0L; 1L; 0L |] id
                    "the order", hashOf (Array.append pixels[2..] pixels[..1]) [| 1L; 1L; 0L |] id
                    "what images are normalised by",
                    hashOf pixels [| 0L; 1L; 1L |] (fun d -> { d with Mean = [ 0.5 ] })
                ] do
                Expect.notEqual other first what)

        test "another run in a stage's place is refused" (fun () ->
            inFolder (fun folder ->
                let teacher, run = path [ folder; "teacher" ], path [ folder; "run" ]
                pretrained (Some teacher) ignore { brief "simclr" with Epochs = Some 1 } |> ignore
                stopped run 3L { brief "deacl" with Given = Some(Map [ "teacher", teacher ]) }
                let other = { brief "simclr" with Epochs = Some 1; Seed = 5UL }
                Expect.wantOk (told (Workbench.replace teacher ignore forever other)) "another"
                |> weightsOf
                |> ignore
                says [ "--given:"; "'teacher'" ] (refused id run) "other weights"))

        test "what a stage made for another seed is made again, with a word" (fun () ->
            inFolder (fun folder ->
                let one, two = path [ folder; "one" ], path [ folder; "two" ]
                let encoder = path [ folder; "encoder" ]
                pretrained (Some encoder) ignore (brief "simclr") |> ignore
                let c = { brief "advcl" with Epochs = Some 1; Given = Some(Map [ "encoder", encoder ]) }
                let whole = pretrained None ignore c
                stopped one 1L c
                stopped two 1L { c with Seed = 4UL }
                let made = "pseudo-labels.safetensors"
                File.Copy(path [ two; made ], path [ one; made ], true)

                for file in Directory.GetFiles(one, "checkpoint*") do
                    File.Delete file

                // As it stands before its own first step.
                let manifest = path [ one; "run.json" ]
                let step = (json one).GetProperty("step").GetInt64()
                File.WriteAllText(
                    manifest,
                    (File.ReadAllText manifest).Replace(sprintf "\"step\": %d" step, "\"step\": 0")
                )
                let notes = ResizeArray<string>()
                Expect.equal (resumed id one (fun e -> notes.AddRange e.Notes)) whole "weights"
                Expect.isTrue (notes.Exists(fun n -> n.Contains made && n.Contains "made again")) "told"))

        test
            "a run says what it is before its first step, and its time is that of all its processes"
            (fun () ->
                inFolder (fun folder ->
                    use stop = new CancellationTokenSource()
                    let mutable first = None

                    let watch (e: Event) =
                        if e.At.Step = 1L then first <- Some(json folder)
                        if e.At.Step = 4L then stop.Cancel()

                    interruption (Workbench.pretrain (Some folder) watch stop.Token (brief "simclr"))
                    let found = Expect.wantSome first "run.json at the first step"
                    Expect.equal (found.GetProperty("step").GetInt64()) 0L "no step yet"
                    Expect.equal (found.GetProperty("steps").GetInt64()) 9L "steps in all"
                    Expect.equal (found.GetProperty("images").GetInt64()) 24L "images"
                    Expect.isFalse (found.TryGetProperty "loss" |> fst) "no loss"
                    let started = (json folder).GetProperty("started").GetString()
                    let seconds = (json folder).GetProperty("seconds").GetRawText()
                    let manifest = path [ folder; "run.json" ]
                    let earlier =
                        (File.ReadAllText manifest).Replace("\"seconds\": " + seconds, "\"seconds\": 1000")
                    File.WriteAllText(manifest, earlier)
                    resumed id folder ignore |> ignore
                    Expect.equal ((json folder).GetProperty("started").GetString()) started "started"
                    let now = (json folder).GetProperty("seconds").GetDouble()
                    Expect.isGreaterThan now 1000.0 "seconds"
                    Expect.isLessThan now 1100.0 "of both"))

        test "an older checkpoint is resumed in a folder of its own" (fun () ->
            inFolder (fun folder ->
                let run, again = path [ folder; "run" ], path [ folder; "again" ]
                let weights = pretrained (Some run) ignore (brief "simclr")
                let older = path [ run; "checkpoint.previous.safetensors" ]
                says [ "--resume:"; "a file"; "checkpoint.safetensors" ] (refused id older) "a file"
                Directory.CreateDirectory again |> ignore
                File.Copy(older, path [ again; "checkpoint.safetensors" ])
                Expect.equal (resumed id again ignore) weights "as the sentence says"))

        test "a run is replaced once the new one is known to be sound" (fun () ->
            inFolder (fun folder ->
                let short = { brief "simclr" with Epochs = Some 1 }
                pretrained (Some folder) ignore short |> ignore
                let all () = files folder |> List.map (fun f -> f, File.ReadAllBytes(path [ folder; f ]))
                let before = all ()

                for broken in
                    [
                        { short with Threads = Some 0 }
                        { short with Dataset = "cifar10"; Data = Some(path [ folder; "none" ]) }
                        { brief "deacl" with Given = Some(Map [ "teacher", path [ folder; "none" ] ]) }
                    ] do
                    refusal (Workbench.replace folder ignore forever broken) |> ignore
                    Expect.equal (all ()) before "as it was"

                let other = { short with Seed = 3UL }
                let weights = pretrained None ignore other
                let replaced =
                    Expect.wantOk (told (Workbench.replace folder ignore forever other)) "replaced"
                Expect.equal (weightsOf replaced) weights "the other run"
                let found = Expect.wantOk (Manifest.ofRun folder) "its manifest"
                Expect.equal found.Seed 3UL "its seed"))

        test "a run that ends in its warm-up says so" (fun () ->
            let note method steps epochs = Epochs.warmUpNote method steps epochs
            Expect.isNone (note SimClr.method 4000L 1000) "the recipe's own epochs"
            let said = Expect.wantSome (note SimClr.method 80L 2) "two epochs of ten"
            Expect.stringContains said "4" "the rate reached"
            let still = SimClr.method |> updating (Transform.scale (Schedule.constant 0.1))
            Expect.isNone (note still 80L 2) "a constant rate"
            inFolder (fun folder ->
                let seen = ResizeArray<Event>()
                pretrained (Some folder) seen.Add (brief "simclr") |> ignore
                Expect.exists seen[0].Notes _.Contains("warm-up") "told at the first step"))

        test "a run with fewer images than a batch says so" (fun () ->
            Expect.isNone (Epochs.batchNote 64 64L) "all of them"
            Expect.isSome (Epochs.batchNote 65 64L) "one more"
            inFolder (fun folder ->
                let seen = ResizeArray<Event>()
                pretrained (Some folder) seen.Add { brief "simclr" with Batch = Some 5000 } |> ignore
                Expect.exists seen[0].Notes _.Contains("batch of 5000 images") "told at the first step"))

        test "an adversary's threat, and what is kept, are refused where there is none" (fun () ->
            let run folder c = refusal (Workbench.pretrain folder ignore forever c)
            says
                [ "--threat:"; "'simclr'" ]
                (run None { brief "simclr" with Threat = Some "linf:0.1" })
                "threat"
            says [ "--keep:"; "no folder" ] (run None { brief "simclr" with Keep = Some 3 }) "keep"
            says [ "--data:"; "embedded" ] (run None { brief "simclr" with Data = Some "data" }) "data"
            Expect.isOk (PretrainConfig.check { brief "deacl" with Threat = Some "linf:0.1" }) "a stage's"
            Expect.isOk (PretrainConfig.check { brief "simclr" with Optimizer = Some "AdamW" }) "any case")

        test "weights of a run on a card are used where there is none" (fun () ->
            inFolder (fun folder ->
                let checkpoint = checkpointOf SimClr.method
                let onCard = {
                    checkpoint with
                        Configuration = { checkpoint.Configuration with Device = "cuda:7" }
                }
                Expect.isOk (Checkpoint.save folder 2 onCard) "saved"
                use encoder = fst (Expect.wantOk (Encoder.load folder) "loaded")
                Expect.equal encoder.Device.``type`` DeviceType.CPU "on the CPU"
                Expect.equal encoder.Configuration.Device "cuda:7" "where it was trained"
                use asked = fst (Expect.wantOk (Encoder.loadOn (Some torch.CPU) folder) "asked for")
                Expect.equal (hash (fst asked.Weights)) (hash (fst encoder.Weights)) "weights"
                let file = path [ folder; "encoder.safetensors" ]
                Expect.isOk (Encoder.save file encoder) "exported"
                use again = fst (Expect.wantOk (Encoder.load file) "read")
                let x = noise (Source 1) [ 2; 1; 12; 12 ]
                let seen encoder = Scope.value (fun () -> Arrays.floats (Encoder.features encoder x))
                Expect.equal (seen again) (seen encoder) "the same features"))

        test "an encoder of another network than its configuration names is not written" (fun () ->
            inFolder (fun folder ->
                use encoder =
                    Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf SimClr.method)) "encoder"
                let file = path [ folder; "encoder.safetensors" ]

                let renamed = {
                    encoder with
                        Weights =
                            fst encoder.Weights
                            |> Map.toSeq
                            |> Seq.map (fun (name, x) -> "own." + name, x)
                            |> Map.ofSeq,
                            snd encoder.Weights
                }

                // The same tensors, and another function of them.
                let doubled = {
                    encoder with
                        Network = {
                            encoder.Network with
                                Apply =
                                    fun call parameters buffers images ->
                                        encoder.Network.Apply call parameters buffers (images * 2.0)
                        }
                }

                for own in [ renamed; doubled ] do
                    let error = wantError (Encoder.save file own) "refused"
                    says [ "'small'"; "zoo"; "Safetensors.write" ] error "why"
                    Expect.equal (files folder) [] "no file"

                let error =
                    wantError (Encoder.save (path [ folder; "encoder.pt" ]) encoder) "another format"
                says [ "encoder.pt"; "encoder.safetensors" ] error "its ending"
                Expect.isOk (Encoder.save file encoder) "itself"
                let text = Text.Encoding.Latin1.GetString(File.ReadAllBytes file)
                Expect.stringContains text "\"format\":\"pt\"" "what other programs look for"))
    ]
