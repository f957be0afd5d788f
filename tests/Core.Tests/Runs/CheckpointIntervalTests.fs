/// Which checkpoints a run leaves: their rhythm, how many, and the best.
module Tests.Runs.CheckpointIntervalTests

open System
open System.IO
open System.Threading
open Expecto
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Fixtures
open Support.Laws

let private newest = "checkpoint.safetensors"
let private best = "checkpoint.best.safetensors"

let private names folder =
    Directory.GetFiles folder |> Array.map Path.GetFileName |> Array.sort |> List.ofArray

let private stepOf path =
    let checkpoint, _ = Expect.wantOk (Checkpoint.load path) path

    try
        checkpoint.State.Progress.Step
    finally
        State.dispose checkpoint.State

let private damage (path: string) = File.WriteAllText(path, "nonsense")

// 128 images in batches of 32: four steps an epoch.
let private configuration = {
    PretrainConfig.defaults with
        Method = "simclr"
        Images = Some 128
        Network = Some "small"
        Width = Some 2
        Epochs = Some 3
        Batch = Some 32
        Optimizer = Some "adam"
        Precision = "float32"
}

let private trained folder watch stop c =
    match Workbench.pretrain (Some folder) watch stop c with
    | Ok encoder -> (encoder :> IDisposable).Dispose()
    | Error [ Error.Interrupted ] -> ()
    | Error errors -> failtestf "%A" errors

let private resumed folder watch =
    use _ = Expect.wantOk (Workbench.resume folder watch CancellationToken.None) "resumed"
    ()

// The mean loss of every epoch.
let private watching () =
    let losses = ResizeArray<float>()
    let means () = losses |> List.ofSeq |> List.chunkBySize 4 |> List.map List.average
    means, (fun (e: Event) -> losses.Add e.Loss)

[<Tests>]
let tests =
    testList "Runs.CheckpointInterval" [
        test "a rhythm is an epoch, a number of steps or of minutes" (fun () ->
            for text, rhythm in
                [
                    "epoch", EveryEpoch
                    "500", EverySteps 500L
                    "10min", EveryMinutes 10.0
                    "0.5MIN", EveryMinutes 0.5
                ] do
                Expect.equal (Expect.wantOk (CheckpointInterval.parse text) text) rhythm text

            for text in [ ""; "0"; "-3"; "2.5"; "0min"; "min"; "nanmin"; "hourly"; "epochmin" ] do
                says [ "--checkpoint-every"; "10min" ] (wantError (CheckpointInterval.parse text) text) text)

        test "a checkpoint is due when its time has come" (fun () ->
            let after steps = Seq.fold (fun p _ -> Progress.next p) (Progress.start 4 3) (seq { 1..steps })
            let due rhythm (minutes: float) = [
                for steps in 1..12 do
                    if CheckpointInterval.isDue rhythm (after steps) (TimeSpan.FromMinutes minutes) then
                        steps
            ]
            Expect.equal (due EveryEpoch 0.0) [ 4; 8; 12 ] "epochs"
            Expect.equal (due (EverySteps 5L) 0.0) [ 5; 10 ] "steps"
            Expect.equal (due (EveryMinutes 2.0) 1.9) [] "too early"
            Expect.equal (due (EveryMinutes 2.0) 2.0) [ 1..12 ] "in time")

        for keep in 1..4 do
            test (sprintf "%d checkpoints are kept, and the newest good one is used" keep) (fun () ->
                inFolder (fun folder ->
                    let checkpoint = checkpointOf SimClr.method
                    let at step = {
                        checkpoint with
                            State = {
                                checkpoint.State with
                                    Progress = { checkpoint.State.Progress with Step = step }
                            }
                    }
                    for step in 1L .. 6L do
                        Expect.isOk (Checkpoint.save folder keep (at step)) "saved"

                    let left = names folder
                    Expect.equal left.Length keep "files"

                    for age in 0 .. keep - 1 do
                        Expect.equal (stepOf folder) (6L - int64 age) "the newest that is not damaged"
                        left
                        |> List.filter (fun name ->
                            File.ReadAllText(Path.Combine(folder, name)) <> "nonsense")
                        |> List.maxBy (fun name -> stepOf (Path.Combine(folder, name)))
                        |> fun name -> damage (Path.Combine(folder, name))

                    Expect.equal
                        (Error.exitCode (wantError (Checkpoint.load folder) "none"))
                        5
                        "all damaged"))

        test "a run writes checkpoints in its rhythm" (fun () ->
            inFolder (fun folder ->
                let seen = ResizeArray()
                let watch (e: Event) =
                    if Checkpoint.existsIn folder then seen.Add(int e.At.Step, int (stepOf folder))
                trained folder watch CancellationToken.None {
                    configuration with
                        CheckpointEvery = Some "3"
                        Keep = Some 1
                }
                // A step is told before its checkpoint is written.
                Expect.equal
                    (List.ofSeq seen)
                    [ for step in 4..12 -> step, (step - 1) / 3 * 3 ]
                    "step, checkpoint"
                Expect.equal (stepOf folder) 12L "the last one"
                Expect.equal (names folder) [ newest; "run.json" ] "files"))

        test
            "the best one is that of the epoch of the lowest mean loss, also across an interruption"
            (fun () ->
                inFolder (fun folder ->
                    let means, watch = watching ()
                    use stop = new CancellationTokenSource()
                    let c = { configuration with KeepBest = true }
                    trained
                        folder
                        (fun e ->
                            watch e
                            if e.At.Step = 8L then stop.Cancel())
                        stop.Token
                        c
                    let sofar = Checkpoint.bestLoss folder
                    Expect.equal sofar (Some(List.min (means ()))) "of two epochs"
                    resumed folder watch
                    Expect.equal (Checkpoint.bestLoss folder) (Some(List.min (means ()))) "of three"
                    let epoch = 1 + List.findIndex ((=) (List.min (means ()))) (means ())
                    Expect.equal (stepOf (Path.Combine(folder, best))) (int64 (4 * epoch)) "its checkpoint"))

        test "a best checkpoint whose loss cannot be read counts as none" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, best)
                let checkpoint = checkpointOf SimClr.method
                Expect.isOk (Checkpoint.saveBest folder 0.1 checkpoint) "saved"
                Expect.equal (Checkpoint.bestLoss folder) (Some 0.1) "as it was saved"
                let metadata, tree = Expect.wantOk (Safetensors.read path) "read"

                for text in [ ""; "low"; "null"; "[]" ] do
                    let spoilt = metadata |> Map.remove "sha256" |> Map.add "loss" text
                    Expect.isOk (Safetensors.write path spoilt tree) "written"
                    Expect.isNone (Checkpoint.bestLoss folder) text

                for x in TensorTree.tensors tree do
                    x.Dispose()))

        test "without it there is none" (fun () ->
            inFolder (fun folder ->
                trained folder ignore CancellationToken.None { configuration with Epochs = Some 1 }
                Expect.isNone (Checkpoint.bestLoss folder) "no best"
                Expect.isFalse (File.Exists(Path.Combine(folder, best))) "no file"))

        test "what cannot be is refused before anything is written" (fun () ->
            inFolder (fun folder ->
                let run = Path.Combine(folder, "run")
                let c = { configuration with Keep = Some 0; CheckpointEvery = Some "daily" }
                match Workbench.pretrain (Some run) ignore CancellationToken.None c with
                | Ok _ -> failtest "it was to be refused"
                | Error errors -> Expect.equal (List.map Error.exitCode errors) [ 2; 2 ] "both at once"
                Expect.isFalse (Directory.Exists run) "no folder"))
    ]
