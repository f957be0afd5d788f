/// Checkpoints: what is saved comes back, whole or from the one before.
module Tests.Runs.CheckpointTests

open System
open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private newest, previous = "checkpoint.safetensors", "checkpoint.previous.safetensors"

let private configuration (method: Method) = { PretrainConfig.defaults with Method = method.Name; Seed = 7UL }

// A state that holds something of everything: averages, optimiser, memory, progress.
let private rich (method: Method) step =
    let method = {
        method with
            Averages = [ { Name = "ema"; Decay = Schedule.constant 0.9; Statistics = Copied; Lags = false } ]
            Memory = {
                Init =
                    fun _ _ ->
                        Map [
                            "queue", Leaf.Tensor(torch.ones [| 2L; 3L |])
                            "mean", Leaf.Float 0.1
                            "at", Leaf.Int 3L
                        ]
                After = fun scene -> scene.Memory
            }
    }

    let state = fresh (machine (tinyNet grey method)) method
    { state with Progress = Seq.fold (fun p _ -> Progress.next p) state.Progress (seq { 1..step }) }

let private checkpoint method step = {
    Configuration = configuration method
    Input = grey
    Deployment = Deployment.ofMethod true method
    Provenance = None
    State = rich method step
}

let private save folder checkpoint = Expect.wantOk (Checkpoint.save folder 2 checkpoint) "saved"

// Loads, looks and frees.
let private loading path look =
    let checkpoint, warning = Expect.wantOk (Checkpoint.load path) "loaded"

    try
        look checkpoint warning
    finally
        State.dispose checkpoint.State

let private hashOf (checkpoint: Checkpoint) = TensorTree.hash (State.toTree checkpoint.State)

let private spoil (path: string) =
    let bytes = File.ReadAllBytes path
    bytes[bytes.Length - 5] <- bytes[bytes.Length - 5] ^^^ 1uy
    File.WriteAllBytes(path, bytes)

let private names folder = Directory.GetFileSystemEntries folder |> Array.map Path.GetFileName |> Array.sort

