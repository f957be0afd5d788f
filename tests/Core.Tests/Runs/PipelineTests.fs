/// Methods of several stages: what they leave, how they share epochs, and how they go on after a stop.
module Tests.Runs.PipelineTests

open System
open System.Collections.Generic
open System.IO
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.TestRuns

// Methods of several stages, each with epochs for all of them.
let private chains = [ "deacl", 4; "dynacl++", 4; "c-lead:as-published", 3; "robust-distill", 4 ]

let private methodOf name = Expect.wantOk (MethodRegistry.find name) name

let private configuration (name, epochs) : PretrainConfig = { brief name with Epochs = Some epochs }

// A stage's title in events, and its epochs where it is trained.
let private plan (m: Method) = [
    for stage in m.Before do
        match stage with
        | Stage.Train(name, inner) -> m.Name + "/" + name, Some inner.Recipe.Epochs
        | other -> m.Name + "/" + Stage.name other, None
    m.Name, Some m.Recipe.Epochs
]

// By hand: each stage its share of all epochs, at least one.
let private shares (m: Method) total =
    let trained = plan m |> List.choose (fun (name, epochs) -> epochs |> Option.map (fun e -> name, e))
    let sum = trained |> List.sumBy snd
    trained |> List.map (fun (name, own) -> name, max 1 (int (round (float (total * own) / float sum))))

// Stops a run in the middle and at the end of every stage, and resumes each time until it is done: its weights,
// how often it was stopped, and the stages that each part of it went through.
let private stoppedEverywhere folder (c: PretrainConfig) =
    let stops = HashSet<string * int64>()
    let parts = ResizeArray<string list>()

    let rec go (train: (Event -> unit) -> CancellationToken -> Result<Encoder, Error list>) =
        use stop = new CancellationTokenSource()
        let seen = ResizeArray<string>()
        let before = Autograd.liveTensors ()

        let watch (e: Event) =
            if not (seen.Contains e.Stage) then seen.Add e.Stage
            let due = Double.IsNaN e.Loss || e.At.Step = 2L || (e.At.IsFinished && e.Stage <> c.Method)
            if due && stops.Add((e.Stage, e.At.Step)) then stop.Cancel()

        let outcome = train watch stop.Token
        parts.Add(List.ofSeq seen)

        match outcome with
        | Error [ Error.Interrupted ] ->
            Expect.equal (Autograd.liveTensors ()) before "nothing left after a stop"
            go (Workbench.resume folder)
        | outcome -> Expect.wantOk (told outcome) "trained" |> weightsOf

    let weights = go (fun watch stop -> Workbench.pretrain (Some folder) watch stop c)
    weights, stops, List.ofSeq parts

