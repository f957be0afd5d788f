/// Every attack, in every norm, with few classes and on images of any shape.
module Tests.Attacks.EveryAttackTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.FabCases
open Support

// --- all attacks there are, in short

let private few = { Apgd.defaults with Steps = 7 }
let private brisk: Fab = { Fab.untargeted with Steps = 7; Restarts = 2 }
let private weighing = { CarliniWagner.published with Steps = 12; Rate = 0.1; Weight = 0.1 }

let attacks: (string * Attack) list = [
    "fgsm", Attack.fgsm
    "pgd", Attack.pgd 0.3 5
    "pgd, two runs", Attack.ofAscent CrossEntropy.perSample { GradientAttack.pgd 0.3 3 with Restarts = 2 }
    "pgd, means", Attack.ofAscent CrossEntropy.perSample { GradientAttack.pgd 0.3 3 with Passes = 2 }
    "cw-pgd", Attack.cwPgd 0.3 5
    "mi-fgsm", Attack.miFgsm 0.3 5
    "apgd-ce", Apgd.ce few
    "apgd-dlr", Apgd.dlr { few with Restarts = 2 }
    "apgd-t", Apgd.targeted 9 few
    "fab", Fab.attack brisk
    "fab-t", Fab.attack { brisk with Targets = Some 9 }
    "fab, nearest", Attack.within (Fab.minimal brisk)
    "square", Square.attack { Square.standard with Queries = 15 }
    "cw-l2", Attack.within (CarliniWagner.search 3 weighing)
    "cw-l2, fixed", Attack.within (CarliniWagner.attack weighing)
]

// A net with bends on images that are not square, of few classes.
let scenes = [
    for classes, shape in [ 2, [ 5; 1; 2; 5 ]; 3, [ 4; 3; 4; 2 ]; 4, [ 3; 2; 1; 6 ]; 6, [ 4; 1; 3; 3 ] ] do
        for norm in [ Linf; L2; L1 ] -> classes, shape, norm
]

let sceneOf (classes, shape: int list, norm) =
    let source = Source(100 * classes + shape.Head)
    let pixels = List.reduce (*) shape.Tail
    let classify = SquareOracle.net source (shape[1], shape[2], shape[3]) classes
    let images = noise source shape
    // The first is wrong as it is.
    let y =
        guesses classify images
        |> Array.mapi (fun i guess -> if i = 0 then (guess + 1) % classes else guess)
    let ids = Array.init shape.Head (fun i -> int64 (3 * i + 1))

    let radius =
        match norm with
        | Linf -> 0.08
        | L2 -> 0.08 * sqrt (float pixels)
        | L1 -> 0.08 * float pixels

    {
        Threat = Threat.create norm radius
        Ascent = GradientAttack.fgsm
        Classify = classify
        Victims = victims ids images y
        Y = y
        Draw = Rng.create 3UL "evaluate" ids
    }

// One test an attack, over all scenes.
let private every name check =
    testList name [
        for title, attack in attacks ->
            test title (fun () ->
                for scene in scenes do
                    Scope.value (fun () -> check attack (sceneOf scene)))
    ]

