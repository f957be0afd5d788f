/// What attacks in turn cost: nothing is spent on an image that is solved.
module Tests.Evaluation.AttackCostTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support

let private count, spacing, radius = 14, 17, 0.02

// Images of 2 by 4 whose last pixel says which one it is. The classifier ignores that pixel, and no
// attack moves it by more than the radius.
let private labelled (source: Source) =
    let pixels = [|
        for image in 0 .. count - 1 do
            for _ in 1..7 do
                byte (source.Whole(20, 235))

            byte (8 + spacing * image)
    |]

    let weights1, weights2 = source.Rows(10, 7), source.Rows(4, 10)
    let w1, w2 = single (matrix weights1) * 4.0, single (matrix weights2)

    let classify (x: Tensor) =
        Scope.tensor (fun () ->
            let seen = x.reshape([| x.shape[0]; -1L |]).narrow(1L, 0L, 7L)
            torch.nn.functional.linear (torch.nn.functional.linear(seen, w1).sin(), w2))

    let shape = [| int64 count; 1L; 2L; 4L |]
    let images = single (torch.tensor(pixels).reshape shape) / 255.0
    let guesses = wholes ((classify images).argmax 1L)
    // One is wrong as it is.
    let y = guesses |> Array.mapi (fun i guess -> if i = 3 then (guess + 1L) % 4L else guess)
    classify, Dataset.ofBytes "labelled" pixels shape (Array.map byte y) 4 [ 0.5 ] [ 0.5 ], images, y

let private idOf (image: float[]) = int64 (round ((Array.last image * 255.0 - 8.0) / float spacing))

// An evaluation of an image: in which stage, of which, with a gradient, and whether it is broken there.
type private Look = { Stage: string; Id: int64; Sloped: bool; Won: bool }

// The standard cascade, with fewer proposals.
let private cascade = {
    AutoAttack.standard with
        Stages =
            AutoAttack.standard.Stages
            |> List.map (fun (name, attack) ->
                if name = "square" then
                    name, Square.attack { Square.standard with Queries = 150 }
                else
                    name, attack)
}

[<Tests>]
let tests =
    testList "Evaluation.AttackCost" [
        test "a cascade spends no pass and no gradient on what is solved, and says what it spends" (fun () ->
            let classify, data, originals, y = labelled (Source 11)
            use data = data
            let originals = rows originals
            let looks = ResizeArray<Look>()
            let mutable stage = "clean"

            let watched (x: Tensor) =
                let z = classify x
                let guesses = wholes (z.argmax 1L)

                for i, image in Array.indexed (rows x) do
                    let id = idOf image
                    let far = normInf (minus image originals[int id])

                    looks.Add {
                        Stage = stage
                        Id = id
                        Sloped = x.requires_grad
                        Won = guesses[i] <> y[int id] && far <= radius + 1e-6
                    }

                z

            let threat = Threat.create Linf radius
            let start = AutoAttack.start "" (fst (RobustAccuracy.cleanly cpu watched data))
            let alive = ResizeArray [ start.Alive ]

            let keep (now: EnsembleProgress) =
                if now.Tallies.Length = alive.Count then alive.Add now.Alive
                Ok()

            let report name _ = stage <- name
            let finished =
                Expect.wantOk
                    (AutoAttack.run cascade 1UL threat report keep cpu watched data start)
                    "finished"
            Expect.isLessThan finished.Alive.Length start.Alive.Length "some are broken"
            Expect.isNonEmpty finished.Alive "and some are not"

            for (name, _), (before, tally) in
                List.zip cascade.Stages (List.zip (List.truncate 4 (List.ofSeq alive)) finished.Tallies) do
                let here = looks |> Seq.filter (fun look -> look.Stage = name) |> List.ofSeq
                Expect.equal
                    (here |> List.map _.Id |> Set.ofList)
                    (Set.ofArray before)
                    (name + ": which images are evaluated")
                // Every image has a last look, for the verdict.
                Expect.equal here.Length (int tally.Forwards + before.Length) (name + ": passes")
                let sloped = here |> List.filter _.Sloped |> List.length
                Expect.equal sloped (int tally.Gradients) (name + ": gradients")

                if name = "fab-t" || name = "square" then
                    for id, own in List.groupBy _.Id here do
                        match own |> List.tryFindIndex _.Won with
                        | Some first -> Expect.equal own.Length (first + 2) (sprintf "%s: image %d" name id)
                        | None -> ()

            let accuracy = AutoAttack.accuracy cascade threat count finished
            Expect.equal
                accuracy.Cost.Forwards
                (accuracy.Parts |> List.sumBy (fun part -> part.Cost.Forwards))
                "all passes"
            Expect.isLessThanOrEqual accuracy.Cost.Furthest (radius + 1e-6) "furthest"
            Expect.equal accuracy.Cost.NotFinite AttackCost.none.NotFinite "finite"
            let low, high = Option.get accuracy.Cost.Pixels
            within 0.0 1.0 [| low; high |] "pixels"
            Expect.equal (List.last accuracy.Parts).Correct finished.Alive.Length "the last part"
            Expect.equal accuracy.Flags (Set [ "4 classes: 3 target(s), not 9" ]) "what a reader must know")

        test "tallies add up, and tell what there is to tell" (fun () ->
            let images = tensor [ 2; 1; 1; 2 ] [| 0.1; 0.2; 0.3; 0.4 |]
            let counts (a: int64) (b: int64) : Tensor = torch.tensor [| a; b |]
            let victims = AttackCases.victims [| 0L; 1L |] images [| 0; 0 |]

            let harm images : AttackResult = {
                Images = images
                Success = torch.tensor [| true; false |]
                Distance = Map.empty
                FirstSuccess = counts 0L -1L
                Forwards = counts 3L 4L
                Gradients = counts 2L 0L
                ZeroGradients = counts 0L 2L
                NotFinite = Map [ "logits", counts 0L 0L; "loss", counts 1L 1L; "gradient", counts 3L 0L ]
                Flags = Set [ "zero gradient" ]
            }

            let threat = Threat.create L1 1.0
            let one = AttackCost.ofHarm threat victims (harm images)
            Expect.equal
                one
                {
                    Forwards = 7L
                    Gradients = 2L
                    ZeroGradients = 1
                    NotFinite = Map [ "logits", 0; "loss", 2; "gradient", 1 ]
                    Furthest = 0.0
                    Pixels = Some(0.1, 0.4)
                }
                "of one"
            let far = tensor [ 2; 1; 1; 2 ] [| 0.1; 0.7; 0.3; 0.4 |]
            let both = AttackCost.add one (AttackCost.ofHarm threat victims (harm far))
            Expect.equal (both.Forwards, both.Gradients, both.ZeroGradients) (14L, 4L, 2) "sums"
            close 1e-12 [| both.Furthest |] [| 0.5 |] "the furthest"
            Expect.equal both.Pixels (Some(0.1, 0.7)) "all pixels"
            Expect.equal (AttackCost.add one AttackCost.none) one "nothing more"
            Expect.equal
                (AttackCost.told both (harm far).Flags)
                (Set [ "zero gradient of 2 image(s)" ])
                "told"
            Expect.equal (AttackCost.told AttackCost.none Set.empty) Set.empty "nothing to tell"
            let flags = Set [ for place in NotFinite.places -> NotFinite.flag place ]

            Expect.equal
                (AttackCost.told { one with NotFinite = Map.add "logits" 3 one.NotFinite } flags)
                (Set [
                    "logits of 3 images are not finite"
                    "loss of 2 images is not finite"
                    "gradient of 1 image is not finite"
                ])
                "what is not finite")
    ]
