/// Classifiers to break, and what came of it.
module Support.AttackCases

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support

let linear (model: Oracles.Linear) : Classifier =
    let weight, offset = matrix model.Weights, tensor [ model.Offsets.Length ] model.Offsets
    fun x ->
        Scope.tensor (fun () -> torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight, offset))

// A small net with bends, on images [n; 1; 2; 3].
let bent (source: Source) : Classifier =
    let w1, w2 = matrix (source.Rows(8, 6)) * 1.5, matrix (source.Rows(4, 8))

    fun x ->
        Scope.tensor (fun () ->
            torch.nn.functional.linear (
                torch.nn.functional.linear(x.reshape [| x.shape[0]; -1L |], w1).sin(),
                w2
            ))

let labels (y: int[]) : Tensor = torch.tensor (Array.map int64 y)

let guesses (classify: Classifier) x = wholes ((classify x).argmax 1L) |> Array.map int

let victims ids images y = { Ids = ids; Images = images; Labels = labels y; Targets = None }

[<NoEquality; NoComparison>]
type LossContext = {
    Threat: Threat
    Ascent: GradientAttack
    Classify: Classifier
    Victims: AttackBatch
    Y: int[]
    Draw: Rng
}

// Images against a bent net; most labels are what the net says, so that there is something to break.
let scene (seed: int) (count: int) =
    let source = Source seed
    let n = 1 + count % 6
    let classify = bent source
    let images = noise source [ n; 1; 2; 3 ]
    let y =
        guesses classify images |> Array.map (fun g -> if source.Whole(0, 7) = 0 then (g + 1) % 4 else g)
    let ids = Array.init n (fun i -> int64 (5 * i + 2))

    {
        Threat = Threat.create (source.Among [ Linf; L2; L1 ]) (source.Uniform(0.01, 0.4))
        Ascent = {
            GradientAttack.pgd (source.Uniform(0.1, 0.6)) (source.Whole(0, 6)) with
                Restarts = source.Whole(1, 3)
        }
        Classify = classify
        Victims = victims ids images y
        Y = y
        Draw = Rng.create 3UL "evaluate" ids
    }

let law name check =
    testPropertyN 60 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (scene seed count)))

let runBy (attack: Attack) s = attack.Run s.Draw s.Threat s.Classify s.Victims
let run s = runBy (Attack.ofAscent CrossEntropy.perSample s.Ascent) s

let losses s x = floats (CrossEntropy.perSample (s.Classify x) s.Victims.Labels)

// The victims at some places.
let pick (places: int[]) s =
    let ids = places |> Array.map (Array.get s.Victims.Ids)
    let images = s.Victims.Images.index_select (0L, torch.tensor (Array.map int64 places))

    {
        s with
            Y = places |> Array.map (Array.get s.Y)
            Victims = victims ids images (places |> Array.map (Array.get s.Y))
            Draw = { s.Draw with Ids = ids }
    }

// What each sample met.
let deeds (harm: AttackResult) : Oracles.Deed[] =
    let images, success = rows harm.Images, truths harm.Success
    let first, forwards, gradients = wholes harm.FirstSuccess, wholes harm.Forwards, wholes harm.Gradients

    Array.init images.Length (fun i -> {
        Image = images[i]
        Success = success[i]
        First = first[i]
        Forwards = forwards[i]
        Gradients = gradients[i]
    })

let same (actual: Oracles.Deed[]) (expected: Oracles.Deed[]) message =
    Expect.equal actual.Length expected.Length message

    for a, e in Array.zip actual expected do
        close 1e-5 a.Image e.Image (message + ": image")
        Expect.equal { a with Image = [||] } { e with Image = [||] } (message + ": success and counts")

/// Which images are wrong as they are.
let wrong s = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y

/// That success is that of the stored image, that misclassified images are evaluated once, and that what is
/// not broken is stored as it was.
let leavesTheUnbroken (s: LossContext) (harm: AttackResult) =
    let broken = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
    Expect.equal (truths harm.Success) broken "misclassified"
    let originals, wrong = rows s.Victims.Images, wrong s

    deeds harm
    |> Array.iteri (fun i deed ->
        if wrong[i] then
            let alone: Oracles.Deed = {
                Image = originals[i]
                Success = true
                First = 0L
                Forwards = 1L
                Gradients = 0L
            }

            Expect.equal deed alone "one evaluation of misclassified images"
        elif deed.Success then
            Expect.isGreaterThan deed.First 0L "a first success"
            Expect.isGreaterThan deed.Forwards deed.First "and looks beyond it"
        else
            Expect.equal (deed.Image, deed.First) (originals[i], -1L) "unbroken")