[<Tests>]
let tests =
    testList "Attacks.EveryAttack" [
        every "images given stay, results lie in ball and box, success is theirs" (fun attack s ->
            let before = bits s.Victims.Images
            let harm = runBy attack s
            Expect.equal (bits s.Victims.Images) before "the images given"
            Expect.equal harm.Images.shape s.Victims.Images.shape "shape"
            within 0.0 1.0 (floats harm.Images) "box"
            let moved = Array.map2 minus (rows harm.Images) (rows s.Victims.Images)
            atMost (s.Threat.Radius + 1e-9) (moved |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball"
            let broken = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
            Expect.equal (truths harm.Success) broken "misclassified"
            let first = wholes harm.FirstSuccess
            Expect.equal (first |> Array.map (fun first -> first >= 0L)) broken "a first success"
            Expect.equal (first[0], (wholes harm.Forwards)[0]) (0L, 1L) "what is wrong already: one look")

        every "a radius of nought is the identity" (fun attack s ->
            let harm = runBy attack { s with Threat = { s.Threat with Radius = 0.0 } }
            close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images"
            Expect.equal (truths harm.Success |> Array.tail) (Array.create (s.Y.Length - 1) false) "success")

        every "each image is attacked for itself: in any order, and alone" (fun attack s ->
            let together = deeds (runBy attack s)
            let order = (Source 1).Order s.Y.Length
            same (deeds (runBy attack (pick order s))) (order |> Array.map (Array.get together)) "permuted"
            let alone = together |> Array.mapi (fun i _ -> (deeds (runBy attack (pick [| i |] s)))[0])
            same alone together "alone")

        every "a target that is reached already is reached at the image itself" (fun attack s ->
            let targets = Some(labels (guesses s.Classify s.Victims.Images))
            let harm = runBy attack { s with Victims = { s.Victims with Targets = targets } }
            Expect.allEqual (truths harm.Success) true "success"
            Expect.allEqual (wholes harm.FirstSuccess) 0L "at once"
            Expect.equal (bits harm.Images) (bits s.Victims.Images) "images")

        every "the same seed gives the same bytes" (fun attack s ->
            for first, again in Seq.zip (Attack.tensors (runBy attack s)) (Attack.tensors (runBy attack s)) do
                Expect.equal (bits first) (bits again) "bytes")

        every "the classifier sees as many rows as are counted, and no more gradients" (fun attack s ->
            let mutable seen, sloped = 0L, 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                if x.requires_grad then sloped <- sloped + x.shape[0]
                s.Classify x
            let harm = runBy attack { s with Classify = classify }
            Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"
            // FAB takes several gradients of one pass.
            Expect.isLessThanOrEqual sloped (Array.sum (wholes harm.Gradients)) "gradients")

        every "probabilities are noticed, logits are not taken for them" (fun attack s ->
            let flagged classify =
                (runBy attack { s with Classify = classify }).Flags.Contains
                    "gives probabilities, not logits"
            Expect.isTrue (flagged (fun x -> (s.Classify x).softmax 1L)) "softmax"
            Expect.isFalse (flagged s.Classify) "logits")

        test "of two pixels and three classes, attacks in turn break what a whole grid shows" (fun () ->
            let members = [
                Apgd.ce { Apgd.defaults with Steps = 40 }
                Apgd.targeted 9 { Apgd.defaults with Steps = 40 }
                Fab.attack { Fab.targeted with Steps = 40 }
                Square.attack { Square.standard with Queries = 60 }
            ]

            for norm, radius in [ Linf, 0.15; L2, 0.2; L1, 0.25 ] do
                let verdicts = [
                    for seed in 1..6 do
                        let source = Source seed
                        let classify = pair source
                        let images = noise source [ 8; 1; 1; 2 ]
                        let y = guesses classify images
                        let victims = victims (Array.init 8 int64) images y
                        let classes = guesses classify (tensor [ grid.Length; 1; 1; 2 ] (Array.concat grid))
                        let threat = Threat.create norm radius

                        let broken =
                            members
                            |> List.map (fun attack ->
                                truths (attack.Run (drawOf victims) threat classify victims).Success)
                            |> List.reduce (Array.map2 (||))

                        for i, x in Array.indexed (rows images) do
                            let near =
                                Array.fold2
                                    (fun near point guess ->
                                        if guess = y[i] then
                                            near
                                        else
                                            min near (Oracles.lengthOf norm (minus point x)))
                                    infinity
                                    grid
                                    classes

                            // Between the grid's points nothing is known.
                            let cell = 1.5 / float cells

                            if abs (near - radius) > cell then
                                Expect.equal
                                    broken[i]
                                    (near < radius)
                                    (sprintf "%A, seed %d, image %d" norm seed i)
                                broken[i]
                ]

                Expect.contains verdicts true "some fall"
                Expect.contains verdicts false "and some stand")
    ]
