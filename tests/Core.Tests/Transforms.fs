/// Update rules against slow versions on plain arrays, and published values.
module Transforms

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws

let private now step = {
    Progress.start 10 10 with
        Step = int64 step
        StepInEpoch = step % 10
        Epoch = step / 10
}

let private vector values = tensor [ Array.length values ] values

// Takes a step for each set of gradients; what the parameters are after each.
let private run (rule: Transform) (start: Map<string, float[]>) (gradients: Map<string, float[]> list) =
    let tensors (values: Map<string, float[]>) : Parameters = values |> Map.map (fun _ v -> vector v)
    let parameters = tensors start

    ((parameters, rule.Init parameters, []), List.indexed gradients)
    ||> List.fold (fun (parameters, state, seen) (step, gradients) ->
        let updates, state = rule.Update (now step) (tensors gradients) parameters state
        let parameters = Transform.apply updates parameters
        parameters, state, (parameters |> Map.map (fun _ p -> floats p)) :: seen)
    |> fun (_, _, seen) -> List.rev seen

// One parameter alone.
let private runOne rule start gradients =
    run rule (Map [ "w", start ]) (gradients |> List.map (fun g -> Map [ "w", g ]))
    |> List.map (Map.find "w")

let private case (seed: int) =
    let source = Source seed
    let width = source.Whole(1, 4)
    let start = source.Normals width
    let gradients = List.init (source.Whole(1, 6)) (fun _ -> source.Normals width)
    source, start, gradients

let private slowly rule start gradients =
    (start, List.indexed gradients)
    ||> List.mapFold (fun state (step, g) -> let w, state = rule state step g in w, (w, snd state))
    |> fst

let private law name check = testProperty name (fun (seed: int) -> balanced (fun () -> check (case seed)))

let private agree actual expected =
    close 1e-12 (Array.concat actual) (Array.concat expected) "parameters after each step"

let private decaying = Named.create "falling" (fun (p: Progress) -> 0.5 / float (p.Step + 1L))

