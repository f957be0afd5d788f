/// Learning rates over a run.
module Schedules

open System
open Expecto
open FsCheck
open AdvContrast.Core
open AdvContrast.Testing.Property
open Laws

let private at step p = Seq.fold (fun p _ -> Progress.next p) p (seq { 1..step })

let private values (schedule: Schedule) perEpoch epochs = [|
    for step in 0 .. perEpoch * epochs -> schedule.Run(at step (Progress.start perEpoch epochs))
|]

let tests =
    testList "Schedules" [
        test "a constant stays" (fun () -> Expect.allEqual (values (Schedule.constant 0.3) 3 2) 0.3 "values")

        testProperty
            "a cosine starts at the peak, ends at the floor and falls in between"
            (fun (PositiveInt perEpoch) (PositiveInt epochs) ->
                let perEpoch, epochs = 1 + perEpoch % 20, 1 + epochs % 10
                let all = values (Schedule.cosine 4.0 0.5) perEpoch epochs
                close 1e-12 [| all[0]; Array.last all |] [| 4.0; 0.5 |] "ends"
                Expect.isDescending all "falling"
                let steps = float (perEpoch * epochs)
                let expected =
                    Array.init all.Length (fun k ->
                        0.5 + 3.5 * (1.0 + cos (Math.PI * float k / steps)) / 2.0)
                close 1e-12 all expected "half a cosine")

        testProperty
            "warm-up reaches its k-th part at the k-th step and joins what follows"
            (fun (PositiveInt perEpoch) (PositiveInt warm) (PositiveInt after) ->
                let perEpoch, warm, after = 1 + perEpoch % 12, 1 + warm % 5, 1 + after % 6
                let cosine = Schedule.cosine 2.0 0.1
                let all = values (Schedule.warmUp warm cosine) perEpoch (warm + after)
                let steps = warm * perEpoch
                close
                    1e-12
                    all[.. steps - 1]
                    (Array.init steps (fun k -> 2.0 * float (k + 1) / float steps))
                    "rising"
                close
                    1e-12
                    all[steps..]
                    (values cosine perEpoch after)
                    "then the other schedule over what is left"
                close 1e-12 [| all[steps - 1] |] [| all[steps] |] "no jump at the join")

        test "ACL's rate: 5/980 at the first update of 98 a step, 5 at the last of epoch 10" (fun () ->
            let rate = Schedule.warmUp 10 (Schedule.cosine 5.0 1e-6)
            let run step = rate.Run(at step (Progress.start 98 1000))
            close
                1e-12
                [| run 0; run 1; run 979; run 980 |]
                [| 5.0 / 980.0; 10.0 / 980.0; 5.0; 5.0 |]
                "first and last"
            let last = rate.Run { Progress.start 98 1000 with Step = 98000L; Epoch = 1000 }
            close 1e-12 [| last |] [| 1e-6 |] "the end")

        test "a run shorter than its warm-up reaches the peak at its end" (fun () ->
            let all = values (Schedule.warmUp 10 (Schedule.cosine 1.0 0.0)) 4 2
            close 1e-12 all[..7] (Array.init 8 (fun k -> float (k + 1) / 8.0)) "rising")

        test "they say what they are" (fun () ->
            let text = (Schedule.warmUp 10 (Schedule.cosine 5.0 0.0)).Text
            Expect.equal text "10 epochs of warm-up, then cosine 5 to 0" "text"
            Expect.equal (Schedule.constant 0.1).Text "0.1" "text")
    ]
