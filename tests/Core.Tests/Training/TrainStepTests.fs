/// The engine that runs a step.
module Tests.Training.TrainStepTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods

[<Tests>]
let tests =
    testList "Training.TrainStep" [
        for name, method in methods do
            test (name + ": running a step changes nothing of the state") (fun () ->
                let machine = machine (tinyNet grey method)
                let state = fresh machine method
                let batch = firstSix ()
                let before = TensorTree.hash (State.toTree state), bits batch.Images["image"]
                let outcome = TrainStep.run machine method everything state batch
                Expect.equal
                    (TensorTree.hash (State.toTree state), bits batch.Images["image"])
                    before
                    "state and images"
                Expect.all
                    (State.tensors state)
                    (fun x -> not x.requires_grad)
                    "no gradient is wanted of the state's tensors"
                Expect.all outcome.Gradients (fun g -> not g.Value.requires_grad) "no graph is handed on")

            test
                (name + ": every parameter learns, and the branches of the passes move, all of them")
                (fun () ->
                    let state, outcome = runTiny method
                    let parameters = fst state.Online
                    Expect.equal (Seq.toList outcome.Gradients.Keys) (Seq.toList parameters.Keys) "gradients"

                    for KeyValue(name, g) in outcome.Gradients do
                        Shape.same name g "its parameter" parameters[name]
                        Expect.all (floats g) System.Double.IsFinite name

                    let branches = method.Branches |> List.map Some |> List.sort
                    Expect.equal
                        (moved (snd state.Online) outcome.Buffers |> List.sort)
                        branches
                        "branches that moved"
                    Expect.equal
                        (Seq.toList outcome.Buffers.Keys)
                        (Seq.toList (snd state.Online).Keys)
                        "names")

            test (name + ": the same seed gives the same bytes, another seed or step others") (fun () ->
                let machine = machine (tinyNet grey method)
                let state = fresh machine method
                let batch = firstSix ()
                let run machine state = print (TrainStep.run machine method everything state batch)
                Expect.equal (run machine state) (run machine state) "again"
                Expect.notEqual (run { machine with Seed = 6UL } state) (run machine state) "another seed"
                let later = { state with Progress = Progress.next state.Progress }
                Expect.notEqual (run machine later) (run machine state) "another step")

            test (name + ": the gradient equals finite differences") (fun () ->
                let machine, method, state, batch = doubled method
                let parameters, buffers = state.Online
                let outcome = TrainStep.run machine method everything state batch
                let source = Source 3

                for name in parameters.Keys do
                    let p = parameters[name]
                    let at = source.Whole(0, int (p.numel ()) - 1)

                    let loss by =
                        let values = floats p
                        values[at] <- values[at] + by
                        let changed = tensor (p.shape |> Array.map int |> List.ofArray) values
                        let state = { state with Online = Map.add name changed parameters, buffers }
                        (TrainStep.run machine method everything state batch).Measures |> List.head |> snd

                    let slope = (loss 1e-6 - loss -1e-6) / 2e-6
                    let actual = (floats outcome.Gradients[name])[at]
                    close (1e-5 + 1e-4 * abs slope) [| actual |] [| slope |] name)

            test
                (name + ": a step leaves nothing behind, and its outcome lives in the caller's scope")
                (fun () ->
                    let machine = machine (tinyNet grey method)
                    let state = fresh machine method
                    let batch = firstSix ()
                    let before = Autograd.liveTensors ()

                    Scope.value (fun () ->
                        let outcome = TrainStep.run machine method everything state batch
                        let kept =
                            Seq.concat [
                                Map.values outcome.Gradients :> Tensor seq
                                Map.values outcome.Buffers
                            ]
                            |> Seq.filter (fun x ->
                                not (Seq.exists (fun y -> obj.ReferenceEquals(x, y)) (State.tensors state)))
                        Expect.equal
                            (Autograd.liveTensors () - before)
                            (int64 (Seq.length kept))
                            "the outcome alone")

                    Expect.equal (Autograd.liveTensors () - before) 0L "nothing")

            test
                (name
                 + ": in lower precision the loss is about the same, and everything that is kept is float32")
                (fun () ->
                    let machine = machine (tinyNet grey method)
                    let state = fresh machine method
                    let run precision =
                        TrainStep.run
                            { machine with Precision = precision }
                            method
                            everything
                            state
                            (firstSix ())
                    let full, low = run Precision.Float32, run Precision.BFloat16
                    Expect.isLessThan (abs (full.Loss - low.Loss)) 0.3 "loss"
                    Expect.notEqual low.Loss full.Loss "the precision matters"
                    Expect.all
                        (Seq.append (Map.values low.Gradients) (Map.values low.Buffers))
                        (fun x -> x.dtype = torch.float32)
                        "types")

        test "ACL-DS's loss is half of the two contrasts" (fun () ->
            let _, outcome = runTiny Acl.dualStream
            let sum = outcome.Measures |> List.sumBy snd
            Expect.equal (outcome.Measures |> List.map fst) [ "clean"; "adversarial" ] "measures"
            close 1e-6 [| outcome.Loss |] [| sum / 2.0 |] "loss")

        test "views of a sample do not depend on the batch it is in" (fun () ->
            let mutable shown = [||]
            let method =
                own
                    [ "v1", SimClr.views 0.1 1.0; "v2", SimClr.views 0.1 1.0 ]
                    [ Pass.train "p" [ "v1"; "v2" ] clean ]
                    (square "p" "v1")
                |> measuring (fun scene ->
                    shown <- [| "v1"; "v2" |] |> Array.collect (fun v -> rows (scene.Output "p" v).Features)
                    [])
            let machine = machine (glass 256)
            let state = fresh machine method
            let views ids =
                TrainStep.run machine method everything state (images 8 ids) |> ignore
                Array.map2 (fun a b -> a, b) shown[.. ids.Length - 1] shown[ids.Length ..]
            let all = views [| 0L .. 7L |]
            let parts = Array.append (views [| 0L; 1L; 2L |]) (views [| 3L .. 7L |])

            Array.iter2
                (fun (a1, a2) (b1, b2) ->
                    close 1e-5 a1 b1 "first view"
                    close 1e-5 a2 b2 "second view")
                parts
                all

            Expect.all all (fun (a, b) -> normInf (minus a b) > 0.01) "the two views differ")

        test "parameters that do not train get no gradient" (fun () ->
            let method = SimClr.method
            let machine = machine (tinyNet grey method)
            let state = fresh machine method
            let trains (name: string) = name.StartsWith "head."
            let outcome = TrainStep.run machine method trains state (firstSix ())
            Expect.equal
                (Seq.toList outcome.Gradients.Keys)
                [ "head.0.bias"; "head.0.weight"; "head.2.bias"; "head.2.weight" ]
                "the head's"
            let whole = TrainStep.run machine method everything state (firstSix ())
            for KeyValue(name, g) in outcome.Gradients do
                close 1e-6 (floats g) (floats whole.Gradients[name]) "the same gradient as when all train")

        test "an update moves what has a gradient, follows with the averages and shares the rest" (fun () ->
            for copies in [ false; true ] do
                let average = {
                    Name = "ema"
                    Decay = Schedule.constant 0.75
                    Statistics = (if copies then Copied else Averaged)
                    Lags = false
                }
                let rule = Transform.scale (Schedule.constant 0.5)
                let method =
                    {
                        own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1") with
                            Averages = [ average ]
                    }
                    |> updating rule
                let network = tinyNet grey method
                let machine = machine network
                let state = { fresh machine method with Averages = Map [ "ema", init 98UL network ] }
                let outcome = TrainStep.run machine method everything state (firstSix ())
                let next = TrainStep.update rule method state outcome
                let p, q = fst state.Online, fst next.Online

                for name in p.Keys do
                    match Map.tryFind name outcome.Gradients with
                    | Some g ->
                        close 1e-7 (floats q[name]) (minus (floats p[name]) (times 0.5 (floats g))) name
                    | None -> Expect.isTrue (obj.ReferenceEquals(q[name], p[name])) name

                let weightsBefore, statisticsBefore = state.Averages["ema"]
                let weights, statistics = next.Averages["ema"]
                let follow (before: Tensor) (now: Tensor) =
                    plus (times 0.75 (floats before)) (times 0.25 (floats now))

                for name in p.Keys do
                    close
                        1e-6
                        (floats weights[name])
                        (follow weightsBefore[name] q[name])
                        "average of the parameters"

                for KeyValue(name, now) in outcome.Buffers do
                    let expected = if copies then floats now else follow statisticsBefore[name] now
                    close 1e-6 (floats statistics[name]) expected "average of the statistics"

                Expect.equal next.Progress (Progress.next state.Progress) "progress"
                Expect.isTrue
                    (obj.ReferenceEquals(
                        (snd next.Online)["bn1.running_mean@clean"],
                        outcome.Buffers["bn1.running_mean@clean"]
                    ))
                    "the outcome's statistics")
    ]
