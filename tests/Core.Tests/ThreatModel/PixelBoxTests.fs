/// Images in other ranges than [0, 1], and models that want them.
module Tests.ThreatModel.PixelBoxTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases

let private brief = { Apgd.defaults with Steps = 10 }
let private someFab = { Fab.untargeted with Steps = 8; Restarts = 2 }
let private someSquare = Square.attack { Square.standard with Queries = 25 }
let private named name = Expect.wantOk (AutoAttack.attack name) name

let private cascade = {
    Name = "brief"
    Stages = [ "apgd-ce", Apgd.ce brief; "fab", Fab.attack someFab; "square", someSquare ]
}

// Those that move along gradients or by chance, for which a shift of the pixels changes nothing but rounding.
let private shiftable = [
    "fgsm", Attack.fgsm
    "pgd", Attack.pgd 0.4 5
    "cw-pgd", Attack.cwPgd 0.4 5
    "mi-fgsm", Attack.miFgsm 0.3 5
    "fab", Fab.attack someFab
    "fab-t", Fab.attack { someFab with Targets = Some 2 }
    "square", someSquare
]

// APGD asks whether a value has risen, which rounding may decide: exact scales alone. Not on the ratio of
// logits, which is flat where the label is the third, so that nothing but its guard is left of a gradient;
// and in L1 it begins at noise of a fixed size.
let private scalable norm =
    if norm = L1 then
        shiftable
    else
        shiftable @ [ "apgd-ce", Apgd.ce brief; "apgd-t", Apgd.targeted 2 brief ]

let private all = [
    yield! scalable Linf
    "cw-l2", named "cw-l2-fixed"
    "autoattack", AutoAttack.toAttack cascade
]

// The same scene with pixels from low to high.
let private moved (low: float, high: float) (s: LossContext) =
    let width = high - low

    {
        s with
            Threat = { s.Threat with Radius = s.Threat.Radius * width } |> Threat.boxed low high
            Classify = fun x -> Scope.tensor (fun () -> s.Classify((x - low) / width))
            Victims = { s.Victims with Images = s.Victims.Images * width + low }
    }

let private agree tolerance (low, high) attacks (s: LossContext) =
    let there = moved (low, high) s

    for name, attack in attacks do
        let here, found = runBy attack s, runBy attack there
        let back = rows found.Images |> Array.map (Array.map (fun v -> (v - low) / (high - low)))
        close tolerance (Array.concat back) (Array.concat (rows here.Images)) (name + ": images")
        Expect.equal (truths found.Success) (truths here.Success) (name + ": success")
        Expect.equal (wholes found.FirstSuccess) (wholes here.FirstSuccess) (name + ": first success")

let private inside threat message (s: LossContext) =
    let s: LossContext = { s with Threat = threat }

    for name, attack in all do
        let harm = runBy attack s
        let pixels = Array.concat (rows harm.Images)
        let low, high = Option.defaultValue (-1e9, 1e9) threat.Box
        within (low - 1e-12) (high + 1e-12) pixels (sprintf "%s, %s: pixels" message name)
        let d = floats (Projection.distance threat.Norm s.Victims.Images harm.Images)
        atMost (threat.Radius * (1.0 + 1e-6) + 1e-9) d (sprintf "%s, %s: distance" message name)
        let wrong = guesses s.Classify harm.Images |> Array.map2 (<>) s.Y
        Expect.equal (truths harm.Success) wrong (sprintf "%s, %s: success" message name)

