/// That every method does what it is for: its objective falls, its adversary raises what it is to raise, and
/// nothing moves that is not to move.
module Tests.Methods.EveryMethodTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.SmallMethods

// What the method's own passes and adversaries make of the run's first batch with these weights, on average
// over a few draws; queues, averages and draws are the same whatever the weights are.
let private objective (t: Trainer) (state: State) online =
    let start = Progress.atEpoch 0 state.Progress
    let batch = Trainer.nextBatch t start

    [ 0L; 3L; 6L; 9L ]
    |> List.averageBy (fun step ->
        let state = { state with Online = online; Progress = { start with Step = step } }
        (TrainStep.run t.Machine t.Method (fun _ -> false) state batch).Loss)

// What one of a step's adversaries raises, after some change of it.
let private heightOf (t: Trainer) state at change =
    let adversaries = t.Method.Step.Adversaries |> List.mapi (fun i a -> if i = at then change a else a)
    let adversary = t.Method.Step.Adversaries[at]

    let step = {
        Step.create t.Method.Step.Views (adversary.Passes |> List.map Pass.look) "" (fun scene ->
            (adversary.Objective scene).mean()) with
            Adversaries = adversaries
    }

    let method = { t.Method with Step = step; Memory = Memory.none }
    (TrainStep.run t.Machine method (fun _ -> false) state (Trainer.nextBatch t state.Progress)).Loss

let private still (a: Adversary) = { a with Ascent = { a.Ascent with Start = AtInput; Steps = 0 } }

/// What one of a training's adversaries raises: at the views that it starts from, and at those that it makes.
let climb t state at = heightOf t state at still, heightOf t state at id

let private start (t: Trainer) = inScope (Trainer.start t)

// The branches whose statistics some passes move: of the network in training, or of an average.
let private kept who passes =
    passes
    |> List.filter (fun pass -> pass.Who = who && pass.Keep && pass.Call.Mode = Train)
    |> List.map (fun pass -> pass.Call.Branch)
    |> List.distinct

// A norm without branches moves with any of them.
let private expected (buffers: Buffers) branches =
    let shared = buffers.Keys |> Seq.exists (fun name -> (Branch.ofName name).IsNone)
    let none = if shared && branches <> [] then [ None ] else []
    none @ List.map Some branches |> List.sort

let private attackPasses (step: Step) = step.Adversaries |> List.collect _.Passes

[<Tests>]
let tests =
    testList "Methods.EveryMethod" [
        test "every method and every preset is sound" (fun () ->
            for m in MethodRegistry.methods @ MethodRegistry.asPublished do
                Expect.equal (MethodCheck.faults m) [] m.Name)

        test "a head in small has the layers of the method's own" (fun () ->
            let layers (head: Named<Network -> Network>) =
                System.Text.RegularExpressions.Regex.Replace(head.Text, @"\d+", "n")

            for m in MethodRegistry.methods @ MethodRegistry.asPublished do
                Expect.equal (layers (narrowHead m)) (layers m.Head) m.Name)

        for m in MethodRegistry.methods do
            test (m.Name + ": thirty steps lower its objective") (fun () ->
                // Chosen batches need several to be chosen from.
                let chosen = m.Name = "acl-rcs"

                tryingAsIs (if chosen then 120 else 24) (small m) (fun t ->
                    let t = { t with Batch = 24; Epochs = 30 }
                    let before = start t
                    let after = inScope (advance 30 t (fun () -> Trainer.start t))
                    let objective online = objective t after online
                    let first, last = objective before.Online, objective after.Online
                    Expect.isLessThan last (first - 0.01 * abs first) "objective, by a hundredth at least"))

        for m in MethodRegistry.methods do
            for at in 0 .. m.Step.Adversaries.Length - 1 do
                trial m (sprintf "adversary %d raises what it is to raise" (at + 1)) (fun t ->
                    // After some steps: classifiers start from nought, where nothing has a slope.
                    let state = inScope (advance 3 t (fun () -> Trainer.start t))
                    let flat, raised = climb t state at
                    Expect.isGreaterThan raised flat "its objective")

        trial ManyCrops.freeMethod "perturbations that are carried raise the loss, look by look" (fun t ->
            let state, batch = start t, Trainer.nextBatch t (Progress.start 1 1)

            let looks =
                (state, [ 1..5 ])
                ||> List.mapFold (fun state _ ->
                    let outcome = TrainStep.run t.Machine t.Method everything state batch
                    outcome.Loss, { state with Memory = outcome.Memory })
                |> fst

            Expect.isGreaterThan looks[4] looks[0] "five looks")

        for m in MethodRegistry.methods do
            trial m "the statistics that its passes keep move, and no others" (fun t ->
                let state = start t
                let batch = Trainer.nextBatch t state.Progress
                let step = t.Method.Step
                let passes = step.Passes @ attackPasses step
                let outcome = TrainStep.run t.Machine t.Method everything state batch
                let before = snd state.Online
                Expect.equal
                    (moved before outcome.Buffers |> List.sort)
                    (expected before (kept Online passes))
                    "of the network in training"

                for KeyValue(name, buffers) in outcome.AverageBuffers do
                    let before = snd state.Averages[name]
                    Expect.equal
                        (moved before buffers |> List.sort)
                        (expected before (kept (Average name) passes))
                        name

                if not step.Adversaries.IsEmpty then
                    // The adversaries alone.
                    let method = {
                        t.Method with
                            Step = { step with Passes = List.map Pass.look step.Passes }
                    }
                    let outcome = TrainStep.run t.Machine method (fun _ -> false) state batch
                    let moved = moved before outcome.Buffers
                    Expect.isFalse (List.contains (Some clean) moved) "no attack moves the clean branch")
    ]
