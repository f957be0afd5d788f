/// Passes, and what a loss sees of them.
module Tests.Training.ForwardPassTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods

[<Tests>]
let tests =
    testList "Training.ForwardPass" [
        test "the views of a pass are one batch, two passes are two" (fun () ->
            let half = [ "v1", View.identity; "v2", Colour.jitter 0.9 0.0 0.0 0.0 ]
            let together = own half [ Pass.train "p" [ "v1"; "v2" ] clean ] (square "p" "v1")
            let apart =
                own half [ Pass.train "p" [ "v1" ] clean; Pass.train "q" [ "v2" ] clean ] (square "p" "v1")
            let show pass = measuring (fun scene -> [ for x in floats (embedding pass "v2" scene) -> "", x ])
            let values (_, o: TrainStep.Outcome) = o.Measures |> List.map snd |> Array.ofList
            let one, two = values (runTiny (show "p" together)), values (runTiny (show "q" apart))
            Expect.isGreaterThan (normInf (minus one two)) 1e-4 "batch statistics differ"

            let network = tinyNet grey together
            let state = fresh (machine network) together
            let x = (firstSix ()).Images["image"]
            let draw = { Rng.create 5UL "view/v2" [| 0L .. 5L |] with Epoch = 0; Step = 0L }
            let second = (Colour.jitter 0.9 0.0 0.0 0.0).Run draw x
            let apply images =
                fst (network.Apply (call clean Train) (fst state.Online) (snd state.Online) images)
            close
                1e-6
                one
                (floats ((apply (torch.cat [| x; second |])).Embedding.narrow(0L, 6L, 6L)))
                "one batch"
            close 1e-6 two (floats (apply second).Embedding) "two batches")

        test "statistics go from pass to pass, and only where a pass keeps them" (fun () ->
            let passes keepFirst keepSecond = [
                { Pass.train "p" [ "v1" ] clean with Keep = keepFirst }
                { Pass.train "q" [ "v2" ] clean with Keep = keepSecond }
            ]
            let run keepFirst keepSecond =
                let state, outcome = runTiny (own plainViews (passes keepFirst keepSecond) (square "p" "v1"))
                snd state.Online, outcome.Buffers
            let before, none = run false false
            Expect.isTrue
                (Map.forall (fun name x -> obj.ReferenceEquals(x, before[name])) none)
                "nothing kept: the same tensors"
            let mean (b: Buffers) = floats b["bn1.running_mean@clean"]
            let once, twice = mean (snd (run true false)), mean (snd (run true true))
            // Both passes see the same images: m/10 after one, 0.9 m/10 + m/10 after two.
            close 1e-6 twice (times 1.9 once) "twice"
            close 1e-7 (mean (snd (run false true))) once "the second alone")

        test "a pass that does not learn gives no gradient to the parameters" (fun () ->
            let both =
                own
                    plainViews
                    [ Pass.train "p" [ "v1" ] clean; { Pass.train "q" [ "v2" ] adv with Learn = false } ]
                    (fun scene -> square "p" "v1" scene + square "q" "v2" scene)
            let _, outcome = runTiny both
            Expect.isFalse (outcome.Gradients.ContainsKey "bn1.weight@adv") "the branch that only looked"
            Expect.isTrue (outcome.Gradients.ContainsKey "bn1.weight@clean") "the branch that learnt"
            let _, alone = runTiny (own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1"))
            for KeyValue(name, g) in alone.Gradients do
                close 1e-6 (floats outcome.Gradients[name]) (floats g) "the learning pass's alone")

        test "frozen networks and averages compute, and get no gradient" (fun () ->
            let average = {
                Name = "ema"
                Decay = Schedule.constant 0.9
                Statistics = Averaged
                Lags = false
            }
            let pass name who = { Pass.eval name [ "v1" ] clean with Who = who; Learn = true }
            let distance a b : Loss =
                fun scene -> (embedding a "v1" scene - embedding b "v1" scene).square().mean()

            let method = {
                own
                    plainViews
                    [ Pass.train "p" [ "v1" ] clean; pass "t" (Frozen "teacher"); pass "e" (Average "ema") ]
                    (fun scene -> distance "p" "t" scene + distance "p" "e" scene) with
                    Averages = [ average ]
            }
            let method =
                method
                |> measuring (fun scene -> [
                    "t", number ((embedding "t" "v1" scene).sum())
                    "e", number ((embedding "e" "v1" scene).sum())
                ])
            let network = tinyNet grey method
            let teacher = init 99UL network
            let machine = {
                machine network with
                    Frozen = Map [ "teacher", { Network = network; Branch = clean; Weights = teacher } ]
            }
            let begun = fresh machine method
            let state = { begun with Averages = Map [ "ema", init 98UL network ] }
            let before = hash (fst teacher), TensorTree.hash (State.toTree state)
            let outcome = TrainStep.run machine method everything state (firstSix ())
            Expect.equal (hash (fst teacher), TensorTree.hash (State.toTree state)) before "nothing moved"

            for (name, (parameters, buffers)) in [ "t", teacher; "e", init 98UL network ] do
                let x = (firstSix ()).Images["image"]
                let expected = (fst (network.Apply (call clean Eval) parameters buffers x)).Embedding.sum()
                let actual = outcome.Measures |> List.find (fst >> (=) name) |> snd
                close 1e-3 [| actual |] [| number expected |] "who computes"

            let alone = { state with Averages = state.Averages }
            let direct =
                let target =
                    [ "t", teacher; "e", state.Averages["ema"] ]
                    |> List.map (fun (_, (p, b)) ->
                        (fst (network.Apply (call clean Eval) p b ((firstSix ()).Images["image"])))
                            .Embedding.detach())
                let constant =
                    own plainViews [ Pass.train "p" [ "v1" ] clean ] (fun scene ->
                        target
                        |> List.map (fun t -> (embedding "p" "v1" scene - t).square().mean())
                        |> List.reduce (+))
                TrainStep.run machine constant everything alone (firstSix ())

            Expect.equal (Seq.toList outcome.Gradients.Keys) (Seq.toList direct.Gradients.Keys) "who learns"
            for KeyValue(name, g) in direct.Gradients do
                close 1e-6 (floats outcome.Gradients[name]) (floats g) "as if their outputs were constants")

        test "a loss sees memory, ids, labels and progress, and memory continues" (fun () ->
            let mutable seen = None
            let whole name (tree: TensorTree) =
                match Map.tryFind name tree with
                | Some(Leaf.Int n) -> n
                | _ -> -1L
            let count = whole "n"
            let loss: Loss =
                fun scene ->
                    seen <-
                        Some(
                            scene.Ids,
                            wholes (scene.Labels "class"),
                            scene.Progress.Step,
                            count scene.Memory
                        )
                    square "p" "v1" scene
            let method = {
                own plainViews [ Pass.train "p" [ "v1" ] clean ] loss with
                    Memory = {
                        Init =
                            fun draw width -> Map [ "n", Leaf.Int(int64 draw.Seed); "width", Leaf.Int width ]
                        After = fun scene -> Map [ "n", Leaf.Int(count scene.Memory + 1L) ]
                    }
            }
            let machine = machine (glass 256)
            let state = fresh machine method
            let batch = firstSix ()
            let outcome = TrainStep.run machine method everything state batch
            Expect.equal seen (Some(batch.Ids, wholes batch.Labels["class"], 0L, 5L)) "what the loss saw"
            Expect.equal (whole "width" state.Memory) 256L "memory knows the embedding's width"
            Expect.equal (count outcome.Memory) 6L "memory after it"
            let next = TrainStep.update (Transform.scale (Schedule.constant 0.1)) method state outcome
            Expect.equal (count next.Memory, count state.Memory) (6L, 5L) "memory of the next state")

        test "views may come from images that an earlier stage made" (fun () ->
            let made = { Name = "w"; Source = "perturbed"; Make = fun _ -> View.identity }
            let method = own plainViews [ Pass.train "p" [ "v1"; "w" ] clean ] (square "p" "w")
            let method = { method with Step = { method.Step with Views = made :: method.Step.Views } }
            let machine = machine (glass 256)
            let batch = firstSix ()
            let perturbed = batch.Images["image"] * 0.5
            let batch = { batch with Images = Map.add "perturbed" perturbed batch.Images }
            let outcome = TrainStep.run machine method everything (fresh machine method) batch
            close
                1e-6
                [| outcome.Loss |]
                [| floats perturbed |> Array.averageBy (fun v -> v * v) |]
                "loss of those images")

        test "a view may change during training" (fun () ->
            let grows = {
                Name = "v1"
                Source = "image"
                Make = fun p -> if p.Epoch < 1 then View.identity else Colour.jitter 0.9 0.0 0.0 0.0
            }
            let method = own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1")
            let method = { method with Step = { method.Step with Views = [ grows ] } }
            let machine = machine (glass 256)
            let state = fresh machine method
            let loss progress =
                (TrainStep.run machine method everything { state with Progress = progress } (firstSix ()))
                    .Loss
            let plain = floats (firstSix ()).Images["image"] |> Array.averageBy (fun v -> v * v)
            close 1e-6 [| loss (Progress.start 10 10) |] [| plain |] "before"
            Expect.notEqual
                (loss (Progress.atEpoch 1 (Progress.start 10 10)))
                (loss (Progress.start 10 10))
                "after")
    ]
