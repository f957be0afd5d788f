/// User-defined methods: trained, kept, evaluated and resumed though they are not registered.
module Tests.Methods.UserMethodTests

open System
open System.IO
open System.Text.Json
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.Arrays
open Support.TestRuns

// A student without a head, of a user-defined teacher: SimCLR with other views.
let private mine =
    let teacher =
        { SimClr.method with Name = "mine-first" }
        |> Method.withView (Crop.padded 2L)
        |> updating (adam 1e-3)

    { DeAcl.method with Name = "mine"; Before = [ Stage.Train("first", teacher) ]; From = Some "first" }

// The student's teacher goes by another name.
let private invention =
    let rename (pass: Pass) =
        match pass.Who with
        | Frozen _ -> { pass with Who = Frozen "first" }
        | _ -> pass

    let step = mine.Step
    let adversaries = step.Adversaries |> List.map (fun a -> { a with Passes = List.map rename a.Passes })
    let step = { step with Passes = List.map rename step.Passes; Adversaries = adversaries }
    { mine with Step = step } |> updating (adam 1e-3)

let private train folder watch stop = Workbench.train folder watch stop (brief "") invention

let private trained folder = Expect.wantOk (told (train folder ignore forever)) "trained"

[<Tests>]
let tests =
    testList "Methods.UserMethod" [
        test
            "a user-defined method leaves a run that can be loaded and evaluated, and so does its stage"
            (fun () ->
                inFolder (fun folder ->
                    let before = Autograd.liveTensors ()
                    use encoder = trained (Some folder)
                    let held = Map.count (fst encoder.Weights) + Map.count (snd encoder.Weights)
                    Expect.equal
                        (Autograd.liveTensors () - before)
                        (int64 held)
                        "nothing but the encoder lives"
                    let x = single (noise (Source 2) [ 3; 1; 28; 28 ])
                    use loaded = fst (Expect.wantOk (Encoder.load folder) "loaded")
                    Expect.equal
                        (bits (Encoder.features loaded x))
                        (bits (Encoder.features encoder x))
                        "the same features"
                    use teacher =
                        fst (Expect.wantOk (Encoder.load (path [ folder; "first" ])) "the stage's")
                    Expect.notEqual
                        (bits (Encoder.features teacher x))
                        (bits (Encoder.features encoder x))
                        "other"

                    let quick = { Evaluation.defaults with Images = Some 20; Attacks = [] }
                    let measured =
                        Expect.wantOk
                            (told (Workbench.evaluate (fun _ _ -> ()) forever loaded quick))
                            "measured"
                    Expect.equal measured.Accuracies.Head.Total 20 "images"))

        test "its manifest has its printed form and cannot repeat it" (fun () ->
            inFolder (fun folder ->
                weightsOf (trained (Some folder)) |> ignore

                for folder, m in
                    [
                        folder, invention
                        path [ folder; "first" ],
                        (match invention.Before with
                         | [ Stage.Train(_, first) ] -> { first with Name = "mine/first" }
                         | _ -> failtest "one stage")
                    ] do
                    let manifest = path [ folder; "run.json" ]
                    let json = JsonSerializer.Deserialize<JsonElement>(File.ReadAllText manifest)
                    Expect.isFalse (json.GetProperty("repeatable").GetBoolean()) "not repeatable"
                    Expect.equal
                        (json.GetProperty("composition").GetString())
                        (MethodCard.text m)
                        "composition"
                    let error = wantError (Manifest.configuration manifest) "--config"
                    says [ manifest; "composed in a script"; "run that script again" ] error "sentence"
                    Expect.equal (Error.exitCode error) 5 "damaged"))

        test "a registered method's manifest has its printed form too, and repeats it" (fun () ->
            inFolder (fun folder ->
                let c = { brief "deacl" with Threat = Some "linf:0.1" }
                let weights = pretrained (Some folder) ignore c
                let manifest = path [ folder; "run.json" ]
                let json = JsonSerializer.Deserialize<JsonElement>(File.ReadAllText manifest)
                Expect.isTrue (json.GetProperty("repeatable").GetBoolean()) "repeatable"
                let composition = json.GetProperty("composition").GetString()
                Expect.stringContains composition "linf:0.1" "with what was chosen"
                let found = Expect.wantOk (Manifest.configuration manifest) "configuration"
                Expect.equal (pretrained None ignore found) weights "repeated"))

        test "stopped in either stage it resumes by the method itself, and by nothing else" (fun () ->
            inFolder (fun folder ->
                let whole = weightsOf (trained None)

                for stage in [ "mine/first"; "mine" ] do
                    let folder = path [ folder; stage.Replace('/', '-') ]
                    use stop = new CancellationTokenSource()
                    let watch (e: Event) = if e.Stage = stage && e.At.Step = 2L then stop.Cancel()
                    interruption (train (Some folder) watch stop.Token)
                    let error = refusal (Workbench.resume folder ignore forever)
                    says [ "composed in a script" ] error "it is not registered"
                    let resumed = Workbench.resumeOf id folder ignore forever invention
                    Expect.equal (weightsOf (Expect.wantOk (told resumed) "resumed")) whole stage))

        test "a folder that holds a run is not overwritten by a user-defined method" (fun () ->
            inFolder (fun folder ->
                pretrained (Some folder) ignore { brief "simclr" with Epochs = Some 1 } |> ignore
                says [ "--out"; "--resume" ] (refusal (train (Some folder) ignore forever)) "sentence"))

        test "the faults of a method are told before anything is made" (fun () ->
            inFolder (fun folder ->
                let out = path [ folder; "out" ]
                let lost = { invention with Before = [] }
                let error = refusal (Workbench.train (Some out) ignore forever (brief "") lost)
                says [ "no stage 'first'" ] error "sentence"
                Expect.isFalse (Directory.Exists out) "no folder"))

        test "a configuration's changes reach a user-defined method and its stages" (fun () ->
            let seen = ResizeArray<string * string>()
            let spy (m: Method) = {
                m with
                    Step = { m.Step with Measures = fun scene -> [ "steps", float scene.Progress.Steps ] }
            }
            let watch (e: Event) = seen.Add(e.Stage, sprintf "%A" e.Measures)
            let c = { brief "" with Epochs = Some 11; Batch = Some 12 }
            use encoder =
                Expect.wantOk (told (Workbench.train None watch forever c (spy invention))) "trained"
            Expect.equal encoder.Configuration.Method "mine" "its name"
            let last = seen[seen.Count - 1]
            Expect.equal last ("mine", sprintf "%A" [ "steps", 2.0 ]) "one epoch of two steps"
            Expect.hasLength
                (seen |> Seq.filter (fun (stage, _) -> stage = "mine/first"))
                20
                "ten epochs before it")
    ]
