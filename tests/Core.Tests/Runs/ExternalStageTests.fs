/// Runs that the user names in place of a method's stages.
module Tests.Runs.ExternalStageTests

open System
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Fixtures
open Support.Laws
open Support.TestRuns
open Support
open Tests.Runs

let private giving stages c = { c with Given = Some(Map.ofList stages) }

let private pretrain c = Workbench.pretrain None ignore forever c

let private stagesOf (c: PretrainConfig) folder =
    let seen = ResizeArray<string>()
    let watch (e: Event) = if not (seen.Contains e.Stage) then seen.Add e.Stage
    let weights = pretrained folder watch c
    List.ofSeq seen, weights

[<Tests>]
let tests =
    testList "Runs.ExternalStage" [
        test "a run takes the place of a stage, and its epochs go to the others" (fun () ->
            inFolder (fun folder ->
                let teacher, run = path [ folder; "teacher" ], path [ folder; "run" ]
                pretrained (Some teacher) ignore (brief "simclr") |> ignore
                let c = brief "deacl" |> giving [ "teacher", teacher ]
                let mutable epochs = 0
                let watch (e: Event) =
                    Expect.equal e.Stage "deacl" "no other stage"
                    epochs <- e.At.Epochs
                let weights = pretrained (Some run) watch c
                Expect.equal epochs 3 "all epochs are the student's"
                Expect.equal
                    (files run |> List.filter (fun f -> not (f.Contains "previous")))
                    [ "checkpoint.safetensors"; "run.json" ]
                    "no folder of a stage"

                // The same teacher by another way gives the same student; another teacher another.
                let other = path [ folder; "other" ]
                pretrained (Some other) ignore { brief "simclr" with Seed = 12UL } |> ignore
                let _, again = stagesOf c None
                let _, changed = stagesOf (brief "deacl" |> giving [ "teacher", other ]) None
                Expect.equal again weights "the same"
                Expect.notEqual changed weights "another teacher"))

        test "weights of another program take the place of a stage as a run's own would" (fun () ->
            inFolder (fun folder ->
                let teacher, file = path [ folder; "teacher" ], path [ folder; "weights.safetensors" ]
                pretrained (Some teacher) ignore (brief "simclr") |> ignore

                let write keeps =
                    let encoder, _ = Expect.wantOk (Encoder.load teacher) "teacher"
                    use encoder = encoder
                    Map [
                        for KeyValue(name, x) in Seq.append (fst encoder.Weights) (snd encoder.Weights) do
                            if keeps name then Branch.stem name, x
                    ]
                    |> StateDictTests.writePython file

                // The teacher's head is no part of the network that is named.
                write (fun name -> not (name.StartsWith "head."))
                let given run = pretrained None ignore (brief "deacl" |> giving [ "teacher", run ])
                use data = sample true 1
                let own = sprintf "%.17g/%.17g" data.Mean.Head data.Std.Head
                Expect.equal (given (sprintf "small@%s:%s" own file)) (given teacher) "the same student"
                Expect.notEqual
                    (given ("small@none:" + file))
                    (given teacher)
                    "normalised by something else"

                let unsaid = refusal (pretrain (brief "deacl" |> giving [ "teacher", "small:" + file ]))
                says
                    [ "--given"; "trained with"; "small@none:" ]
                    unsaid
                    "what normalised its images is asked for"
                let unknown =
                    refusal (pretrain (brief "deacl" |> giving [ "teacher", "small@mnist:" + file ]))
                says [ "normalisation 'mnist'" ] unknown "a normalisation that there is not"

                let wrong = brief "deacl" |> giving [ "teacher", "resnet18@none:" + file ]
                let error = refusal (pretrain wrong)
                says [ file; "weights of the small network" ] error "another network"
                write (fun name -> name.StartsWith "conv")
                let error = refusal (pretrain (brief "deacl" |> giving [ "teacher", "small@none:" + file ]))
                says [ file; "it lacks 'bn1.bias'" ] error "half of it"
                let missing = brief "deacl" |> giving [ "teacher", "small@none:" + path [ folder; "no" ] ]
                Expect.equal (Error.exitCode (refusal (pretrain missing))) 4 "missing"))

        test "a run whose stages are given is resumed with them, and its manifest names them" (fun () ->
            inFolder (fun folder ->
                let teacher, run = path [ folder; "teacher" ], path [ folder; "run" ]
                pretrained (Some teacher) ignore (brief "simclr") |> ignore
                let c = brief "deacl" |> giving [ "teacher", teacher ]
                let whole = pretrained None ignore c
                use stop = new CancellationTokenSource()
                let watch (e: Event) = if e.At.Step = 4L then stop.Cancel()
                interruption (Workbench.pretrain (Some run) watch stop.Token c)
                let found = Expect.wantOk (Manifest.configuration (path [ run; "run.json" ])) "manifest"
                Expect.equal found.Given c.Given "given"
                let resumed = Expect.wantOk (told (Workbench.resume run ignore forever)) "resumed"
                Expect.equal (weightsOf resumed) whole "weights"))

        test "AdvCL clusters the features of an encoder that only the user can name" (fun () ->
            inFolder (fun folder ->
                let encoder, run = path [ folder; "encoder" ], path [ folder; "run" ]
                pretrained (Some encoder) ignore (brief "simclr") |> ignore
                let c = { brief "advcl" with Epochs = Some 1 } |> giving [ "encoder", encoder ]
                let stages, _ = stagesOf c (Some run)
                Expect.equal stages [ "advcl/pseudo-labels"; "advcl" ] "stages"
                let _, made =
                    Expect.wantOk (Safetensors.read (path [ run; "pseudo-labels.safetensors" ])) "labels"

                for KeyValue(name, x) in TensorTree.toTensors made do
                    let k = int (name.Split('-')[1])
                    let labels = Arrays.wholes x
                    Expect.hasLength labels 24 "a label an image"
                    // No more clusters than images.
                    Expect.hasLength (Array.distinct labels) (min k 24) name
                    x.Dispose()

                Expect.equal made.Count 5 "a set for each number of clusters"))

        test "what is not named, or named and not there, is refused before anything is made" (fun () ->
            inFolder (fun folder ->
                let run = path [ folder; "run" ]
                pretrained (Some run) ignore { brief "simclr" with Epochs = Some 1 } |> ignore
                let out = path [ folder; "out" ]

                for c, code, parts in
                    [
                        brief "advcl", 2, [ "--given"; "'advcl'"; "encoder=RUN"; "pseudo-labels" ]
                        brief "a-infonce-hn" |> giving [ "encodr", run ], 2, [ "encoder=RUN" ]
                        brief "deacl" |> giving [ "techer", run ],
                        3,
                        [ "no stage 'techer'"; "Did you mean 'teacher'?" ]
                        brief "simclr" |> giving [ "teacher", run ], 2, [ "'simclr' has no stage" ]
                        // What is computed cannot be given.
                        brief "dynacl++" |> giving [ "clusters", run ],
                        3,
                        [ "'clusters'"; "encoder, linear" ]
                    ] do
                    let error = refusal (Workbench.pretrain (Some out) ignore forever c)
                    says parts error c.Method
                    Expect.equal (Error.exitCode error) code c.Method
                    Expect.isFalse (IO.Directory.Exists out) "no folder"))

        test "a run that cannot stand for a stage is refused" (fun () ->
            inFolder (fun folder ->
                let missing =
                    refusal (pretrain (brief "deacl" |> giving [ "teacher", path [ folder; "no" ] ]))
                Expect.equal (Error.exitCode missing) 4 "missing"
                let wide = path [ folder; "wide" ]
                pretrained (Some wide) ignore { brief "simclr" with Width = Some 3; Epochs = Some 1 }
                |> ignore
                let error = refusal (pretrain (brief "deacl" |> giving [ "teacher", wide ]))
                says
                    [ "--given"; "12 features"; "8 features"; "--width"; "'deacl/teacher'" ]
                    error
                    "another width"
                let checkpoint = checkpointOf SimClr.method
                Expect.isOk (Checkpoint.save folder 2 { checkpoint with Input = colour }) "saved"
                State.dispose checkpoint.State
                let before = Autograd.liveTensors ()
                let error = refusal (pretrain (brief "deacl" |> giving [ "teacher", folder ]))
                says [ "--given"; folder; "3 channel" ] error "sentence"
                Expect.equal (Error.exitCode error) 2 "a bad option"
                Expect.equal (Autograd.liveTensors ()) before "nothing left"))
    ]