[<Tests>]
let tests =
    testList "ThreatModel.PixelBox" [
        testPropertyN
            25
            "what an attack finds does not depend on the scale of the pixels"
            (fun (seed: int) (PositiveInt count) ->
                balanced (fun () ->
                    let s = scene seed count
                    agree 1e-9 (0.0, 4.0) (scalable s.Threat.Norm) s))

        testPropertyN 25 "nor on where they begin" (fun (seed: int) (PositiveInt count) ->
            balanced (fun () -> agree 1e-6 (-1.0, 1.0) shiftable (scene seed count)))

        testPropertyN
            15
            "every attack stays in the box that the threat names, and in the ball"
            (fun (seed: int) (PositiveInt count) ->
                balanced (fun () ->
                    let s = scene seed count
                    let images = s.Victims.Images * 0.5 + 0.25
                    let s = { s with Victims = { s.Victims with Images = images } }
                    inside (Threat.boxed 0.25 0.75 s.Threat) "narrow" s
                    inside (Threat.boxed -2.0 3.0 s.Threat) "wide" s
                    inside (Threat.unbounded s.Threat) "none" s))

        test "without a box FGSM takes its whole step, and with one it does not" (fun () ->
            let s = scene 3 4
            let corners = s.Victims.Images.round ()
            let s = {
                s with
                    Victims = { s.Victims with Images = corners; Labels = (s.Classify corners).argmax 1L }
            }
            let threat = Threat.create Linf 0.3
            let steps threat =
                let x =
                    GradientAttackLoop.ascend
                        s.Draw
                        threat
                        GradientAttack.fgsm
                        (fun x -> CrossEntropy.perSample (s.Classify x) s.Victims.Labels)
                        corners
                floats (x - corners) |> Array.map abs
            close 1e-12 (steps (Threat.unbounded threat)) (Array.create (int (corners.numel ())) 0.3) "whole"
            Expect.exists (steps threat) (fun d -> d < 1e-12) "held at a face of the box"
            within 0.0 0.3000001 (steps threat) "the rest")

        testProperty
            "a normalised model sees each channel less its mean over its deviation"
            (fun (seed: int) (PositiveInt channels) ->
                balanced (fun () ->
                    let source = Source seed
                    let channels = 1 + channels % 3
                    let mean = List.init channels (fun _ -> source.Uniform(0.0, 1.0))
                    let std = List.init channels (fun _ -> source.Uniform(0.1, 2.0))
                    let images = noise source [ 2; channels; 2; 3 ]
                    let mutable seen = [||]

                    let model (x: Tensor) =
                        seen <- floats x
                        x.reshape([| x.shape[0]; -1L |]).square().narrow(1L, 0L, 2L)

                    let logits = Classifier.normalised mean std model images
                    let channel place = place / 6 % channels

                    let expected =
                        floats images
                        |> Array.mapi (fun place v -> (v - mean[channel place]) / std[channel place])

                    close 1e-12 seen expected "what it sees"
                    let first = expected |> Array.chunkBySize (6 * channels) |> Array.collect (Array.take 2)
                    close 1e-12 (floats logits) (first |> Array.map (fun v -> v * v)) "what it says"
                    // The chain rule's factor is there: gradients are those of the images as they were.
                    let value x = (Classifier.normalised mean std model x).sum 1L
                    let _, gradient = GradientAttackLoop.look true value images
                    let slope = (rows gradient.Value)[0] |> Array.take 2
                    let wanted = first |> Array.take 2 |> Array.map (fun v -> 2.0 * v / std[0])
                    relative 1e-9 slope wanted "gradient"))

        test "one mean and one deviation serve all channels, and a range is mapped onto" (fun () ->
            let images = noise (Source 4) [ 2; 3; 2; 2 ]
            let flat (x: Tensor) = x.reshape [| x.shape[0]; -1L |]
            let seen = Classifier.normalised [ 0.5 ] [ 0.5 ] flat images
            close 1e-12 (floats seen) (floats (images * 2.0 - 1.0)) "normalised"
            close 1e-12 (floats (Classifier.ranged -1.0 1.0 flat images)) (floats seen) "ranged"
            let single = (Classifier.ranged 0.0 255.0 flat (single images)).dtype
            Expect.equal single torch.float32 "type")

        test "what cannot be is refused" (fun () ->
            let flat (x: Tensor) = x.reshape [| x.shape[0]; -1L |]
            let images = noise (Source 5) [ 1; 2; 2; 2 ]
            let normalised mean std () = Classifier.normalised mean std flat images |> ignore
            refuses
                [ "3 channels"; "[1; 2; 2; 2]" ]
                (normalised [ 0.1; 0.2; 0.3 ] [ 1.0; 1.0; 1.0 ])
                "channels"
            refuses [ "std"; "2 and 1" ] (normalised [ 0.1 ] [ 1.0; 1.0 ]) "lengths"
            refuses [ "std" ] (normalised [ 0.1 ] [ 0.0 ]) "deviation"
            refuses [ "high" ] (fun () -> Classifier.ranged 1.0 1.0 flat images |> ignore) "range"

            let attack threat images () =
                Workbench.attack Attack.fgsm 1UL threat flat images (labels [| 0 |]) |> ignore

            let threat = Threat.create Linf 0.1
            refuses [ "images"; "0 to 1"; "-" ] (attack threat (images * 2.0 - 1.0)) "another range"
            attack (Threat.boxed -1.0 1.0 threat) (images * 2.0 - 1.0) ()
            attack (Threat.unbounded threat) (images * 9.0) ()
            attack threat (images * 0.0 + (1.0 + 1e-7)) ()
            refuses [ "images"; "NaN" ] (attack threat (images / 0.0 * 0.0)) "no numbers")
    ]