[<Tests>]
let tests =
    testList "Runs.Checkpoint" [
        for method in [ SimClr.method; Acl.dualStream ] do
            test (method.Name + ": what is saved is what is loaded") (fun () ->
                inFolder (fun folder ->
                    let saved = checkpoint method 13
                    save folder saved

                    for path in [ folder; Path.Combine(folder, newest) ] do
                        loading path (fun found warning ->
                            Expect.equal (hashOf found) (hashOf saved) "state"
                            Expect.equal
                                (found.Configuration, found.Input, found.Deployment)
                                (saved.Configuration, saved.Input, saved.Deployment)
                                "configuration, input and what is deployed"
                            Expect.equal found.State.Progress saved.State.Progress "progress"
                            Expect.equal (Seq.toList found.State.Averages.Keys) [ "ema" ] "averages"
                            Expect.isNone warning "no warning")))

        test "a state is one tree and back" (fun () ->
            let state = rich Acl.dualStream 13
            let tree = State.toTree state
            let back = State.ofTree tree
            Expect.equal (TensorTree.hash (State.toTree back)) (TensorTree.hash tree) "state"
            Expect.equal back.Progress state.Progress "progress"
            Expect.equal
                (hash (fst back.Online), hash (snd back.Online))
                (hash (fst state.Online), hash (snd state.Online))
                "parameters and statistics"
            Expect.equal
                (TensorTree.hash back.Memory, TensorTree.hash back.Optimizer)
                (TensorTree.hash state.Memory, TensorTree.hash state.Optimizer)
                "memory and optimiser")

        test "a copied state is deep, and its holder's to free" (fun () ->
            let state = rich SimClr.method 2
            let before = TensorTree.hash (State.toTree state)
            let live = Autograd.liveTensors ()
            let count = Seq.length (State.tensors state) |> int64

            for copy in
                [ (fun () -> State.copy state); (fun () -> State.onDevice (torch.device "cpu") state) ] do
                let copy = Scope.value copy
                Expect.equal (TensorTree.hash (State.toTree copy)) before "equal, and alive after its scope"
                Expect.equal (Autograd.liveTensors () - live) count "as many tensors"
                for x in State.tensors copy do
                    x.fill_ (0.0.ToScalar()) |> ignore
                Expect.equal (TensorTree.hash (State.toTree state)) before "the original is untouched"
                State.dispose copy
                Expect.equal (Autograd.liveTensors ()) live "freed")

        test "what is deployed is the network in training, or the average" (fun () ->
            let state = rich SimClr.method 0
            let state = { state with Averages = Map [ "ema", init 9UL (tinyNet grey SimClr.method) ] }
            Expect.equal (hash (fst (State.deployed Online state))) (hash (fst state.Online)) "online"
            Expect.equal
                (hash (fst (State.deployed (Average "ema") state)))
                (hash (fst state.Averages["ema"]))
                "average")

        test "saving keeps the checkpoint before, and no other file" (fun () ->
            inFolder (fun folder ->
                Expect.isFalse (Checkpoint.existsIn folder) "none yet"
                let all = [ for step in 1..3 -> checkpoint SimClr.method step ]
                save folder all[0]
                Expect.equal (names folder) [| newest |] "one"
                Expect.isTrue (Checkpoint.existsIn folder) "there"
                for later in all.Tail do
                    save folder later
                Expect.equal (names folder) [| previous; newest |] "two, no temporary file"
                loading (Path.Combine(folder, newest)) (fun found _ ->
                    Expect.equal found.State.Progress.Step 3L "the newest")
                loading (Path.Combine(folder, previous)) (fun found _ ->
                    Expect.equal found.State.Progress.Step 2L "the one before")))

        test "a damaged newest checkpoint gives way to the one before, with a warning" (fun () ->
            inFolder (fun folder ->
                let first = checkpoint SimClr.method 1
                save folder first
                save folder (checkpoint SimClr.method 2)
                spoil (Path.Combine(folder, newest))

                loading folder (fun found warning ->
                    Expect.equal (hashOf found) (hashOf first) "state"
                    let warning = Expect.wantSome warning "a warning"
                    Expect.stringContains warning newest "which is damaged"
                    Expect.stringContains warning "before it is used" "what is used")

                File.WriteAllBytes(Path.Combine(folder, newest), [||])
                loading folder (fun found _ -> Expect.equal (hashOf found) (hashOf first) "an empty file")))

        test "asked for by its own name, a damaged checkpoint is damaged" (fun () ->
            inFolder (fun folder ->
                save folder (checkpoint SimClr.method 1)
                save folder (checkpoint SimClr.method 2)
                spoil (Path.Combine(folder, newest))
                let error = wantError (Checkpoint.load (Path.Combine(folder, newest))) "damaged"
                Expect.equal (Error.exitCode error) 5 "damaged"
                spoil (Path.Combine(folder, previous))
                let error = wantError (Checkpoint.load folder) "both"
                Expect.equal (Error.exitCode error) 5 "both are damaged"))

        test "a folder without a checkpoint, and none at all" (fun () ->
            inFolder (fun folder ->
                for path in [ folder; Path.Combine(folder, "none"); Path.Combine(folder, "x.safetensors") ] do
                    Expect.equal (Error.exitCode (wantError (Checkpoint.load path) path)) 4 "missing"))

        test "a file of another program is not a checkpoint" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "x.safetensors")
                let weights: TensorTree = Map [ "w", Leaf.Tensor(torch.ones [| 3L |]) ]
                let good = PretrainConfig.toJson (configuration SimClr.method)
                let input = "{\"channels\": 1, \"mean\": [0.3], \"std\": [0.4], \"classes\": 10}"

                for metadata in
                    [
                        Map.empty
                        Map [ "configuration", good ]
                        Map [ "configuration", "nonsense"; "input", "{}" ]
                        Map [ "configuration", good; "input", "nonsense" ]
                        Map [ "configuration", good; "input", "[]" ]
                        Map [ "configuration", good; "input", "{}" ]
                        Map [ "configuration", good; "input", "null" ]
                        Map [ "configuration", good; "input", input ]
                        Map [ "configuration", good; "input", input; "deployment", "null" ]
                        Map [ "configuration", good; "input", input; "deployment", "{}" ]
                        Map [ "configuration", good; "input", input; "deployment", "nonsense" ]
                    ] do
                    Expect.isOk (Safetensors.write path metadata weights) "written"
                    let error = wantError (Checkpoint.load path) (string metadata)
                    says [ path ] error "sentence"
                    Expect.equal (Error.exitCode error) 5 "damaged"

                File.WriteAllText(path, "a text")
                Expect.equal (Error.exitCode (wantError (Checkpoint.load path) "text")) 5 "damaged"))

        test "an error in the metadata names the field" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "x.safetensors")
                let weights: TensorTree = Map [ "w", Leaf.Tensor(torch.ones [| 3L |]) ]
                let sound =
                    Map [
                        "configuration", "{\"method\": \"simclr\"}"
                        "input", "{\"channels\": 1, \"mean\": [0.3], \"std\": [0.4], \"classes\": 10}"
                        "deployment", "{\"branch\": \"\", \"branches\": [\"\"], \"registered\": true}"
                    ]

                let errorOf key (before: string) (after: string) =
                    let metadata =
                        Map.change
                            key
                            (Option.map (fun (text: string) -> text.Replace(before, after)))
                            sound
                    Expect.notEqual metadata sound "changed"
                    Expect.isOk (Safetensors.write path metadata weights) "written"
                    wantError (Checkpoint.load path) metadata[key]

                for key, before, after, part in
                    [
                        "configuration", "simclr", "simclr\", \"epocs\": \"3", "'epochs'"
                        "input", "[0.3]", "null", "'mean'"
                        "input", "[0.3]", "[null]", "'mean'"
                        "input", "[0.3]", "[\"NaN\"]", "'mean'"
                        "input", "[0.4]", "[1e999]", "'std'"
                        "input", "[0.4]", "[0.4, 0.4]", "'std'"
                        "input", "0.3", "\"three\"", "'mean'"
                        "input", "10", "10.5", "'classes'"
                        "input", "\"classes\"", "\"class\"", "'classes'"
                        "input", "10", "10, \"std\": [0.4]", "'std'"
                        "deployment", "[\"\"]", "[null]", "'branches'"
                        "deployment", "[\"\"]", "null", "'branches'"
                        "deployment", "true", "1", "'registered'"
                        "deployment", "true", "true, \"average\": []", "'average'"
                    ] do
                    let error = errorOf key before after
                    says [ path; part ] error after
                    Expect.equal (Error.exitCode error) 5 "damaged"))

        test "preparing a folder makes it and leaves nothing in it" (fun () ->
            inFolder (fun folder ->
                let deep = Path.Combine(folder, "a", "b")
                Expect.isOk (Checkpoint.prepare deep) "made"
                Expect.isTrue (Directory.Exists deep) "there"
                Expect.isEmpty (names deep) "empty"
                Expect.isOk (Checkpoint.prepare deep) "again"))

        test "a folder that cannot be written to is told" (fun () ->
            inFolder (fun folder ->
                let blocked = Path.Combine(folder, "file")
                File.WriteAllText(blocked, "")

                for path in [ blocked; Path.Combine(blocked, "inside"); "" ] do
                    Expect.equal
                        (Error.exitCode (wantError (Checkpoint.prepare path) path))
                        6
                        "not writable"

                let error =
                    wantError
                        (Checkpoint.save (Path.Combine(folder, "none")) 2 (checkpoint SimClr.method 1))
                        "no folder"
                Expect.equal (Error.exitCode error) 6 "not writable"
                Expect.equal (names folder) [| "file" |] "nothing left behind"))

        test "checkpoints can be removed, and nothing else is" (fun () ->
            inFolder (fun folder ->
                save folder (checkpoint SimClr.method 1)
                save folder (checkpoint SimClr.method 2)
                File.WriteAllText(Path.Combine(folder, "notes.txt"), "mine")
                Expect.isOk (Checkpoint.remove folder) "removed"
                Expect.equal (names folder) [| "notes.txt" |] "what stays"
                Expect.isFalse (Checkpoint.existsIn folder) "no run"
                Expect.isOk (Checkpoint.remove folder) "again"))
    ]
