/// Update rules against slow versions on plain arrays, and published values.
module Tests.Optim.TransformTests

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open Support.Arrays
open Support.OptimizerOracle
open Support.Fixtures
open Support.Laws

[<Tests>]
let tests =
    testList "Optim.Transform" [
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

        law "Nesterov's momentum is PyTorch's" (fun (source, start, gradients) ->
            let mu = source.Uniform(0.0, 0.99)

            let rule (w, v) step g =
                let v = plus (times mu v) g
                let w = minus w (times (0.5 / float (step + 1)) (plus g (times mu v)))
                w, (w, v)

            let still = start |> Array.map (fun _ -> 0.0)
            let nesterov = Transform.chain [ Transform.nesterov mu; Transform.scale decaying ]
            agree (runOne nesterov start gradients) (slowly rule (start, still) gradients))

        test "momentum by hand, and Nesterov's" (fun () ->
            let after stage =
                runOne (Transform.chain [ stage ]) [| 10.0 |] [ [| 1.0 |]; [| 2.0 |]; [| -1.0 |] ]
            // v: 1, then 0.5 + 2, then 1.25 - 1.
            close 1e-12 (Array.concat (after (Transform.momentum 0.5))) [| 9.0; 6.5; 6.25 |] "v"
            // g + v/2: 1.5, then 3.25, then -0.875.
            close 1e-12 (Array.concat (after (Transform.nesterov 0.5))) [| 8.5; 5.25; 6.125 |] "g + v/2")

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

        law "weight decay adds its part of the weights" (fun (_, start, gradients) ->
            let rule = Transform.weightDecay 0.2
            let updates, _ =
                rule.Update (now 0) (Map [ "w", vector gradients[0] ]) (Map [ "w", vector start ]) Map.empty
            close 1e-12 (floats updates["w"]) (plus gradients[0] (times 0.2 start)) "update")

        law "AdamW shrinks the weights beside Adam's step" (fun (source, start, gradients) ->
            let decay = source.Uniform(0.0, 0.5)
            let one rule start gradient = List.head (runOne rule start [ gradient ])
            let rate = Schedule.constant 0.01
            let adam = Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale rate ]
            // One step of PyTorch's rule: the weights times 1 - rate*decay, then Adam's step.
            let shrunk = times (1.0 - 0.01 * decay) start
            let expected = plus shrunk (minus (one adam start gradients[0]) start)
            close
                1e-12
                (one (Transform.adamW rate 0.9 0.999 1e-8 decay) start gradients[0])
                expected
                "a step")

        law
            "a clipped update keeps its direction and has the length allowed, all tensors taken together"
            (fun (source, start, gradients) ->
                let names = [ "a"; "b"; "c" ]
                let updates =
                    names |> List.map (fun name -> name, times (source.Uniform(0.1, 3.0)) gradients[0])
                let all = Array.concat (List.map snd updates)
                let limit = source.Uniform(0.1, 2.0 * norm2 all)
                let tensors: Parameters = updates |> List.map (fun (n, g) -> n, vector g) |> Map.ofList
                let weights: Parameters = names |> List.map (fun n -> n, vector start) |> Map.ofList
                let clipped, _ = (Transform.clipNorm limit).Update (now 0) tensors weights Map.empty
                let values = names |> List.map (fun n -> floats clipped[n]) |> Array.concat
                close 1e-12 values (times (min 1.0 (limit / (norm2 all + 1e-6))) all) "one factor for all"
                atMost limit [| norm2 values |] "length")

        test "clipping nothing, and noughts, gives nothing, and noughts" (fun () ->
            let clip (updates: Parameters) =
                fst ((Transform.clipNorm 1.0).Update (now 0) updates updates Map.empty)
            Expect.isEmpty (clip Map.empty) "no updates"
            let still = clip (Map [ "w", vector [| 0.0; 0.0 |] ])
            close 0.0 (floats still["w"]) [| 0.0; 0.0 |] "noughts")

        test
            "a stage for some parameters alone leaves the others' updates, and has no state for them"
            (fun () ->
                let start = Map [ "a.weight", [| 1.0; 2.0 |]; "a.bias", [| 3.0; 4.0 |] ]
                let shapes = Map [ "a.weight", [ 2; 1 ]; "a.bias", [ 2 ] ]
                let gradients =
                    List.replicate 3 (Map [ "a.weight", [| 1.0; -1.0 |]; "a.bias", [| 0.5; 2.0 |] ])
                let heavy = Transform.sgd (Schedule.constant 0.1) 0.9 0.3
                let name =
                    Named.create "named so" (fun (name: string) (_: int64[]) -> name.EndsWith "weight")

                for which in [ Transform.matrices; name ] do
                    let only = Transform.only which heavy
                    let after = runShaped shapes only start gradients
                    let take name = after |> List.map (Map.find name)
                    let alone = gradients |> List.map (Map.find "a.weight") |> runOne heavy start["a.weight"]
                    agree (take "a.weight") alone
                    let plain =
                        [ 1.0 .. 3.0 ] |> List.map (fun k -> minus start["a.bias"] (times k [| 0.5; 2.0 |]))
                    agree (take "a.bias") plain
                    let parameters = start |> Map.map (fun name v -> tensor shapes[name] v)
                    Expect.equal (List.ofSeq (only.Init parameters).Keys) [ "1/momentum/a.weight" ] "state")

        testList "parameters without a gradient" [
            for name, rule in
                [
                    "SGD", Transform.sgd (Schedule.constant 0.1) 0.9 0.1
                    "LARS", Transform.larsMomentum (Schedule.constant 0.1) 0.9 1e-3 0.1
                    "some alone",
                    Transform.only
                        (Named.create "all" (fun _ _ -> true))
                        (Transform.sgd (Schedule.constant 0.1) 0.9 0.1)
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
                    let names (tree: TensorTree) = tree |> Map.keys |> List.ofSeq
                    Expect.equal (names later) (names state) "their state is kept"

                    for KeyValue(name, leaf) in later do
                        if name.EndsWith "/b" then
                            match leaf, state[name] with
                            | Leaf.Tensor x, Leaf.Tensor y ->
                                Expect.isTrue (obj.ReferenceEquals(x, y)) "state untouched"
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
            close 1e-12 (TensorTree.tensors state |> Seq.map number |> Array.ofSeq) [| 1.5; 2.59 |] "states"
            let nothing = Transform.chain []
            let same, state =
                nothing.Update (now 0) (Map [ "w", vector [| 1.0 |] ]) parameters (nothing.Init parameters)
            Expect.equal (floats same["w"], state.Count) ([| 1.0 |], 0) "an empty chain changes nothing")

        law "a state that was saved and read back continues the same" (fun (_, start, gradients) ->
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
                            if copy then
                                TensorTree.within "o" (TensorTree.copy (TensorTree.under "o" state))
                            else
                                state
                        let updates, state = rule.Update (now step) (Map [ "w", vector g ]) p state
                        Transform.apply updates p, state)
                let (p, s), (q, t) = go true, go false
                Expect.equal (hash p, TensorTree.hash s) (hash q, TensorTree.hash t) "parameters and state")

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
                "Adam"
            Expect.equal
                (text (
                    Transform.chain [
                        Transform.clipNorm 1.0
                        Transform.only Transform.matrices (Transform.weightDecay 0.1)
                        Transform.nesterov 0.9
                    ]
                ))
                "length at most 1, weight decay 0.1 (matrices alone), Nesterov momentum 0.9"
                "a chain")
    ]
