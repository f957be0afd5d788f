/// The verbs, end to end on a few images.
module Tests.Evaluation.VerbTests

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private configuration method = {
    PretrainConfig.defaults with
        Method = method
        Images = Some 128
        Network = Some "small"
        Width = Some 2
        Epochs = Some 2
        Batch = Some 32
        Optimizer = Some "adam"
        Precision = "float32"
        Seed = 11UL
}

let private forever = CancellationToken.None

let private pretrain folder watch stop c =
    Workbench.pretrain folder watch stop c |> Result.mapError (List.map Error.message)

let private trained folder c = Expect.wantOk (pretrain folder ignore forever c) "trained"

let private weights (encoder: Encoder) = hash (fst encoder.Weights), hash (snd encoder.Weights)

let private weightsAndFree encoder =
    use encoder: Encoder = encoder
    weights encoder

// Stops a run after some steps, with a checkpoint in the folder.
let private interrupted folder steps c =
    use stop = new CancellationTokenSource()
    let watch (e: Event) = if e.At.Step = int64 steps then stop.Cancel()

    match Workbench.pretrain (Some folder) watch stop.Token c with
    | Error [ Error.Interrupted ] -> ()
    | other -> failtestf "an interruption was expected: %A" (other |> Result.map ignore)

[<Tests>]
let tests =
    testList "Evaluation.Verb" [
        for method in [ "simclr"; "acl-ds" ] do
            test (method + ": pre-train, probe, attack, evaluate") (fun () ->
                inFolder (fun folder ->
                    let steps = ResizeArray<int64>()
                    let watch (e: Event) = steps.Add e.At.Step
                    let before = Autograd.liveTensors ()
                    let encoder =
                        Expect.wantOk
                            (pretrain (Some folder) watch forever (configuration method))
                            "trained"
                    use encoder = encoder
                    Expect.equal (List.ofSeq steps) [ 1L .. 8L ] "a call a step"
                    let held = Map.count (fst encoder.Weights) + Map.count (snd encoder.Weights)
                    Expect.equal
                        (Autograd.liveTensors () - before)
                        (int64 held)
                        "nothing but the encoder lives"
                    let files = Directory.GetFiles folder |> Array.map Path.GetFileName |> Array.sort
                    Expect.equal
                        files
                        [| "checkpoint.previous.safetensors"; "checkpoint.safetensors"; "run.json" |]
                        "what is in the folder"
                    let loaded, _ = Expect.wantOk (Encoder.load folder) "loaded"
                    Expect.equal
                        (weightsAndFree loaded)
                        (weights encoder)
                        "the same encoder from the folder"

                    use train = sample true 500
                    use head = Workbench.probe LinearProbe.quick encoder train
                    let classify = LinearProbe.classifier encoder head
                    use test = sample false 40
                    let ids = [| 0L .. 39L |]
                    let images, labels =
                        test.Batch (torch.device "cpu") ids, test.LabelsOf (torch.device "cpu") ids
                    let harm =
                        Workbench.attack
                            (Attack.pgd 0.5 3)
                            1UL
                            (Threat.create Linf 0.1)
                            classify
                            images
                            labels
                    let wrong =
                        (classify images).argmax(1L).ne labels |> truths |> Array.filter id |> Array.length
                    let broken = truths harm.Success |> Array.filter id |> Array.length
                    Expect.isGreaterThan broken wrong "the attack breaks images"
                    atMost (0.1 + 1e-5) (floats harm.Distance[Linf]) "within the radius"

                    let quick = {
                        Evaluation.defaults with
                            Images = Some 40
                            Attacks = [ "fgsm" ]
                            Threats = [ "linf:0.1" ]
                    }
                    let measured =
                        Expect.wantOk (Workbench.evaluate (fun _ _ -> ()) forever encoder quick) "measured"
                    Expect.hasLength measured.Accuracies 2 "clean and FGSM"
                    Expect.isGreaterThan measured.Accuracies[0].Correct 10 "better than chance"))

            test (method + ": a run's manifest repeats it, weight for weight") (fun () ->
                inFolder (fun folder ->
                    let first = trained (Some folder) (configuration method) |> weightsAndFree
                    let found =
                        Expect.wantOk
                            (Manifest.configuration (Path.Combine(folder, "run.json")))
                            "the manifest's configuration"
                    let again = trained None found |> weightsAndFree
                    Expect.equal again first "weights"
                    let other = trained None { found with Seed = 12UL } |> weightsAndFree
                    Expect.notEqual other first "another seed, other weights"))

            test (method + ": stopped and resumed, a run ends as if it had not been stopped") (fun () ->
                inFolder (fun folder ->
                    let whole = trained None (configuration method) |> weightsAndFree
                    let before = Autograd.liveTensors ()
                    interrupted folder 3 (configuration method)
                    Expect.equal (Autograd.liveTensors ()) before "nothing left after the stop"
                    let steps = ResizeArray<int64>()
                    let resumed =
                        Expect.wantOk
                            (Workbench.resume folder (fun e -> steps.Add e.At.Step) forever)
                            "resumed"
                    Expect.equal (List.ofSeq steps) [ 4L .. 8L ] "from where it stopped"
                    Expect.equal (weightsAndFree resumed) whole "weights"
                    Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test "a stop leaves a checkpoint of that very step" (fun () ->
            inFolder (fun folder ->
                interrupted folder 1 (configuration "simclr")
                let checkpoint, _ = Expect.wantOk (Checkpoint.load folder) "loaded"
                Expect.equal checkpoint.State.Progress.Step 1L "step"
                State.dispose checkpoint.State))

        test "a finished run has nothing to resume" (fun () ->
            inFolder (fun folder ->
                trained (Some folder) { configuration "simclr" with Epochs = Some 1 }
                |> weightsAndFree
                |> ignore
                let before = Autograd.liveTensors ()

                match Workbench.resume folder ignore forever with
                | Error [ error ] -> says [ "finished" ] error "sentence"
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)

                Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test "nothing to resume" (fun () ->
            inFolder (fun folder ->
                match Workbench.resume (Path.Combine(folder, "none")) ignore forever with
                | Error [ error ] -> Expect.equal (Error.exitCode error) 4 "missing"
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)))

        test "a folder that holds a run is not overwritten by another" (fun () ->
            inFolder (fun folder ->
                let short = { configuration "simclr" with Epochs = Some 1 }
                trained (Some folder) short |> weightsAndFree |> ignore
                let before =
                    Directory.GetFiles folder |> Array.map (fun path -> path, File.ReadAllBytes path)
                let errors = Expect.wantError (pretrain (Some folder) ignore forever short) "refused"
                Expect.hasLength errors 1 "one reason"
                Expect.stringContains errors.Head "--out" "the option"
                Expect.equal
                    (Directory.GetFiles folder |> Array.map (fun path -> path, File.ReadAllBytes path))
                    before
                    "files"))

        test "a run that cannot be written does not begin" (fun () ->
            inFolder (fun folder ->
                let blocked = Path.Combine(folder, "file")
                File.WriteAllText(blocked, "")
                let mutable steps = 0
                let watch _ = steps <- steps + 1

                match
                    Workbench.pretrain
                        (Some(Path.Combine(blocked, "run")))
                        watch
                        forever
                        (configuration "simclr")
                with
                | Error [ error ] -> Expect.equal (Error.exitCode error) 6 "not writable"
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)

                Expect.equal steps 0 "no step"))

        test "a run whose data or given run is not there leaves nothing behind" (fun () ->
            inFolder (fun folder ->
                let run = Path.Combine(folder, "run")
                let without = { configuration "simclr" with Dataset = "cifar10"; Data = Some folder }
                let errors = Expect.wantError (pretrain (Some run) ignore forever without) "no data"
                Expect.hasLength errors 1 "one reason"
                Expect.isFalse (Directory.Exists run) "no folder"

                let method = { SimClr.method with Before = [ Stage.External("teacher", "train one") ] }
                let given = Map [ "teacher", Path.Combine(folder, "none") ]

                match
                    Workbench.train
                        (Some run)
                        ignore
                        forever
                        { configuration "" with Given = Some given }
                        method
                with
                | Error [ error ] -> Expect.equal (Error.exitCode error) 4 "missing"
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)

                Expect.isFalse (Directory.Exists run) "no folder"))

        test "faults of a configuration are told before anything is made" (fun () ->
            inFolder (fun folder ->
                let run = Path.Combine(folder, "run")
                let bad = { configuration "simclear" with Batch = Some 0; Width = Some 5000 }
                let errors = Expect.wantError (pretrain (Some run) ignore forever bad) "refused"
                Expect.hasLength errors 3 "all of them"
                Expect.isFalse (Directory.Exists run) "no folder"))

        test "labels and images that do not fit are refused" (fun () ->
            let images = torch.zeros [| 2L; 1L; 2L; 2L |]
            let attack images labels () =
                Workbench.attack Attack.fgsm 1UL (Threat.create Linf 0.1) id images labels |> ignore
            let labels (values: int64[]) : Tensor = torch.tensor values
            refuses
                [ "images"; "[n; c; h; w]" ]
                (attack (images.squeeze 1L) (labels [| 0L; 1L |]))
                "rank of the images"
            refuses [ "labels"; "2" ] (attack images (labels [| 0L |])) "too few labels"
            refuses [ "labels"; "[n]" ] (attack images images) "rank of the labels"
            refuses [ "labels"; "int64" ] (attack images (torch.zeros [| 2L |])) "type of the labels")
    ]
