/// Carlini and Wagner's L2 attack with its search for the weight.
module Tests.Attacks.CarliniWagnerSearchTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.CarliniWagnerOracle
open Support

// The search against one sample of a linear model: runs, each at a weight that those before it lead to.
let private slowSearch rounds (how: CarliniWagner) threat model (x: float[]) y target : Oracles.Deed =
    let mutable low, high, c = 0.0, infinity, how.Weight
    let mutable nearest = infinity

    // The clean image is evaluated before.
    let mutable deed: Oracles.Deed = {
        Image = x
        Success = false
        First = -1L
        Forwards = 1L
        Gradients = 0L
    }

    for round in 1..rounds do
        if round = rounds && rounds >= 10 then c <- min 1e10 high
        let run = slow how threat model x y target c

        if run.Success && deed.First < 0L then
            deed <- { deed with First = deed.Forwards + run.First; Success = true }

        deed <- {
            deed with
                Forwards = deed.Forwards + run.Forwards
                Gradients = deed.Gradients + run.Gradients
        }

        if run.Success then
            let distance = norm2 (minus run.Image x)

            if distance < nearest then
                nearest <- distance
                deed <- { deed with Image = run.Image }

            high <- min high c
        else
            low <- max low c

        c <- if Double.IsFinite high then (low + high) / 2.0 else 10.0 * c

    deed

let private brief = { CarliniWagner.published with Steps = 25; Rate = 0.05; Weight = 0.01 }

let private far (harm: AttackResult) =
    Array.map2 (fun found d -> if found then d else infinity) (truths harm.Success) (floats harm.Distance[L2])

[<Tests>]
let tests =
    testList "Attacks.CarliniWagnerSearch" [
        testPropertyN
            25
            "on linear classifiers all is as a slow search has it"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, classes = 1 + count % 4, source.Whole(2, 4)
                    let model = model source classes
                    let how = {
                        Weight = 10.0 ** source.Uniform(-4.0, 0.0)
                        Confidence = source.Among [ 0.0; 0.2 ]
                        Steps = source.Whole(1, 15)
                        Rate = source.Uniform(0.02, 0.2)
                        Abort = source.Among [ true; false ]
                    }
                    let rounds = source.Whole(1, 12)
                    let threat = { Threat.create L2 0.1 with Box = source.Among [ Some(0.0, 1.0); None ] }
                    let images = noise source [ n; 1; 2; 3 ]
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let targets = y |> Array.map (fun y -> (y + 1) % classes)
                    let victims = victims (Array.init n int64) images y
                    let victims =
                        if targeted then { victims with Targets = Some(labels targets) } else victims
                    let draw = Rng.create 1UL "a" victims.Ids
                    let harm = (CarliniWagner.search rounds how).Run draw threat (linear model) victims

                    let expected =
                        rows images
                        |> Array.mapi (fun i x ->
                            let target = if targeted then Some targets[i] else None
                            slowSearch rounds how threat model x y[i] target)

                    same (deeds harm) expected "report"))

        test "it is never nearer than the nearest border, and hardly further" (fun () ->
            // With more than two classes it steers towards the one that leads, whose border may be a further
            // one.
            for seed, classes, most in [ 1, 2, 1.0; 2, 2, 1.0; 3, 3, 0.8; 4, 5, 0.8 ] do
                Scope.value (fun () ->
                    let source = Source seed
                    let model = model source classes
                    let images = noise source [ 24; 1; 2; 3 ]
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let victims = victims (Array.init 24 int64) images y
                    let how = { CarliniWagner.published with Steps = 300; Weight = 0.01 }
                    let threat = Threat.create L2 1.0
                    let draw = Rng.create 1UL "a" victims.Ids
                    let harm = (CarliniWagner.search 7 how).Run draw threat (linear model) victims

                    let beyond = [|
                        for borders, near in
                            Array.zip
                                (rows images |> Array.map (HyperplaneOracle.borders L2 threat.Box model))
                                (far harm) do
                            if borders.Length > 0 then
                                let least = Array.min borders
                                Expect.isGreaterThanOrEqual near (least - 1e-9) "no nearer"
                                // A border nearer than a few of Adam's strides is passed by.
                                near / least <= (if least < 0.15 then 1.1 else 1.03)
                            else
                                Expect.equal near infinity "out of reach"
                    |]

                    let share = beyond |> Array.averageBy (fun close -> if close then 1.0 else 0.0)
                    Expect.isGreaterThanOrEqual share most (sprintf "%d classes" classes)))

        law "more rounds are never further, and one round is the attack at its weight" (fun s ->
            let search rounds = runBy (CarliniWagner.search rounds brief) s
            let one = runBy (CarliniWagner.attack brief) s
            same (deeds (search 1)) (deeds one) "one round"

            for fewer, more in [ 1; 2; 4; 9; 10 ] |> List.map (search >> far) |> List.pairwise do
                Array.iter2
                    (fun fewer more -> Expect.isLessThanOrEqual more (fewer + 1e-12) "distance")
                    fewer
                    more)

        law "any split of the batch gives the same, and so does any order" (fun s ->
            let attack = CarliniWagner.search 4 brief
            let together = deeds (runBy attack s)
            let n = together.Length

            for size in [ 1; 2 ] do
                let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                let apart = parts |> Array.collect (fun places -> deeds (runBy attack (pick places s)))
                same apart together (sprintf "batches of %d" size)

            let order = (Source 1).Order n
            same (deeds (runBy attack (pick order s))) (order |> Array.map (Array.get together)) "permuted")

        law "the classifier sees as many rows as are counted, and success is the stored image's" (fun s ->
            let mutable seen = 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                s.Classify x
            let harm = runBy (CarliniWagner.search 3 brief) { s with Classify = classify }
            Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"
            let broken = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
            Expect.equal (truths harm.Success) broken "misclassified")

        test "faults are named" (fun () ->
            let search rounds how () = CarliniWagner.search rounds how |> ignore
            refuses [ "rounds" ] (search 0 brief) "rounds"
            refuses [ "Weight"; "above 0" ] (search 9 { brief with Weight = 0.0 }) "weight")

        testList "published" [
            for case in GoldenValues.ofAttacks "cw_l2" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let param key = GoldenValues.real [ "params"; key ] case
                    let how = {
                        Weight = param "c0"
                        Confidence = param "kappa"
                        Steps = GoldenValues.whole [ "params"; "steps" ] case
                        Rate = param "lr"
                        Abort = GoldenValues.truth [ "params"; "abort_early" ] case
                    }
                    let input key = GoldenValues.indices [ "inputs"; key ] case
                    let images = GoldenValues.array [ "inputs"; "x" ] case
                    let victims = {
                        Ids = Array.init (int images.shape[0]) int64
                        Images = images
                        Labels = input "y"
                        Targets =
                            if GoldenValues.truth [ "params"; "targeted" ] case then
                                Some(input "target")
                            else
                                None
                    }
                    let rounds = GoldenValues.whole [ "params"; "outer_steps" ] case
                    let attack = CarliniWagner.search rounds how
                    let classify = GoldenValues.classifier case
                    let harm =
                        attack.Run (Rng.create 1UL "a" victims.Ids) (Threat.create L2 1.0) classify victims
                    let found = floats harm.Distance[L2]
                    let expected = GoldenValues.values [ "expected"; "distance" ] case
                    let ratios = Array.map2 (/) found expected
                    close
                        (GoldenValues.real [ "tolerance"; "distance_relative" ] case)
                        ratios
                        (Array.map (fun _ -> 1.0) ratios)
                        "distance")
        ]
    ]