let tests =
    testList "Transforms" [
        law "plain descent" (fun (_, start, gradients) ->
            let expected = (start, gradients) ||> List.scan (fun w g -> minus w (times 0.3 g)) |> List.tail
            agree (runOne (Transform.scale (Schedule.constant 0.3)) start gradients) expected)

        law "the rate is that of the moment" (fun (_, start, gradients) ->
            let rule (w, s) step g = minus w (times (0.5 / float (step + 1)) g), s
            let rule state step g = let w, s = rule state step g in w, ((w, s): float[] * unit)
            let expected = slowly rule (start, ()) gradients
            agree (runOne (Transform.scale decaying) start gradients) expected)

        law "SGD with momentum and decay is PyTorch's" (fun (source, start, gradients) ->
            let mu, decay = source.Uniform(0.0, 0.99), source.Uniform(0.0, 0.1)

            let rule (w, v) step g =
                let v = plus (times mu v) (plus g (times decay w))
                let w = minus w (times (0.5 / float (step + 1)) v)
                w, (w, v)

            let still = start |> Array.map (fun _ -> 0.0)
            let expected = slowly rule (start, still) gradients
            agree (runOne (Transform.sgd decaying mu decay) start gradients) expected)

        law "Adam is algorithm 1 of its paper" (fun (_, start, gradients) ->
            let rule (w, (m, v)) step g =
                let m = plus (times 0.9 m) (times 0.1 g)
                let v = plus (times 0.999 v) (times 0.001 (Array.map (fun g -> g * g) g))
                let t = float (step + 1)
                let unbiased beta = times (1.0 / (1.0 - beta ** t))
                let move = Array.map2 (fun m v -> m / (sqrt v + 1e-8)) (unbiased 0.9 m) (unbiased 0.999 v)
                let w = minus w (times 0.01 move)
                w, (w, (m, v))

            let still = start |> Array.map (fun _ -> 0.0)
            let expected = slowly rule (start, (still, still)) gradients
            let adam =
                Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.constant 0.01) ]
            close 1e-10 (Array.concat (runOne adam start gradients)) (Array.concat expected) "parameters")

        test "Adam by hand: the first step has the rate's length, the second follows the means" (fun () ->
            let adam =
                Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.constant 0.1) ]
            let after = runOne adam [| 1.0; 1.0 |] [ [| 2.0; -0.5 |]; [| 2.0; 1.0 |] ]
            close 1e-8 after[0] [| 0.9; 1.1 |] "first step: g over |g|"
            // Second coordinate: m = 0.055 / 0.19, v = 0.00124975 / 0.001999.
            close
                1e-8
                after[1]
                [| 0.8; 1.1 - 0.1 * (0.055 / 0.19) / sqrt (0.00124975 / 0.001999) |]
                "second step")

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
            agree (runOne rule start (gradients |> List.map (times factor))) (runOne rule start gradients))

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

        law "weight decay adds its part of the weights" (fun (_, start, gradients) ->
            let rule = Transform.weightDecay 0.2
            let updates, _ =
                rule.Update (now 0) (Map [ "w", vector gradients[0] ]) (Map [ "w", vector start ]) Map.empty
            close 1e-12 (floats updates["w"]) (plus gradients[0] (times 0.2 start)) "update")

        testList "parameters without a gradient" [
            for name, rule in
                [
                    "SGD", Transform.sgd (Schedule.constant 0.1) 0.9 0.1
                    "LARS", Transform.larsMomentum (Schedule.constant 0.1) 0.9 1e-3 0.1
                    "Adam",
                    Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.constant 0.1) ]
                ] do
                test (name + " leaves them alone, and the others do not notice") (fun () ->
                    let start = Map [ "a", [| 1.0; 2.0 |]; "b", [| 3.0 |] ]
                    let gradient = Map [ "a", [| 0.5; -1.0 |] ]
                    let after = run rule start [ gradient; gradient; gradient ]
                    Expect.all after (fun p -> p["b"] = [| 3.0 |]) "values"
                    let alone = runOne rule [| 1.0; 2.0 |] (List.replicate 3 gradient["a"])
                    agree (after |> List.map (Map.find "a")) alone

                    let parameters: Parameters = start |> Map.map (fun _ v -> vector v)
                    let state = rule.Init parameters
                    let updates, later =
                        rule.Update (now 0) (Map [ "a", vector [| 1.0; 1.0 |] ]) parameters state
                    let applied = Transform.apply updates parameters
                    Expect.isTrue (obj.ReferenceEquals(applied["b"], parameters["b"])) "the same tensor"
                    Expect.isFalse (obj.ReferenceEquals(applied["a"], parameters["a"])) "a new one"
                    Expect.equal (bits parameters["a"]) (bits (vector start["a"])) "nothing in place"
                    let names (tree: Tree) = tree |> Map.keys |> List.ofSeq
                    Expect.equal (names later) (names state) "their state is kept"

                    for KeyValue(name, leaf) in later do
                        if name.EndsWith "/b" then
                            match leaf, state[name] with
                            | Value x, Value y -> Expect.isTrue (obj.ReferenceEquals(x, y)) "state untouched"
                            | _ -> failtest "a tensor's state is a tensor")
        ]

        test "a chain runs its stages in order, each with a state of its own" (fun () ->
            let chain =
                Transform.chain [ Transform.momentum 0.5; Transform.weightDecay 0.1; Transform.momentum 0.9 ]
            let parameters: Parameters = Map [ "w", vector [| 1.0 |] ]
            let state = chain.Init parameters
            Expect.equal (List.ofSeq state.Keys) [ "0/momentum/w"; "2/momentum/w" ] "names"
            let step state = chain.Update (now 0) (Map [ "w", vector [| 1.0 |] ]) parameters state
            let first, state = step state
            close
                1e-12
                (floats first["w"])
                [| 1.1 |]
                "first: 1, then a tenth of w, then the momentum of that"
            let second, state = step state
            close 1e-12 (floats second["w"]) [| 0.9 * 1.1 + 1.6 |] "second"
            close 1e-12 (Tree.tensors state |> Seq.map number |> Array.ofSeq) [| 1.5; 2.59 |] "states"
            let nothing = Transform.chain []
            let same, state =
                nothing.Update (now 0) (Map [ "w", vector [| 1.0 |] ]) parameters (nothing.Init parameters)
            Expect.equal (floats same["w"], state.Count) ([| 1.0 |], 0) "an empty chain changes nothing")

        law
            "a state that was put away and taken out goes on as if nothing had happened"
            (fun (_, start, gradients) ->
                for rule in
                    [
                        Transform.sgd decaying 0.9 0.1
                        Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale decaying ]
                    ] do
                    let parameters: Parameters = Map [ "w", vector start ]
                    let go copy =
                        ((parameters, rule.Init parameters), List.indexed gradients)
                        ||> List.fold (fun (p, state) (step, g) ->
                            let state =
                                if copy then Tree.within "o" (Tree.copy (Tree.under "o" state)) else state
                            let updates, state = rule.Update (now step) (Map [ "w", vector g ]) p state
                            Transform.apply updates p, state)
                    let (p, s), (q, t) = go true, go false
                    Expect.equal (hash p, Tree.hash s) (hash q, Tree.hash t) "parameters and state")

        test "they say what they are" (fun () ->
            let text (rule: Transform) = rule.Text
            Expect.equal
                (text (Transform.sgd (Schedule.constant 0.1) 0.9 5e-4))
                "SGD, rate 0.1, momentum 0.9, weight decay 0.0005"
                "SGD"
            Expect.equal
                (text (
                    Transform.chain [
                        Transform.adam 0.9 0.999 1e-8
                        Transform.scale (Schedule.constant 0.1)
                    ]
                ))
                "Adam 0.9, 0.999, rate 0.1"
                "Adam")

        testList "published" [
            for case in Reference.ofLosses "optimiser lars.acl" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let hyper name = Reference.real [ "hyper"; name ] case
                    let rates = Reference.values [ "hyper"; "lr" ] case
                    let rate = Named.create "given" (fun (p: Progress) -> rates[int p.Step])
                    let rule =
                        Transform.larsMomentum rate (hyper "momentum") (hyper "eta") (hyper "weight_decay")
                    let start = Reference.values [ "inputs"; "w" ] case
                    let steps =
                        Array.splitInto rates.Length (Reference.values [ "inputs"; "gradients" ] case)
                    let after = runOne rule start (List.ofArray steps)
                    let expected = Reference.values [ "published"; "w_after_each_step" ] case
                    close
                        (Reference.real [ "tolerance" ] case)
                        (Array.concat after)
                        expected
                        "w after each step")
        ]
    ]
