/// Update rules and schedules by hand, and against PyTorch's optimisers and schedulers.
module Tests.Optim.OptimizerRegistryTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open Support.Arrays
open Support.OptimizerOracle
open Support.Laws
open Support

let private case = GoldenValues.optimisers.Value

let private shapes =
    Map [
        for name, shape in GoldenValues.parts [ "shapes" ] case ->
            name, [ for size in shape.EnumerateArray() -> size.GetInt32() ]
    ]

let private tensors values =
    Map [ for name, value in GoldenValues.parts [] values -> name, GoldenValues.values [] value ]

let private fixed' = Schedule.constant

// The rules by the names of the reference.
let private rules = [
    "sgd", Transform.sgd (fixed' 0.1) 0.0 0.0
    "sgd with momentum and decay", Transform.sgd (fixed' 0.1) 0.9 0.05
    "sgd with Nesterov's momentum and decay", Transform.sgdNesterov (fixed' 0.1) 0.9 0.05
    // One epoch a step: the reference falls over its six steps.
    "sgd along a cosine",
    Transform.sgd
        (Named.create "six steps" (fun p ->
            (Schedule.cosine 0.3 0.01).Run { Progress.start 1 6 with Step = p.Step; Epoch = int p.Step }))
        0.9
        0.0
    "adam", Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (fixed' 0.1) ]
    "adam with decay",
    Transform.chain [ Transform.weightDecay 0.1; Transform.adam 0.8 0.95 1e-3; Transform.scale (fixed' 0.02) ]
    "adamw", Transform.adamW (fixed' 0.1) 0.9 0.999 1e-8 1e-2
    "adamw with much decay", Transform.adamW (fixed' 0.02) 0.8 0.95 1e-3 0.5
    "clipped sgd", Transform.chain [ Transform.clipNorm 1.5; Transform.sgd (fixed' 0.1) 0.9 0.0 ]
]

let private schedules = [
    "cosine per step", Schedule.cosine 0.8 0.01
    "cosine per epoch", Schedule.perEpoch (Schedule.cosine 0.8 0.01)
    "steps", Schedule.drops 0.8 [ 3, 0.1; 7, 0.01 ]
    "a line per step", Schedule.linear 0.8 0.2
    "warm-up per step, then a cosine", Schedule.warmUp 2 (Schedule.cosine 0.8 0.0)
    "warm-up per epoch, joined with a cosine",
    Schedule.riseFrom 0.08 3 (Schedule.since 3 (Schedule.cosine 0.8 0.01)) |> Schedule.perEpoch
]

// What a rule makes of one parameter, after each step.
let private after rule (start: float[]) (gradients: float[] list) = Array.concat (runOne rule start gradients)

[<Tests>]
let tests =
    testList "Optim.OptimizerRegistry" [
        testList "PyTorch's optimisers" [
            for name, rule in rules do
                test name (fun () ->
                    let gradients = [
                        for step in (GoldenValues.at [ "gradients" ] case).EnumerateArray() -> tensors step
                    ]
                    let start = tensors (GoldenValues.at [ "start" ] case)
                    let actual = runShaped shapes rule start gradients
                    let expected = [
                        for step in (GoldenValues.at [ "updates"; name ] case).EnumerateArray() ->
                            tensors step
                    ]
                    Expect.hasLength actual expected.Length "steps"

                    for actual, expected in List.zip actual expected do
                        for KeyValue(tensor, values) in expected do
                            close 1e-12 actual[tensor] values tensor)

            test "all of them" (fun () ->
                let names = GoldenValues.parts [ "updates" ] case |> List.map fst
                Expect.equal (List.map fst rules) names "no reference lies unused"
                let names = GoldenValues.parts [ "schedules" ] case |> List.map fst
                Expect.equal (List.map fst schedules) names "nor a schedule")
        ]

        testList "PyTorch's schedulers" [
            for name, schedule in schedules do
                test name (fun () ->
                    let start =
                        Progress.start
                            (GoldenValues.whole [ "steps_an_epoch" ] case)
                            (GoldenValues.whole [ "epochs" ] case)
                    let moments = Seq.unfold (fun p -> Some(p, Progress.next p)) start
                    let rates = moments |> Seq.takeWhile (fun p -> not p.IsFinished) |> Seq.map schedule.Run
                    close 1e-12 (Array.ofSeq rates) (GoldenValues.values [ "schedules"; name ] case) "rates")
        ]

        test "SGD by hand" (fun () ->
            // g + w/10: 2, then 1 + 0.8; v: 2, then 1 + 1.8.
            let rule = Transform.sgd (fixed' 1.0) 0.5 0.1
            close 1e-12 (after rule [| 10.0 |] [ [| 1.0 |]; [| 1.0 |] ]) [| 8.0; 5.2 |] "w")

        test "Nesterov's SGD by hand" (fun () ->
            // g + w/10: 2, then 1 + 0.7; v: 2, then 1 + 1.7; step: 2 + 1, then 1.7 + 1.35.
            let rule = Transform.sgdNesterov (fixed' 1.0) 0.5 0.1
            close 1e-12 (after rule [| 10.0 |] [ [| 1.0 |]; [| 1.0 |] ]) [| 7.0; 3.95 |] "w")

        test "AdamW by hand" (fun () ->
            // First m and v without bias: 2 and 4; the step: 1 and half of w, times the rate.
            let rule = Transform.adamW (fixed' 0.1) 0.5 0.75 0.0 0.5
            // Then m = 1 of 0.75 and v = 1 of 0.4375.
            let second = 3.7 - 0.1 * ((4.0 / 3.0) / sqrt (16.0 / 7.0) + 0.5 * 3.7)
            close 1e-12 (after rule [| 4.0 |] [ [| 2.0 |]; [| 1.0 |] ]) [| 3.7; second |] "w")

        test "LARS by hand" (fun () ->
            // |w| = 5, |g| = 10: r = 0.1 * 5 / (10 + 0.5 * 5), d = r (g + w/2) = (0.3, 0.4).
            let rule = Transform.larsMomentum (fixed' 2.0) 0.5 0.1 0.5
            close 1e-12 (after rule [| 3.0; 4.0 |] [ [| 6.0; 8.0 |] ]) [| 2.4; 3.2 |] "w"
            // v = 0.5 (0.6, 0.8) and, of no gradient, half the weights.
            let twice = after rule [| 3.0; 4.0 |] [ [| 6.0; 8.0 |]; [| 0.0; 0.0 |] ]
            close 1e-12 twice[2..] [| 2.4 - 0.3 - 2.4; 3.2 - 0.4 - 3.2 |] "then")

        test "LARC by hand" (fun () ->
            // |w| = 5, |g| = 10 without decay: r = 0.5, cut at the rate 0.25 to a share of 1; at a rate of 2
            // a quarter of g, twice.
            let shapes = Map [ "w", [ 2; 1 ]; "b", [ 2 ] ]
            let start = Map [ "w", [| 3.0; 4.0 |]; "b", [| 3.0; 4.0 |] ]
            let step rate =
                let gradient = start |> Map.map (fun _ _ -> [| 6.0; 8.0 |])
                runShaped shapes (Transform.larcMomentum (fixed' rate) 0.9 1.0 0.0) start [ gradient ]
                |> List.exactlyOne
            let cut, free = step 0.25, step 2.0
            close 1e-8 cut["w"] [| 1.5; 2.0 |] "cut"
            close 1e-8 free["w"] [| 0.0; 0.0 |] "half of g over the rate, times the rate"
            close 1e-12 free["b"] [| -9.0; -12.0 |] "a bias is not scaled")

        test "clipping by hand" (fun () ->
            let rule = Transform.chain [ Transform.clipNorm 1.0; Transform.scale (fixed' 1.0) ]
            let start = Map [ "a", [| 0.0 |]; "b", [| 0.0 |] ]
            let clipped = run rule start [ Map [ "a", [| 3.0 |]; "b", [| -4.0 |] ] ] |> List.exactlyOne
            close 1e-6 clipped["a"] [| -0.6 |] "a"
            close 1e-6 clipped["b"] [| 0.8 |] "b"
            let short = run rule start [ Map [ "a", [| 0.3 |]; "b", [| -0.4 |] ] ] |> List.exactlyOne
            close 1e-15 short["a"] [| -0.3 |] "short ones stay")

        testList "by name" [
            test "every rule is found, takes its rate and says what it is" (fun () ->
                let names = OptimizerRegistry.all |> List.map _.Name
                Expect.equal names [ "lars"; "larc"; "sgd"; "nesterov"; "adam"; "adamw" ] "names"
                Expect.equal
                    (OptimizerRegistry.names ())
                    "lars, larc, sgd, nesterov, adam or adamw"
                    "in a sentence"
                let texts = [
                    for rule in OptimizerRegistry.all do
                        let found = Expect.wantOk (OptimizerRegistry.find rule.Name) rule.Name
                        let built = found.Build(Schedule.constant 0.123)
                        Expect.stringContains built.Text "0.123" rule.Name
                        built.Text
                ]
                Expect.hasLength (List.distinct texts) texts.Length "each its own")

            test "a wrong name is met with the nearest" (fun () ->
                let error = wantError (OptimizerRegistry.find "adamm") "unknown"
                says [ "optimiser"; "'adamm'"; "'adam'"; "larc" ] error "sentence"
                Expect.equal (Error.exitCode error) 3 "an unknown name")
        ]
    ]
