/// Learning rates over a run.
module Tests.Optim.ScheduleTests

open System
open Expecto
open FsCheck
open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open Support.Laws
open Support

let private at step p = Seq.fold (fun p _ -> Progress.next p) p (seq { 1..step })

let private values (schedule: Schedule) perEpoch epochs = [|
    for step in 0 .. perEpoch * epochs -> schedule.Run(at step (Progress.start perEpoch epochs))
|]

// A run of some steps an epoch and some epochs, and an epoch in it.
let private law name check =
    testProperty name (fun (PositiveInt perEpoch) (PositiveInt epochs) (PositiveInt epoch) ->
        let epochs = 1 + epochs % 12
        check (1 + perEpoch % 6) epochs (epoch % epochs))

// Tells the step that it is shown, so that its values are what a combinator shows.
let private shown: Schedule = Named.create "step" (fun p -> float p.Step)

[<Tests>]
let tests =
    testList "Optim.Schedule" [
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

        law "a line has the same rise at every step" (fun perEpoch epochs _ ->
            let steps = perEpoch * epochs
            let expected = Array.init (steps + 1) (fun k -> 0.5 + 1.5 * float k / float steps)
            close 1e-12 (values (Schedule.linear 0.5 2.0) perEpoch epochs) expected "values")

        test "a decay that rises forgets a start in few steps, and ends at its number" (fun () ->
            let all = values (Schedule.rising 0.99) 100 20
            close 1e-12 all[..2] [| 0.1; 2.0 / 11.0; 3.0 / 12.0 |] "(1 + k) / (10 + k)"
            Expect.isAscending all "rising"
            close 0.0 [| Array.last all |] [| 0.99 |] "the number"
            // What is left of the start after 100 steps; a constant decay leaves 0.37.
            atMost 1e-12 [| Array.reduce (*) all[..99] |] "the start's share")

        law "a cosine upwards is BYOL's momentum" (fun perEpoch epochs _ ->
            let steps = float (perEpoch * epochs)
            let momentum k = 1.0 - (1.0 - 0.996) * (cos (Math.PI * float k / steps) + 1.0) / 2.0
            let all = values (Schedule.cosine 0.996 1.0) perEpoch epochs
            close 1e-12 all (Array.init all.Length momentum) "momentum"
            Expect.isAscending all "rising")

        law "by epochs a schedule sees as many steps as there are epochs" (fun perEpoch epochs _ ->
            let by = values (Schedule.perEpoch (Schedule.cosine 2.0 0.1)) perEpoch epochs
            let whole = values (Schedule.cosine 2.0 0.1) 1 epochs
            close 1e-12 by (Array.init by.Length (fun k -> whole[k / perEpoch])) "values")

        test "DynACL's warm-up: (e + 1)/10 of the rate in each of the first 10 epochs" (fun () ->
            let rate = Schedule.perEpoch (Schedule.warmUp 10 (Schedule.cosine 5.0 0.0))
            let all = values rate 3 40
            close 1e-12 all[..29] (Array.init 30 (fun k -> 5.0 * float (k / 3 + 1) / 10.0)) "rising"
            let cosine e = 2.5 * (1.0 + cos (Math.PI * float (e - 10) / 30.0))
            close 1e-12 all[30..] (Array.init 91 (fun k -> cosine (10 + k / 3))) "falling")

        law "refreshed values are those of the last epoch that k divides" (fun perEpoch epochs k ->
            let k = k + 1
            let all = values (Schedule.refreshed k shown) perEpoch epochs
            close
                0.0
                all
                (Array.init all.Length (fun step -> float (step / perEpoch / k * k * perEpoch)))
                "shown")

        test "DynACL's strength of views falls every 50 epochs" (fun () ->
            let strength = Schedule.refreshed 50 (Schedule.linear 1.0 0.0)
            let at epoch = strength.Run(Progress.atEpoch epoch (Progress.start 98 1000))
            close
                1e-12
                (Array.map at [| 0; 49; 50; 51; 99; 100; 999 |])
                [| 1.0; 1.0; 0.95; 0.95; 0.95; 0.9; 0.05 |]
                "strengths")

        test "DynACL's weight counts epochs from 1" (fun () ->
            for case in GoldenValues.ofLosses "loss dynacl" do
                let whole name = GoldenValues.whole [ "hyper"; name ] case
                let weight =
                    Schedule.linear 0.0 (GoldenValues.real [ "hyper"; "lambda" ] case)
                    |> Schedule.refreshed (whole "K")
                    |> Schedule.ahead 1
                let now = Progress.start 5 (whole "epochs") |> Progress.atEpoch (whole "epoch" - 1)
                close 1e-12 [| weight.Run now |] [| GoldenValues.real [ "hyper"; "omega" ] case |] "omega")

        law "ahead, a schedule is shown the steps to come" (fun perEpoch epochs epoch ->
            let all = values (Schedule.ahead epoch shown) perEpoch epochs
            close 0.0 all (Array.init all.Length (fun step -> float (step + epoch * perEpoch))) "shown"
            let epochs = Named.create "epoch" (fun (p: Progress) -> float p.Epoch)
            let now = Progress.atEpoch 2 (Progress.start perEpoch 9)
            close 0.0 [| (Schedule.ahead epoch epochs).Run now |] [| float (2 + epoch) |] "epoch")

        law "since an epoch it is as if the run began there" (fun perEpoch epochs epoch ->
            let cosine = Schedule.cosine 2.0 0.1
            let all = values (Schedule.since epoch cosine) perEpoch epochs
            let start = epoch * perEpoch
            close 1e-12 all[start..] (values cosine perEpoch (epochs - epoch)) "from there on"
            Expect.allEqual all[..start] 2.0 "its start before"
            let whole = values (Schedule.since epochs cosine) perEpoch epochs
            Expect.allEqual whole 2.0 "nothing is left of the run")

        law "during some epochs it is as if they were the run" (fun perEpoch epochs epoch ->
            let line = Schedule.linear 3.0 1.0
            let first, last = epoch / 2, epoch + 1
            let all = values (Schedule.during first last line) perEpoch (epochs + 3)
            let start, finish = first * perEpoch, last * perEpoch
            close 1e-12 all[start..finish] (values line perEpoch (last - first)) "between them"
            Expect.allEqual all[..start] 3.0 "its start before"
            Expect.allEqual all[finish..] 1.0 "its end afterwards")

        test "a weight that is 0 until epoch 300 and 1 at epoch 1000" (fun () ->
            let weight = Schedule.during 300 1000 (Schedule.linear 0.0 1.0)
            let at epoch = weight.Run(Progress.atEpoch epoch (Progress.start 10 1000))
            close
                1e-12
                (Array.map at [| 0; 299; 300; 475; 650; 1000 |])
                [| 0.0; 0.0; 0.0; 0.25; 0.5; 1.0 |]
                "")

        law "joined schedules take over at their epochs and see the whole run" (fun perEpoch epochs epoch ->
            let second: Schedule = Named.create "minus" (fun p -> -float p.Step)
            let all = values (Schedule.join shown [ epoch, second; epoch + 2, shown ]) perEpoch (epochs + 3)
            let expected step =
                if step >= epoch * perEpoch && step < (epoch + 2) * perEpoch then -float step else float step
            close 0.0 all (Array.init all.Length expected) "values")

        test "drops are parts of the peak" (fun () ->
            // CLAE's: a tenth at 120, a twentieth at 160, a hundredth at 200.
            let rate = Schedule.drops 0.03 [ 120, 0.1; 160, 0.05; 200, 0.01 ]
            let at epoch = rate.Run(Progress.atEpoch epoch (Progress.start 2 301))
            close
                1e-15
                (Array.map at [| 0; 119; 120; 159; 160; 199; 200; 300 |])
                [| 0.03; 0.03; 0.003; 0.003; 0.0015; 0.0015; 0.0003; 0.0003 |]
                "rates")

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

        law "a rise from a number meets what follows, which sees the whole run" (fun perEpoch epochs warm ->
            // SupContrast's: a line per step to the cosine over all epochs, which then goes by epochs.
            let goal e = 0.001 + (1.0 - 0.001) * (1.0 + cos (Math.PI * float e / float epochs)) / 2.0
            let rate = Schedule.riseFrom 0.01 warm (Schedule.perEpoch (Schedule.cosine 1.0 0.001))

            let expected step =
                if step < warm * perEpoch then
                    0.01 + float step / float (warm * perEpoch) * (goal warm - 0.01)
                else
                    goal (step / perEpoch)

            let all = values rate perEpoch epochs
            close 1e-12 all (Array.init all.Length expected) "rates")

        test
            "RoCL's rate: from 0.1 to 15 times that in 10 epochs, by epochs, then a cosine over the rest"
            (fun () ->
                let rate =
                    Schedule.riseFrom 0.1 10 (Schedule.since 10 (Schedule.cosine 1.5 0.0))
                    |> Schedule.perEpoch
                let all = values rate 2 1000
                let expected e =
                    if e < 10 then
                        0.1 * (14.0 * float e / 10.0 + 1.0)
                    else
                        0.75 * (1.0 + cos (Math.PI * float (e - 10) / 990.0))
                close 1e-12 all (Array.init all.Length (fun step -> expected (step / 2))) "rates")

        test "epochs that make no sense are refused" (fun () ->
            let c = Schedule.constant 1.0
            refuses [ "k"; "0" ] (fun () -> Schedule.refreshed 0 c |> ignore) "never refreshed"
            refuses [ "first <= last"; "5 and 4" ] (fun () -> Schedule.during 5 4 c |> ignore) "backwards"
            refuses [ "first"; "-1" ] (fun () -> Schedule.during -1 4 c |> ignore) "before the run"
            for epochs in [ [ 20; 10 ]; [ 10; 10 ] ] do
                let parts = epochs |> List.map (fun epoch -> epoch, 0.1)
                refuses [ "rise"; "10" ] (fun () -> Schedule.drops 1.0 parts |> ignore) "not rising")

        test "they say what they are" (fun () ->
            let text = (Schedule.warmUp 10 (Schedule.cosine 5.0 0.0)).Text
            Expect.equal text "10 epochs of warm-up, then cosine 5 to 0" "text"
            Expect.equal (Schedule.constant 0.1).Text "0.1" "text"

            for schedule, text in
                [
                    Schedule.drops 0.1 [ 15, 0.5; 20, 0.25 ],
                    "0.1, then 0.05 from epoch 15, then 0.025 from epoch 20"
                    Schedule.riseFrom 0.1 10 (Schedule.since 10 (Schedule.cosine 1.5 0.0)),
                    "10 epochs from 0.1, then cosine 1.5 to 0 since epoch 10"
                    Schedule.perEpoch (Schedule.linear 1.0 0.0), "linear 1 to 0, by epochs"
                    Schedule.ahead 1 (Schedule.refreshed 50 (Schedule.linear 0.0 1.0)),
                    "linear 0 to 1, refreshed every 50 epochs, 1 ahead"
                    Schedule.during 3 9 (Schedule.constant 2.0), "2 in epochs 3 to 9"
                ] do
                Expect.equal schedule.Text text "text")
    ]
