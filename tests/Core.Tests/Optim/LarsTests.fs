/// Layer-wise rate scaling (LARS) against slow versions on plain arrays, and published values.
module Tests.Optim.LarsTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open Support.Arrays
open Support.OptimizerOracle
open Support.Laws
open Support

// r, as written in the papers' code, for norms that do not vanish.
let private ratio (rule: Lars) rate w g =
    let r = rule.Trust * norm2 w / (norm2 g + rule.Decay * norm2 w + rule.Epsilon)
    if rule.Clip.IsSome then min (r / rate) 1.0 else r

let private rules =
    let clip = Some(Schedule.constant 0.3)

    [
        for epsilon in [ 0.0; 1e-8; 0.1 ] do
            for clip in [ None; clip ] do
                for always in [ true; false ] do
                    { Trust = 0.4; Decay = 0.05; Epsilon = epsilon; Clip = clip; DecaysAlways = always }
    ]

// The update that a stage makes of one gradient.
let private update (stage: Transform) step w g =
    let parameters: Parameters = Map [ "w", vector w ]
    let updates, _ = stage.Update (now step) (Map [ "w", vector g ]) parameters (stage.Init parameters)
    floats updates["w"]

[<Tests>]
let tests =
    testList "Optim.Lars" [
        law "LARS with the rate inside the momentum" (fun (source, start, gradients) ->
            let eta, decay, mu = 0.02, source.Uniform(0.0, 0.1), 0.9

            let rule (w, v) step g =
                let ratio = eta * norm2 w / (norm2 g + decay * norm2 w)
                let rate = 0.5 / float (step + 1)
                let v = plus (times mu v) (times (rate * ratio) (plus g (times decay w)))
                let w = minus w v
                w, (w, v)

            let still = start |> Array.map (fun _ -> 0.0)
            let expected = slowly rule (start, still) gradients
            agree (runOne (Transform.larsMomentum decaying mu eta decay) start gradients) expected)

        law "without decay LARS does not see the scale of the loss" (fun (source, start, gradients) ->
            let rule = Transform.larsMomentum (Schedule.constant 0.3) 0.9 0.01 0.0
            let factor = exp (source.Uniform(-6.0, 6.0))
            agree (runOne rule start (gradients |> List.map (times factor))) (runOne rule start gradients)
            // What is added to the norms moves the update by at most its share of the gradient's norm.
            let larc = update (Transform.larc None 0.01 0.0) 0 start
            let g = gradients[0]
            let share = 1e-8 / norm2 g + 1e-8 / (factor * norm2 g)
            atMost
                (0.01 * norm2 start * share + 1e-15)
                [| norm2 (minus (larc g) (larc (times factor g))) |]
                "with 1e-8 added")

        test "where weights or gradient vanish LARS scales by 1" (fun () ->
            let one = Transform.chain [ Transform.lars 0.001 0.5; Transform.scale (Schedule.constant 1.0) ]
            Expect.equal
                (runOne one [| 0.0; 0.0 |] [ [| 3.0; 4.0 |] ])
                [ [| -3.0; -4.0 |] ]
                "weights of nought"
            Expect.equal
                (runOne one [| 2.0; 4.0 |] [ [| 0.0; 0.0 |] ])
                [ [| 1.0; 2.0 |] ]
                "a gradient of nought: the decay alone")

        law "every form scales gradient and decay by its ratio" (fun (_, start, gradients) ->
            for rule in rules do
                let expected =
                    plus gradients[0] (times 0.05 start) |> times (ratio rule 0.3 start gradients[0])
                close 1e-12 (update (Transform.layerwise rule) 0 start gradients[0]) expected "update")

        law "the rate that cuts is that of the moment" (fun (_, start, gradients) ->
            for step in [ 0; 7 ] do
                let rule = { rules[0] with Trust = 5.0; Clip = Some decaying }
                let rate = 0.5 / float (step + 1)
                let expected =
                    plus gradients[0] (times 0.05 start) |> times (ratio rule rate start gradients[0])
                close 1e-12 (update (Transform.layerwise rule) step start gradients[0]) expected "update")

        law
            "cut at the rate, no step is longer than descent's with decay, and with much trust it is that"
            (fun (source, start, gradients) ->
                let rate = Schedule.constant (source.Uniform(0.01, 2.0))
                let trust = exp (source.Uniform(-6.0, 3.0))
                let plain = plus gradients[0] (times 0.1 start)
                let clipped = update (Transform.larc (Some rate) trust 0.1) 0 start gradients[0]
                atMost (norm2 plain * (1.0 + 1e-12)) [| norm2 clipped |] "length"
                let free = update (Transform.larc None trust 0.1) 0 start gradients[0]
                atMost
                    (norm2 free * (1.0 + 1e-12))
                    [| norm2 clipped * rate.Run(now 0) |]
                    "nor than that of LARS without it"
                close
                    1e-12
                    (update (Transform.larc (Some rate) 1e9 0.1) 0 start gradients[0])
                    plain
                    "descent")

        law "the whole of apex's and solo-learn's rule" (fun (source, start, gradients) ->
            let rate, mu, decay = source.Uniform(0.1, 1.0), 0.9, source.Uniform(0.0, 0.1)
            let schedule = Schedule.constant rate

            let rule (w, v) _ g =
                let r = 0.02 * norm2 w / (norm2 g + decay * norm2 w + 1e-8)
                let d = times (min (r / rate) 1.0) (plus g (times decay w))
                let v = plus (times mu v) d
                let w = minus w (times rate (plus d (times mu v)))
                w, (w, v)

            let chain =
                Transform.chain [
                    Transform.larc (Some schedule) 0.02 decay
                    Transform.nesterov mu
                    Transform.scale schedule
                ]
            let still = start |> Array.map (fun _ -> 0.0)
            agree (runOne chain start gradients) (slowly rule (start, still) gradients))

        law "SimCLR's code takes the norm of the gradient with its decay" (fun (_, start, gradients) ->
            let decayed = plus gradients[0] (times 0.3 start)
            let stages = Transform.chain [ Transform.weightDecay 0.3; Transform.lars 0.01 0.0 ]
            let expected = times (0.01 * norm2 start / norm2 decayed) decayed
            close 1e-12 (update stages 0 start gradients[0]) expected "update")

        test "biases and norms are left to the momentum where they are excluded" (fun () ->
            let start =
                Map [ "conv.weight", [| 1.0; -2.0; 0.5; 3.0 |]; "bn.bias", [| 1.0; -2.0; 0.5; 3.0 |] ]
            let shapes = Map [ "conv.weight", [ 2; 2 ]; "bn.bias", [ 4 ] ]
            let gradient = start |> Map.map (fun _ _ -> [| 0.3; 0.1; -0.4; 2.0 |])
            let rate = Schedule.constant 0.3
            let scaled = Transform.larc (Some rate) 0.005 1e-4
            let behind stages = Transform.chain (stages @ [ Transform.nesterov 0.9; Transform.scale rate ])
            let many = List.replicate 3 gradient
            let after = runShaped shapes (behind [ Transform.only Transform.matrices scaled ]) start many
            let alone stages =
                runOne (behind stages) start["bn.bias"] (many |> List.map (Map.find "bn.bias"))
            agree (after |> List.map (Map.find "bn.bias")) (alone [])
            agree (after |> List.map (Map.find "conv.weight")) (alone [ scaled ]))

        test "where weights or gradient vanish the published codes differ in the decay" (fun () ->
            let rocl =
                { Trust = 1e-3; Decay = 0.5; Epsilon = 1e-8; Clip = None; DecaysAlways = true }
                |> Transform.layerwise
            let larc = Transform.larc (Some(Schedule.constant 0.1)) 0.02 0.5

            for stage in [ rocl; larc ] do
                close 0.0 (update stage 0 [| 0.0; 0.0 |] [| 3.0; 4.0 |]) [| 3.0; 4.0 |] "weights of nought"

            close 0.0 (update rocl 0 [| 2.0; 4.0 |] [| 0.0; 0.0 |]) [| 1.0; 2.0 |] "the decay stays"
            close 0.0 (update larc 0 [| 2.0; 4.0 |] [| 0.0; 0.0 |]) [| 0.0; 0.0 |] "the decay goes")

        test "a rate of nought cuts nothing" (fun () ->
            let stage = Transform.larc (Some(Schedule.constant 0.0)) 0.02 0.5
            close 0.0 (update stage 0 [| 2.0; 4.0 |] [| 1.0; 1.0 |]) [| 2.0; 3.0 |] "gradient and decay")

        test "they say what they are" (fun () ->
            Expect.equal (Transform.lars 1e-3 1e-6).Text "LARS, trust 0.001, decay 1e-06" "ACL's"
            Expect.equal
                (Transform.larc (Some(Schedule.constant 0.3)) 5e-3 1e-4).Text
                ("LARS, trust 0.005, decay 0.0001, epsilon 1e-08, at most the rate 0.3, "
                 + "no decay where a norm is 0")
                "solo-learn's")

        testList "published" [
            for case in
                GoldenValues.ofLosses "optimiser lars.acl" @ GoldenValues.ofLosses "optimiser lars.solo" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let hyper name = GoldenValues.real [ "hyper"; name ] case
                    let rates = GoldenValues.values [ "hyper"; "lr" ] case
                    let rate = Named.create "given" (fun (p: Progress) -> rates[int p.Step])
                    let decay, eta, mu = hyper "weight_decay", hyper "eta", hyper "momentum"

                    let rule =
                        if GoldenValues.text [ "optimiser" ] case = "lars.acl" then
                            Transform.larsMomentum rate mu eta decay
                        else
                            let truth name = GoldenValues.truth [ "hyper"; name ] case
                            let scaled =
                                Transform.larc (if truth "clip_lr" then Some rate else None) eta decay
                            Transform.chain [
                                if truth "exclude_bias_n_norm" then
                                    Transform.only Transform.matrices scaled
                                else
                                    scaled
                                if truth "nesterov" then Transform.nesterov mu else Transform.momentum mu
                                Transform.scale rate
                            ]

                    let start = GoldenValues.array [ "inputs"; "w" ] case
                    let shape = start.shape |> Array.map int |> List.ofArray
                    let steps =
                        Array.splitInto rates.Length (GoldenValues.values [ "inputs"; "gradients" ] case)
                    let gradients = [ for g in steps -> Map [ "w", g ] ]
                    let after =
                        runShaped (Map [ "w", shape ]) rule (Map [ "w", floats start ]) gradients
                        |> List.map (Map.find "w")
                    let expected = GoldenValues.values [ "published"; "w_after_each_step" ] case
                    close
                        (GoldenValues.real [ "tolerance" ] case)
                        (Array.concat after)
                        expected
                        "w after each step")
        ]
    ]
