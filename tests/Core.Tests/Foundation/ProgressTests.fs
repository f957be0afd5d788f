/// Where a run stands.
module Tests.Foundation.ProgressTests

open Expecto
open FsCheck
open AdvContrast.Core.Foundation
open Support.Laws

let private after steps p = Seq.fold (fun p _ -> Progress.next p) p (seq { 1..steps })

[<Tests>]
let tests =
    testList "Foundation.Progress" [
        test "a run starts at nought" (fun () ->
            let p = Progress.start 7 3
            Expect.equal (p.Step, p.Epoch, p.StepInEpoch) (0L, 0, 0) "where it stands"
            Expect.equal p.Steps 21L "steps in all"
            Expect.isFalse p.IsFinished "not yet")

        testProperty
            "steps make epochs"
            (fun (PositiveInt perEpoch) (PositiveInt epochs) (NonNegativeInt steps) ->
                let p = Progress.start perEpoch epochs |> after steps
                Expect.equal (int p.Step) steps "steps"
                Expect.equal (p.Epoch * perEpoch + p.StepInEpoch) steps "epochs and what is left over"
                Expect.isTrue (p.StepInEpoch < perEpoch) "less than an epoch is left over"
                Expect.equal p.IsFinished (steps >= perEpoch * epochs) "finished"
                Expect.equal (p.StepsPerEpoch, p.Epochs) (perEpoch, epochs) "the plan stays")

        testProperty "an epoch is its steps" (fun (PositiveInt perEpoch) (NonNegativeInt epoch) ->
            let start = Progress.start perEpoch 5
            let direct = Progress.atEpoch epoch (after 3 start)
            direct = after (epoch * perEpoch) start)
    ]
