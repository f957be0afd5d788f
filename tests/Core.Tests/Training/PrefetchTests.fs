/// Images made ahead on a second thread: the same bit for bit, and nothing of them left.
module Tests.Training.PrefetchTests

open System
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Augment
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Fixtures
open Support.Laws

let private me () = Environment.CurrentManagedThreadId

let private training method (data: Dataset) epochs : Trainer = {
    Machine = machine (tinyNet grey method)
    Method = updating (adam 1e-3) method
    Dataset = data
    Labels = Map.empty
    Images = Map.empty
    Batch = 4
    Epochs = epochs
}

let private hashOf state = TensorTree.hash (State.toTree state)

// The states after each step, by the engine alone: every batch and view made when it is due.
let private plainly (t: Trainer) =
    let steps = ResizeArray<string>()
    let mutable state = Trainer.start t

    while not state.Progress.IsFinished do
        Scope.value (fun () ->
            let batch = Trainer.nextBatch t state.Progress
            let outcome = TrainStep.run t.Machine t.Method t.Method.Recipe.Trains.Run state batch
            let next = TrainStep.update t.Method.Recipe.Optimizer t.Method state outcome
            Scope.adopt (State.tensors next)
            State.tensors state |> Scope.release (State.tensors next)
            state <- next)

        steps.Add(hashOf state)

    State.dispose state
    List.ofSeq steps

let private eventsLooking isAhead t =
    Trainer.eventsLooking isAhead t (fun () -> Trainer.start t)
    |> Seq.map (fun e -> Expect.wantOk e "step")

let private events t = eventsLooking true t

let private hashes isAhead t = [
    for event in eventsLooking isAhead t do
        let state = event.Snapshot()
        let hash = hashOf state
        State.dispose state
        hash
]

// A view that raises from some epoch on.
let private failing epoch : View =
    Named.create "fails" (fun draw x ->
        if draw.Epoch >= epoch then raise (TimeoutException "no view")
        x.alias ())

[<Tests>]
let tests =
    testList "Training.Prefetch" [
        testCase
            "what is made ahead is made on another thread, what was not asked for on the caller's"
            (fun () ->
                use ahead = new Prefetch<int, int * int>((fun key -> key, me ()), ignore)
                ahead.Ask 3
                let key, thread = ahead.Take 3
                Expect.equal key 3 "its value"
                Expect.notEqual thread (me ()) "its thread"
                Expect.equal (ahead.Take 4) (4, me ()) "made now"
                ahead.Ask 5
                Expect.equal (ahead.Take 6) (6, me ()) "another than was asked for"
                Expect.notEqual (snd (ahead.Take 5)) (me ()) "it is still there")

        testCase "what was raised ahead is raised where it is taken, and what comes next is made" (fun () ->
            let make key = if key = 1 then raise (TimeoutException "one") else key
            use ahead = new Prefetch<int, int>(make, ignore)
            ahead.Ask 1
            ahead.Settle()
            Expect.throwsT<TimeoutException> (fun () -> ahead.Take 1 |> ignore) "raised"
            ahead.Ask 2
            Expect.equal (ahead.Take 2) 2 "the next")

        testCase "what is not taken is discarded, and the thread ends" (fun () ->
            let discarded = ResizeArray<int>()
            let mutable thread = None

            do
                use ahead =
                    new Prefetch<int, int>(
                        (fun key ->
                            thread <- Some Thread.CurrentThread
                            Thread.Sleep 20
                            key),
                        discarded.Add
                    )

                ahead.Ask 1
                ahead.Ask 2
                Expect.equal (ahead.Take 2) 2 "taken"
                ahead.Ask 3
                ahead.Settle()
                ahead.Ask 4

            Expect.equal (List.ofSeq discarded) [ 1; 3; 4 ] "discarded"
            Expect.isFalse thread.Value.IsAlive "the thread")

        for method in [ SimClr.method; Acl.dualStream; DynAcl.method; MoCo.create 16 ] do
            test (method.Name + ": a run is the same, bit for bit, as by the engine alone") (fun () ->
                use data = sample true 10
                let t = training method data 3
                Expect.equal (hashes true t) (plainly t) "ahead"
                Expect.equal (hashes false t) (plainly t) "when they are due")

        test
            "a fault in a view that was made ahead ends the run where it is due, and leaves nothing"
            (fun () ->
                use data = sample true 8
                let t = training (Method.withView (failing 1) SimClr.method) data 2
                let before = Autograd.liveTensors ()
                let mutable steps = 0
                Expect.throwsT<TimeoutException>
                    (fun () -> events t |> Seq.iter (fun _ -> steps <- steps + 1))
                    "raised"
                Expect.equal steps 2 "the steps of the first epoch"
                Expect.equal (Autograd.liveTensors ()) before "live tensors")

        test "a step tells how long it took and how much of that it waited" (fun () ->
            use data = sample true 8
            let slow: View =
                Named.create "slow" (fun _ x ->
                    Thread.Sleep 30
                    x.alias ())
            let seen = [
                for e in events (training (Method.withView slow SimClr.method) data 2) -> e.Took, e.Waited
            ]
            Expect.all seen (fun (took, waited) -> waited > 0.0 && waited <= took) "within the step"
            Expect.isGreaterThan (snd seen.Head) 0.059 "the first step's two views were waited for"
            let late = [
                for e in eventsLooking false (training (Method.withView slow SimClr.method) data 2) ->
                    e.Waited
            ]
            Expect.all late (fun waited -> waited > 0.059) "on one thread every step waits"
            Expect.isLessThan (snd (List.last seen)) 0.03 "behind the last step nothing is made")
    ]
