/// Training runs as sequences of events.
module Tests.Runs.RunTests

open System
open System.IO
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let methods = [ SimClr.method; Acl.adversarialToStandard; Acl.dualStream ]

let lars = Transform.larsMomentum (Schedule.warmUp 1 (Schedule.cosine 1.0 0.0)) 0.9 0.01 1e-4

let training rule (method: Method) data batch epochs : Trainer = {
    Machine = machine (tinyNet grey method)
    Method = updating rule method
    Dataset = data
    Labels = Map.empty
    Images = Map.empty
    Batch = batch
    Epochs = epochs
}

let small method data = training lars method data 4 2

let events t from = Trainer.events t from |> Seq.map (fun e -> Expect.wantOk e "a step")
let all t = events t (fun () -> Trainer.start t)

let freeing state look =
    try
        look state
    finally
        State.dispose state

let hashOf state = TensorTree.hash (State.toTree state)

// The state's hash after each step, and the loss.
let trace t from = [
    for e in events t from do
        freeing (e.Snapshot()) (fun state -> hashOf state, e.Loss)
]

let withSample n look =
    use data = sample true n
    look data

let nan' = Transform.scale (Schedule.constant nan)

[<Tests>]
let tests =
    testList "Runs.Run" [
        for method in methods do
            test (method.Name + ": events come one a step, and say where the run stands") (fun () ->
                withSample 14 (fun data ->
                    let t = small method data
                    let seen = [ for e in all t -> e.At, e.Loss, e.Measures ]
                    let progress = seen |> List.map (fun (at, _, _) -> at)
                    let expected =
                        (Progress.start 4 2, [ 1..8 ])
                        ||> List.scan (fun p _ -> Progress.next p)
                        |> List.tail
                    Expect.equal progress expected "progress"
                    Expect.isTrue (List.last progress).IsFinished "finished"
                    Expect.all seen (fun (_, loss, _) -> Double.IsFinite loss && loss > 0.0) "losses"
                    let names = seen |> List.map (fun (_, _, m) -> List.map fst m) |> List.distinct
                    Expect.equal
                        names
                        [ if method.Name = "acl-ds" then [ "clean"; "adversarial" ] else [] ]
                        "measures"))

            test
                (method.Name + ": the same seed gives the same run, bit for bit; another seed another")
                (fun () ->
                    withSample 10 (fun data ->
                        let t = training lars method data 4 1
                        let run t = trace t (fun () -> Trainer.start t)
                        Expect.equal (run t) (run t) "again"
                        let other = { t with Machine = { t.Machine with Seed = 6UL } }
                        Expect.notEqual (run other) (run t) "another seed"))

            test
                (method.Name + ": a run that was stopped, saved and resumed equals one that was not")
                (fun () ->
                    withSample 14 (fun data ->
                        inFolder (fun folder ->
                            for rule in [ lars; adam 1e-2 ] do
                                let t = training rule method data 4 2
                                let whole = trace t (fun () -> Trainer.start t)

                                // In the middle of an epoch, at its end, and one step before the run's.
                                for steps in [ 2; 4; 7 ] do
                                    let stopped = all t |> Seq.item (steps - 1)
                                    // The sequence is disposed here; only the snapshot is left.
                                    let taken =
                                        all t
                                        |> Seq.pick (fun e ->
                                            if e.At.Step = int64 steps then Some(e.Snapshot()) else None)
                                    Expect.equal stopped.At.Step (int64 steps) "where it stopped"

                                    freeing taken (fun state ->
                                        let checkpoint = {
                                            Configuration = PretrainConfig.defaults
                                            Input = grey
                                            Deployment = Deployment.ofMethod true method
                                            Provenance = None
                                            State = state
                                        }
                                        Expect.isOk (Checkpoint.save folder 2 checkpoint) "saved")

                                    let loaded, _ = Expect.wantOk (Checkpoint.load folder) "loaded"
                                    let rest = trace t (fun () -> loaded.State)
                                    Expect.equal
                                        rest
                                        (List.skip steps whole)
                                        (sprintf "after %d steps" steps))))

            test (method.Name + ": no step leaves a tensor behind") (fun () ->
                withSample 12 (fun data ->
                    let t = training (adam 1e-3) method data 4 2
                    let live = [ for _ in all t -> (Autograd.liveTensors ()) ]
                    Expect.hasLength live 6 "steps"
                    // Behind every step but the last there may be the images of the next.
                    Expect.equal (List.distinct live[..4]) [ live.Head ] "live tensors after each step"
                    Expect.isLessThanOrEqual live[5] live.Head "live tensors after the last"))

            test (method.Name + ": thirty steps on a few images lower the loss") (fun () ->
                withSample 16 (fun data ->
                    let mild = Method.withView (Crop.randomResized 0.5) method
                    let losses = [| for e in all (training (adam 1e-2) mild data 16 30) -> e.Loss |]
                    Expect.hasLength losses 30 "steps"
                    Expect.isLessThan (mean losses[25..]) (mean losses[..4] - 0.3) "loss"))

        test "nothing happens before the first event is asked for" (fun () ->
            withSample 8 (fun data ->
                let t = small SimClr.method data
                let mutable started = false
                let events =
                    Trainer.events t (fun () ->
                        started <- true
                        Trainer.start t)
                Expect.isFalse started "made"
                use walk = events.GetEnumerator()
                Expect.isFalse started "entered"
                Expect.isTrue (walk.MoveNext()) "a first event"
                Expect.isTrue started "started"))

        test "a run that is abandoned frees everything" (fun () ->
            withSample 8 (fun data ->
                let t = small Acl.dualStream data
                let before = Autograd.liveTensors ()

                for steps in 1..3 do
                    Expect.hasLength (all t |> Seq.truncate steps) steps "events"
                    Expect.equal (Autograd.liveTensors ()) before "after some steps"

                Expect.throwsT<InvalidOperationException>
                    (fun () -> all t |> Seq.iter (fun _ -> raise (InvalidOperationException "stop")))
                    "the watcher's own exception"
                Expect.equal (Autograd.liveTensors ()) before "after an exception"

                let walk = (all t).GetEnumerator()
                walk.MoveNext() |> ignore
                Expect.isGreaterThan (Autograd.liveTensors ()) before "while it stands"
                walk.Dispose()
                Expect.equal (Autograd.liveTensors ()) before "after its enumerator"))

        test "a snapshot is a deep copy that stays as it was" (fun () ->
            withSample 8 (fun data ->
                let t = small SimClr.method data
                let taken = [ for e in all t -> let s = e.Snapshot() in s, hashOf s ]

                for state, hash in taken do
                    Expect.equal (hashOf state) hash "while the run went on"
                    State.dispose state

                Expect.equal
                    (taken |> List.map snd |> List.distinct |> List.length)
                    taken.Length
                    "every step changed it"))

        test "a run that is finished gives no more events, and frees its state" (fun () ->
            withSample 8 (fun data ->
                let t = small SimClr.method data
                let last = all t |> Seq.pick (fun e -> if e.At.IsFinished then Some(e.Snapshot()) else None)
                let before = Autograd.liveTensors ()
                Expect.isEmpty (events t (fun () -> last)) "no event"
                Expect.isLessThan (Autograd.liveTensors ()) before "freed"))

        test "a loss that is not finite stops the run at once" (fun () ->
            withSample 12 (fun data ->
                let t = small SimClr.method data
                let mutable calls = 0

                let loss: Loss =
                    fun scene ->
                        calls <- calls + 1
                        let loss = t.Method.Step.Loss scene
                        if scene.Progress.Step = 2L then loss * nan else loss

                let broken = { t with Method = { t.Method with Step = { t.Method.Step with Loss = loss } } }
                let outcomes =
                    Trainer.events broken (fun () -> Trainer.start broken)
                    |> Seq.map (Result.map (fun e -> e.At.Step))
                    |> List.ofSeq

                match outcomes with
                | [ Ok 1L; Ok 2L; Error(Error.Diverged(step, problem)) ] ->
                    Expect.equal step 3L "at the third step"
                    Expect.stringContains problem "loss is NaN" "what is wrong"
                | other -> failtestf "two steps and an error were expected: %A" other

                Expect.equal calls 3 "no further step"))

        test "weights that are not finite stop the run before anybody sees them" (fun () ->
            withSample 12 (fun data ->
                let t = training nan' SimClr.method data 4 2
                let outcomes =
                    Trainer.events t (fun () -> Trainer.start t)
                    |> Seq.map (Result.map (fun e -> e.At.Step))
                    |> List.ofSeq

                match outcomes with
                | [ Error(Error.Diverged(step, problem)) ] ->
                    Expect.equal step 1L "at the first step"
                    Expect.stringContains problem "not finite" "what is wrong"
                | other -> failtestf "an error was expected: %A" other))

        test "a run starts with fresh weights, averages equal to them, and nothing in any scope" (fun () ->
            withSample 10 (fun data ->
                let average = {
                    Name = "ema"
                    Decay = Schedule.constant 0.9
                    Statistics = Averaged
                    Lags = false
                }
                let t = small { SimClr.method with Averages = [ average ] } data
                let state = Scope.value (fun () -> Trainer.start t)

                freeing state (fun state ->
                    let parameters, buffers = init t.Machine.Seed t.Machine.Network
                    Expect.equal
                        (hash (fst state.Online), hash (snd state.Online))
                        (hash parameters, hash buffers)
                        "weights of the seed"
                    let averaged = state.Averages["ema"]
                    Expect.equal
                        (hash (fst averaged), hash (snd averaged))
                        (hash parameters, hash buffers)
                        "averages"
                    Expect.all
                        (Seq.zip (Map.values (fst averaged)) (Map.values (fst state.Online)))
                        (fun (a, b) -> not (obj.ReferenceEquals(a, b)))
                        "not the same tensors"
                    Expect.equal state.Progress (Progress.start 3 2) "progress")))

        test "parameters that a recipe does not train stay" (fun () ->
            withSample 8 (fun data ->
                let t = small SimClr.method data
                let recipe = {
                    t.Method.Recipe with
                        Trains = Named.create "the head" (fun (name: string) -> name.StartsWith "head.")
                }
                let t = { t with Method = { t.Method with Recipe = recipe } }
                let before =
                    freeing (Trainer.start t) (fun s -> fst s.Online |> Map.map (fun _ x -> bits x))
                let last = all t |> Seq.pick (fun e -> if e.At.IsFinished then Some(e.Snapshot()) else None)

                freeing last (fun state ->
                    for KeyValue(name, x) in fst state.Online do
                        Expect.equal (bits x <> before[name]) (name.StartsWith "head.") name)))
    ]
