/// Averages of the network in training, and how far statistics move.
module Tests.Training.AverageTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods

let private ema statistics lags = {
    Name = "ema"
    Decay = Schedule.constant 0.75
    Statistics = statistics
    Lags = lags
}

// The average network sees the second view in train mode.
let private looking average : Method = {
    own
        [ "v1", View.identity; "v2", Crop.randomResized 0.5 ]
        [ Pass.train "p" [ "v1" ] clean; Pass.train "k" [ "v2" ] clean |> Pass.by (Average "ema") ]
        (fun scene -> square "p" "v1" scene + square "k" "v2" scene) with
        Averages = [ average ]
}

let private rule = Transform.scale (Schedule.constant 0.5)

// One step of a method whose average starts elsewhere: the state before it, its outcome, the state after it.
let private stepped (method: Method) =
    let network = tinyNet grey method
    let machine = machine network
    let state = { fresh machine method with Averages = Map [ "ema", init 98UL network ] }
    let outcome = TrainStep.run machine method everything state (firstSix ())
    network, state, outcome, TrainStep.update rule method state outcome

let private follow (before: Tensor) (now: Tensor) =
    plus (times 0.75 (floats before)) (times 0.25 (floats now))

[<Tests>]
let tests =
    testList "Training.Average" [
        test "an average with statistics of its own moves them by its own batches" (fun () ->
            let network, state, outcome, next = stepped (looking (ema Own false))
            let parameters, buffers = state.Averages["ema"]
            let draw = Rng.create 5UL "view/v2" [| 0L .. 5L |]
            let x = (Crop.randomResized 0.5).Run draw (firstSix ()).Images["image"]
            let _, expected = network.Apply (call clean Train) parameters buffers x
            Expect.equal (hash (snd next.Averages["ema"])) (hash expected) "the average's"
            Expect.equal (hash outcome.AverageBuffers["ema"]) (hash expected) "in the outcome"
            let _, own =
                network.Apply
                    (call clean Train)
                    (fst state.Online)
                    (snd state.Online)
                    (firstSix ()).Images["image"]
            Expect.equal (hash (snd next.Online)) (hash own) "the network's, by its own batch alone")

        test "statistics that are copied or averaged are not those of its own batches" (fun () ->
            let _, _, _, copied = stepped (looking (ema Copied false))
            Expect.equal (hash (snd copied.Averages["ema"])) (hash (snd copied.Online)) "copied"
            let _, before, _, averaged = stepped (looking (ema Averaged false))

            for KeyValue(name, now) in snd averaged.Online do
                let expected = follow (statistic name before.Averages["ema"]) now
                close 1e-6 (floats (statistic name averaged.Averages["ema"])) expected name)

        test "an average that only looks keeps its statistics, and nobody learns through it" (fun () ->
            let method = looking (ema Own false)
            let passes = method.Step.Passes |> List.map (fun p -> if p.Name = "k" then Pass.look p else p)
            let _, state, outcome, next = stepped { method with Step = { method.Step with Passes = passes } }
            Expect.equal (hash (snd next.Averages["ema"])) (hash (snd state.Averages["ema"])) "statistics"
            let alone = own [ "v1", View.identity ] [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1")
            let _, without = runTiny alone
            Expect.equal (hash outcome.Gradients) (hash without.Gradients) "as if it were not there")

        test "an average follows the weights after the update, or those that the passes used" (fun () ->
            for lags in [ false; true ] do
                let _, state, _, next = stepped (looking (ema Own lags))
                let towards = if lags then state.Online else next.Online

                for KeyValue(name, x) in fst next.Averages["ema"] do
                    close
                        1e-6
                        (floats x)
                        (follow (weight name state.Averages["ema"]) (weight name towards))
                        name

                let name = "conv1.weight"
                Expect.notEqual
                    (bits (weight name state.Online))
                    (bits (weight name next.Online))
                    "the update moved the weights")

        test "over the steps an average is a sum of all weights, by the decay of each moment" (fun () ->
            // BYOL's momentum (Grill et al. 2020): 1 - (1 - 0.9)(cos(pi k/K) + 1)/2 at step k of K.
            let decay k = 1.0 - 0.1 * (cos (System.Math.PI * float k / 100.0) + 1.0) / 2.0
            let average = { ema Copied false with Decay = Schedule.cosine 0.9 1.0 }
            let method = { SimClr.method with Averages = [ average ] }
            let machine = machine (tinyNet grey method)
            let name, still = "conv1.weight", { fresh machine method with Memory = Map.empty }
            let moves k = floats (weight name still.Online) |> Array.map (fun w -> sin (float k * w))

            let step (state: State) k =
                let shape = (weight name still.Online).shape |> Array.map int |> List.ofArray
                let outcome: TrainStep.Outcome = {
                    Loss = 0.0
                    Measures = []
                    Gradients = Map [ name, single (tensor shape (moves k)) ]
                    Buffers = snd state.Online
                    AverageBuffers = Map [ "ema", snd state.Online ]
                    Memory = Map.empty
                }
                TrainStep.update rule method state outcome

            let states = [ 0..4 ] |> List.scan step still
            let weights = states |> List.map (fun state -> floats (weight name state.Online))
            Expect.notEqual weights[5] weights[4] "the weights move"

            let expected =
                (weights[0], List.indexed weights.Tail)
                ||> List.fold (fun sum (k, w) -> plus (times (decay k) sum) (times (1.0 - decay k) w))

            close 1e-6 (floats (weight name (List.last states).Averages["ema"])) expected "average")

        test "an attack sees through an average" (fun () ->
            let mutable views = Map.empty

            let method = {
                own plainViews [ Pass.train "p" [ "v1"; "a" ] clean ] (square "p" "v1") with
                    Averages = [ ema Own false ]
            }

            let pass = Pass.eval "k" [ "a" ] clean |> Pass.by (Average "ema")

            let method =
                method
                |> withAdversary [ "a", "v1" ] [ pass ] (square "k" "a")
                |> measuring (fun scene ->
                    views <- Map [ for v in [ "v1"; "a" ] -> v, floats (scene.Output "p" v).Features ]
                    [])

            // A net that shows its images, times a number that differs between the two.
            let network = glass 256
            let machine = machine network
            let state = fresh machine method
            let flip (sign: float) = Map [ "scale", torch.ones [| 1L |] * sign ], Map.empty

            for sign in [ -1.0; 0.0 ] do
                let state = { state with Averages = Map [ "ema", flip sign ] }
                TrainStep.run machine method everything state (firstSix ()) |> ignore
                let moved = minus views["a"] views["v1"]
                let rises = Array.map2 (fun m v -> if v > 0.2 then m else 0.0) moved views["v1"]

                if sign = 0.0 then
                    Expect.isLessThan (Array.min rises) -0.01 "without slope noise alone moves it"
                else
                    within 0.0 0.11 rises "its square rises"
                    Expect.isGreaterThan (Array.max rises) 0.09 "to the border")

        test "a pass moves statistics as far as its momentum says" (fun () ->
            let by momentum =
                let pass = Pass.train "p" [ "v1" ] clean
                let pass = { pass with Call = { pass.Call with Momentum = momentum } }
                let _, outcome = runTiny (own plainViews [ pass ] (square "p" "v1"))
                outcome.Buffers

            let usual, slow = by 0.1, by 0.01

            for KeyValue(name, x) in usual do
                if name.EndsWith "@clean" then
                    // Means start at 0, variances at 1.
                    let start = if name.Contains "running_var" then 1.0 else 0.0
                    let way part = Array.map (fun v -> (v - start) / part) (floats x)
                    let slowly = floats slow[name] |> Array.map (fun v -> (v - start) / 0.01)
                    relative 1e-3 slowly (way 0.1) name
                else
                    Expect.equal (bits slow[name]) (bits x) "the other branch stays"

            let twice =
                let pass name = Pass.train name [ "v1" ] clean
                let slowly (p: Pass) = { p with Call = { p.Call with Momentum = 0.01 } }
                runTiny (own plainViews [ pass "p"; slowly (pass "q") ] (square "p" "v1"))
                |> fun (_, outcome) -> floats outcome.Buffers["bn1.running_mean@clean"]

            let m = times 10.0 (floats usual["bn1.running_mean@clean"])
            close 1e-6 twice (times (0.1 * 0.99 + 0.01) m) "each pass by its own momentum")
    ]