[<Tests>]
let tests =
    testList "Runs.Pipeline" [
        for chain in chains do
            let name, epochs = chain
            let m = methodOf name

            test (name + ": stages run in turn, and share the epochs as their recipes do") (fun () ->
                let seen = ResizeArray<string * Progress * float>()
                let watch (e: Event) = seen.Add(e.Stage, e.At, e.Loss)
                pretrained None watch (configuration chain) |> ignore
                let stages = seen |> Seq.map (fun (stage, _, _) -> stage) |> Seq.distinct |> List.ofSeq
                Expect.equal stages (plan m |> List.map fst) "in turn"
                let trained = shares m epochs

                for stage, epochs in trained do
                    let at = [
                        for s, at, loss in seen do
                            if s = stage && Double.IsFinite loss then at
                    ]
                    Expect.hasLength at (3 * epochs) (stage + ": steps")
                    Expect.isTrue (List.last at).IsFinished (stage + ": to its end")

                for stage, own in plan m do
                    if own.IsNone then
                        let losses = [
                            for s, _, loss in seen do
                                if s = stage then loss
                        ]
                        Expect.all losses Double.IsNaN (stage + ": nothing is learnt"))

            test
                (name + ": stopped in every stage and resumed, it ends as if it had not been stopped")
                (fun () ->
                    inFolder (fun folder ->
                        let whole = pretrained None ignore (configuration chain)
                        let weights, stops, parts = stoppedEverywhere folder (configuration chain)
                        Expect.equal weights whole "weights"

                        for stage, _ in plan m do
                            Expect.exists
                                stops
                                (fun (stopped, _) -> stopped = stage)
                                ("stopped in " + stage)

                        // Every part begins where the one before it ended, or with what comes next.
                        for before, after in List.pairwise parts do
                            let done' = if before.Length > 1 then before[.. before.Length - 2] else []
                            Expect.isEmpty
                                (List.filter (fun s -> List.contains s done') after)
                                "nothing is done twice"

                        let expected = [
                            for stage in m.Before do
                                match stage with
                                | Stage.Compute(name, _) -> name + ".safetensors"
                                | other -> Stage.name other + "/checkpoint.safetensors"
                            "checkpoint.safetensors"
                            "run.json"
                        ]

                        let found =
                            files folder
                            |> List.filter (fun f -> not (f.Contains "previous" || f.Contains "/run.json"))
                        Expect.equal
                            found
                            (List.sortWith (fun a b -> String.CompareOrdinal(a, b)) expected)
                            "files"))

        test "a stage's own folder is a run: it can be loaded and evaluated" (fun () ->
            inFolder (fun folder ->
                let c = configuration ("deacl", 4)
                pretrained (Some folder) ignore c |> ignore
                let encoder, warning = Expect.wantOk (Encoder.load (path [ folder; "teacher" ])) "loaded"
                use encoder = encoder
                Expect.isNone warning "warning"
                Expect.equal encoder.Configuration.Method "deacl/teacher" "its name"
                Expect.equal encoder.Configuration.Epochs (Some 4) "its share of the epochs"
                Expect.equal encoder.Network.EmbeddingWidth 128L "with the teacher's head"
                use whole = fst (Expect.wantOk (Encoder.load folder) "the student")
                Expect.notEqual (hash (fst encoder.Weights)) (hash (fst whole.Weights)) "another network"

                let quick = { Evaluation.defaults with Images = Some 20; Attacks = [ "fgsm" ] }
                let measured =
                    Expect.wantOk
                        (told (Workbench.evaluate (fun _ _ -> ()) forever encoder quick))
                        "measured"
                Expect.equal (measured.Accuracies |> List.map _.Name) [ "clean"; "fgsm" ] "accuracies"))

        test "a student starts from its teacher's weights" (fun () ->
            inFolder (fun folder ->
                // A step of no length is the start.
                let still = DeAcl.method |> updating (Transform.scale (Schedule.constant 0.0))
                let train = Workbench.train (Some folder) ignore forever (brief "") still
                weightsOf (Expect.wantOk (told train) "trained") |> ignore
                use teacher = fst (Expect.wantOk (Encoder.load (path [ folder; "teacher" ])) "teacher")
                use student = fst (Expect.wantOk (Encoder.load folder) "student")
                let fresh = fst (init 11UL teacher.Network)
                let name = "conv2.weight"
                let weights = bits (weight name teacher.Weights)
                Expect.equal (bits (weight name student.Weights)) weights "weights"
                Expect.notEqual (bits fresh[name]) weights "which have learnt"))

        test
            "an update rule that is chosen is every stage's, with warm-up over a tenth of its own epochs"
            (fun () ->
                let rules c =
                    let c = { c with Optimizer = Some "sgd"; LearningRate = Some 0.7 }
                    let m = Expect.wantOk (PretrainConfig.customise c (methodOf c.Method)) c.Method

                    [
                        for stage in m.Before do
                            match stage with
                            | Stage.Train(_, inner) -> inner.Recipe.Optimizer.Text
                            | _ -> ()
                        m.Recipe.Optimizer.Text
                    ]

                let expect c warmUps =
                    let found = rules c
                    Expect.hasLength found (List.length warmUps) c.Method

                    for rule, epochs in List.zip found warmUps do
                        let text = sprintf "SGD, rate %d epochs of warm-up, then cosine 0.7 to 0" epochs
                        Expect.stringContains rule text c.Method

                // 110 epochs: 100 of the teacher, 10 of the student.
                expect { brief "deacl" with Epochs = Some 110 } [ 10; 1 ]
                expect { brief "robust-distill" with Epochs = Some 73 } [ 5; 1; 1; 1 ]
                // As the recipes say.
                expect { brief "deacl" with Epochs = None } [ 10; 10 ]
                // All of them are the student's where the teacher is there.
                let given = Some(Map [ "teacher", "runs/simclr" ])
                expect { brief "deacl" with Epochs = Some 50; Given = given } [ 10; 5 ])

        test "a stage is no method without those before it" (fun () ->
            for name, missing in [ "robust-distill/student", "teacher"; "dynacl++/linear", "encoder" ] do
                let error = refusal (Workbench.pretrain None ignore forever (brief name))
                says [ sprintf "no stage '%s'" missing ] error name)

        test "a stage that cannot be written ends the run with a sentence" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(path [ folder; "teacher" ], "")
                let before = Autograd.liveTensors ()
                let error = refusal (Workbench.pretrain (Some folder) ignore forever (brief "deacl"))
                Expect.equal (Error.exitCode error) 6 "not writable"
                Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test "what was made and is damaged is told, not made anew in silence" (fun () ->
            inFolder (fun folder ->
                use stop = new CancellationTokenSource()
                let watch (e: Event) = if e.Stage = "dynacl++/linear" then stop.Cancel()
                interruption (Workbench.pretrain (Some folder) watch stop.Token (brief "dynacl++"))
                let made = path [ folder; "clusters.safetensors" ]
                File.WriteAllText(made, "nonsense")
                let before = Autograd.liveTensors ()
                let error = refusal (Workbench.resume folder ignore forever)
                says [ made ] error "sentence"
                Expect.equal (Error.exitCode error) 5 "damaged"
                Expect.equal (Autograd.liveTensors ()) before "nothing left"))
    ]
