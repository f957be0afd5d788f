/// Adversarial training for free: perturbations that are carried from step to step, and steps on one batch.
module Tests.Methods.FreeTrainingTests

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
open Support

let private free: Free = {
    Makes = [ "a", "v" ]
    Threat = Threat.create Linf 0.1
    Ascent = GradientAttack.pgd 0.5 1
}

// Trained on perturbed images, and on images as they are, which the perturbation must not see.
let private carrying view loss =
    let m = own [ "v", view ] [ Pass.train "p" [ "a"; "v" ] clean ] loss
    { m with Step = { m.Step with Free = Some free } }

let private method = carrying View.identity (square "p" "a")

let private perturbation (tree: TensorTree) =
    match tree["free/a"] with
    | Leaf.Tensor x -> x
    | _ -> failtest "the perturbation is a tensor"

// Half a radius along the signs, within radius and box, in plain numbers.
let private climbed (origin: float[]) (x: float[]) (gradient: float[]) =
    Array.map3
        (fun o x g ->
            let step = x + 0.05 * float (sign g)
            min 1.0 (max 0.0 (min (o + 0.1) (max (o - 0.1) step))) - o)
        origin
        x
        gradient

[<Tests>]
let tests =
    testList "Methods.FreeTraining" [
        test "perturbations start at nought and climb by the gradient of the step's own loss" (fun () ->
            let machine, method, state, batch = doubled method
            let origin = batch.Images["image"]
            let parameters, buffers = state.Online

            // The loss at perturbed images, its slope there and in the parameters.
            let slopes (x: float[]) =
                let leaf = (tensor [ 4; 1; 12; 12 ] x).requires_grad_ true
                let p = parameters |> Map.map (fun _ p -> p.detach().requires_grad_ true)
                let both = torch.cat (ResizeArray [ leaf; origin ], 0L)
                let output, _ = machine.Network.Apply (call clean Train) p buffers both
                let loss = (output.Embedding.narrow (0L, 0L, 4L)).square().mean()
                let wanted = leaf :: [ p["conv1.weight"] ]
                let found = torch.autograd.grad (ResizeArray [ loss ], ResizeArray wanted)
                number loss, floats found[0], floats found[1]

            ((state, Array.zeroCreate 576), [ 1..3 ])
            ||> List.fold (fun (state, carried) look ->
                let what = sprintf "look %d" look
                let x = plus (floats origin) carried
                let loss, atImages, atWeights = slopes x
                let outcome = TrainStep.run machine method everything state batch
                close 1e-12 [| snd outcome.Measures.Head |] [| loss |] (what + ": loss")
                close 1e-12 (floats outcome.Gradients["conv1.weight"]) atWeights (what + ": gradient")
                let expected = climbed (floats origin) x atImages
                close 1e-12 (floats (perturbation outcome.Memory)) expected (what + ": perturbation")
                Expect.equal (Seq.toList outcome.Memory.Keys) [ "free/a" ] "memory"
                { state with Memory = outcome.Memory }, expected)
            |> ignore)

        test "a step costs one forward pass" (fun () ->
            let network = tinyNet grey method
            let mutable calls = 0

            let counting = {
                network with
                    Apply =
                        fun call parameters buffers x ->
                            calls <- calls + 1
                            network.Apply call parameters buffers x
            }

            let machine = machine counting
            TrainStep.run machine method everything (fresh machine method) (firstSix ()) |> ignore
            Expect.equal calls 1 "calls")

        test "carried to other images, a perturbation stays in ball and box about them" (fun () ->
            let mutable seen = [||]
            let loss: Loss =
                fun scene ->
                    seen <- floats (embedding "p" "a" scene)
                    (embedding "p" "a" scene).square().mean()
            let method = carrying View.identity loss
            let machine = machine (glass 256)
            let state = fresh machine method
            let carried = (torch.ones [| 6L; 1L; 16L; 16L |]) * 0.08
            let state = { state with Memory = Map [ "free/a", Leaf.Tensor carried ] }
            let batch = firstSix ()
            let x = floats batch.Images["image"]
            let outcome = TrainStep.run machine method everything state batch
            close 1e-6 seen (x |> Array.map (fun v -> min 1.0 (v + 0.08))) "moved about its own image"
            let after = floats (perturbation outcome.Memory)
            atMost (0.1 + 1e-6) (Array.map abs after) "ball"
            within -1e-6 (1.0 + 1e-6) (plus x after) "box")

        test "a last batch that is smaller leaves the other rows' perturbations" (fun () ->
            let machine = machine (tinyNet grey method)
            let state = fresh machine method
            let whole = TrainStep.run machine method everything state (images 6 [| 0L .. 5L |])
            let before = perturbation whole.Memory
            let state = { state with Memory = whole.Memory }
            let part = TrainStep.run machine method everything state (images 10 [| 6L .. 9L |])
            let after = perturbation part.Memory
            Expect.equal after.shape before.shape "rows"
            let last (x: Tensor) = bits (x.narrow (0L, 4L, 2L))
            Expect.equal (last after) (last before) "the rows beyond the batch"
            let first (x: Tensor) = bits (x.narrow (0L, 0L, 4L))
            Expect.notEqual (first after) (first before) "those of the batch climb")

        test "a method's own memory continues beside them" (fun () ->
            let counting = {
                method with
                    Memory = {
                        Init = (fun _ _ -> Map [ "n", Leaf.Int 7L ])
                        After = fun scene -> scene.Memory
                    }
            }
            let _, outcome = runTiny counting
            Expect.equal (Seq.toList outcome.Memory.Keys) [ "free/a"; "n" ] "memory")

        test
            "every step on a batch meets the same images and views, and batches follow one another"
            (fun () ->
                let seen = ResizeArray<int64[] * float[]>()

                let loss: Loss =
                    fun scene ->
                        seen.Add(scene.Ids, floats (embedding "p" "v" scene))
                        (embedding "p" "a" scene).square().mean()

                let m =
                    carrying (Crop.randomResized 0.2) loss
                    |> updating (Transform.scale (Schedule.constant 0.0))
                let m = { m with Recipe = { m.Recipe with Replays = 3 } }
                use data = SmallMethods.middles 9

                let t: Trainer = {
                    Machine = machine (glass 256)
                    Method = m
                    Dataset = data
                    Labels = Map.empty
                    Images = Map.empty
                    Batch = 4
                    Epochs = 2
                }

                let at = [
                    for e in Trainer.events t (fun () -> Trainer.start t) -> (Expect.wantOk e "a step").At
                ]
                Expect.equal
                    (at.Length, (List.last at).IsFinished)
                    (12, true)
                    "two batches, three times, two epochs"
                let batches = seen |> Seq.chunkBySize 3 |> List.ofSeq

                for batch in batches do
                    Expect.all batch (fun b -> b = batch[0]) "the same rows, the same views"

                let firsts = batches |> List.map Array.head
                Expect.equal (firsts |> List.map fst |> List.distinct |> List.length) 4 "other rows"
                let epoch = Array.append (fst firsts[0]) (fst firsts[1])
                Expect.hasLength (Array.distinct epoch) 8 "an epoch is of all batches")
    ]
