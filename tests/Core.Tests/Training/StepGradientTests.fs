/// Gradients of a step beyond its own loss: what attacks leave behind, and weights that are moved first.
module Tests.Training.StepGradientTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods

// A value's gradients in images and parameters; parameters that it does not depend on are left out.
let private slope (f: Tensor -> Parameters -> Tensor) (x: Tensor) (parameters: Parameters) =
    let leaf = x.detach().requires_grad_ true
    let p = parameters |> Map.map (fun _ p -> p.detach().requires_grad_ true)
    let value = f leaf p
    let wanted = ResizeArray [ leaf; yield! Map.values p ]
    let found = Autograd.grad false value wanted

    let gradients =
        Seq.zip p.Keys found.Tail
        |> Seq.choose (fun (name, gradient) -> gradient |> Option.map (fun g -> name, floats g))
        |> Map.ofSeq

    Option.get found.Head, gradients

let private sum (a: Map<string, float[]>) (b: Map<string, float[]>) =
    (a, b)
    ||> Map.fold (fun all name x ->
        all |> Map.change name (fun found -> found |> Option.map (plus x) |> Option.orElse (Some x)))

let private same (actual: Parameters) (expected: Map<string, float[]>) =
    Expect.equal (Seq.toList actual.Keys) (Seq.toList expected.Keys) "which parameters"

    for KeyValue(name, g) in expected do
        relative 1e-10 (floats actual[name]) g name

// An attack in three steps through the adversarial branch.
let private leaking leaks =
    let m =
        own [ "v", View.identity ] [ Pass.train "p" [ "a" ] clean ] (square "p" "a")
        |> withAdversary
            [ "a", "v" ]
            [ { Pass.train "m" [ "a" ] adv with Learn = false; Keep = false } ]
            (fun scene -> (embedding "m" "a" scene).sin().sum())

    let change (a: Adversary) = {
        a with
            Ascent = { GradientAttack.pgd 0.3 3 with Start = AtInput }
            Leaks = leaks
    }

    { m with Step = { m.Step with Adversaries = List.map change m.Step.Adversaries } }

let private perturbing size =
    let m = own [ "v", View.identity ] [ Pass.train "p" [ "v" ] clean ] (square "p" "v")
    { m with Step = { m.Step with WeightStep = Schedule.constant size } }

[<Tests>]
let tests =
    testList "Training.StepGradient" [
        test "an attack that leaks adds the gradients of all its looks to the step's" (fun () ->
            let machine, method, state, batch = doubled (leaking true)
            let parameters, buffers = state.Online
            let origin = batch.Images["image"]

            let forward branch (x: Tensor) p =
                (fst (machine.Network.Apply (call branch Train) p buffers x)).Embedding

            let raised x p = (forward adv x p).sin().sum()

            let x, left =
                ((origin, Map.empty), [ 1..3 ])
                ||> List.fold (fun (x, left) _ ->
                    let atImages, atWeights = slope raised x parameters
                    let x = Projection.project (Threat.create Linf 0.1) origin (x + atImages.sign () * 0.03)
                    x, sum left atWeights)

            let _, own = slope (fun x p -> (forward clean x p).square().mean()) x parameters
            let outcome = TrainStep.run machine method everything state batch
            same outcome.Gradients (sum own left)
            Expect.isTrue (outcome.Gradients.ContainsKey "bn1.weight@adv") "the attacked branch's too"

            let sound = TrainStep.run machine (leaking false) everything state batch
            same sound.Gradients own
            let some = TrainStep.run machine method _.StartsWith("conv1") state batch
            Expect.equal (Seq.toList some.Gradients.Keys) [ "conv1.weight" ] "of what trains"
            let expected = sum own left
            close 1e-10 (floats some.Gradients["conv1.weight"]) expected["conv1.weight"] "its sum")

        test "gradients are taken at weights moved along them, by a part of each matrix's length" (fun () ->
            let size = 0.05
            let machine, method, state, batch = doubled (perturbing size)
            let parameters, buffers = state.Online

            let loss (x: Tensor) p =
                (fst (machine.Network.Apply (call clean Train) p buffers x)).Embedding.square().mean()

            let x = batch.Images["image"]
            let _, gradients = slope loss x parameters

            let moved =
                parameters
                |> Map.map (fun name p ->
                    match Map.tryFind name gradients with
                    | Some g when p.shape.Length > 1 ->
                        let length = norm2 (floats p) * size / norm2 g
                        let sizes = p.shape |> Array.map int |> List.ofArray
                        tensor sizes (plus (floats p) (times length g))
                    | _ -> p.alias ())

            Expect.exists parameters (fun p -> p.Value.shape.Length = 1) "vectors stay"
            let _, expected = slope loss x moved
            let outcome = TrainStep.run machine method everything state batch
            same outcome.Gradients expected
            let value = number (loss x moved)
            close 1e-12 [| snd outcome.Measures.Head |] [| value |] "the loss there"
            Expect.isGreaterThan value (number (loss x parameters)) "higher than at the weights themselves"

            // Statistics move once, from what they were, by the pass with the moved weights.
            let _, after = machine.Network.Apply (call clean Train) moved buffers x

            for KeyValue(name, expected) in after do
                close 1e-12 (floats outcome.Buffers[name]) (floats expected) name)

        test "a part of nought changes nothing, and a schedule may switch it on" (fun () ->
            let later = Schedule.join (Schedule.constant 0.0) [ 2, Schedule.constant 0.05 ]
            let on = perturbing 0.0
            let on = { on with Step = { on.Step with WeightStep = later } }
            let machine = machine (tinyNet grey on)
            let state = fresh machine on
            let run method state = print (TrainStep.run machine method everything state (firstSix ()))
            let none = own [ "v", View.identity ] [ Pass.train "p" [ "v" ] clean ] (square "p" "v")
            Expect.equal (run (perturbing 0.0) state) (run none state) "off"
            Expect.equal (run on state) (run none state) "before its epoch"
            let state = { state with Progress = Progress.atEpoch 2 state.Progress }
            Expect.equal (run on state) (run (perturbing 0.05) state) "from its epoch on"
            Expect.notEqual (run on state) (run none state) "on")

        test "weights that do not train are not moved" (fun () ->
            let machine, method, state, batch = doubled (perturbing 0.05)
            let some (name: string) = name.StartsWith "conv2"
            let outcome = TrainStep.run machine method some state batch
            let whole = TrainStep.run machine method everything state batch
            let none = TrainStep.run machine (perturbing 0.0) some state batch
            let at (o: TrainStep.Outcome) = floats o.Gradients["conv2.weight"]
            Expect.isGreaterThan (normInf (minus (at outcome) (at none))) 1e-8 "its own weight was moved"
            Expect.isGreaterThan (normInf (minus (at outcome) (at whole))) 1e-8 "the others were not")
    ]
