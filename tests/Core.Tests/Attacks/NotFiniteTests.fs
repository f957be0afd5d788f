/// Classifiers whose gradients or logits are not finite on some images or pixels.
module Tests.Attacks.NotFiniteTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.FabCases
open Tests.Attacks.EveryAttackTests
open Support

let private flat (x: Tensor) = x.reshape [| x.shape[0]; -1L |]

// The first pixel of each image, [n; 1].
let private pixel (x: Tensor) = (flat x).narrow(1L, 0L, 1L)

// 0, with a gradient of NaN.
let private lost (p: Tensor) =
    let nothing = p - p.detach ()
    nothing.square().sqrt()

// 0, with an infinite gradient.
let private steep (p: Tensor) = (p - p.detach ()).sqrt()

// The same classifier without a gradient in the first pixel of each image.
let private blind (classify: Classifier) (x: Tensor) =
    let all = flat x
    let rest = all.narrow (1L, 1L, all.shape[1] - 1L)
    let first = all.narrow(1L, 0L, 1L).detach()
    classify (torch.cat(ResizeArray [ first; rest ], 1L).reshape x.shape)

let private every name check =
    testList name [
        for title, attack in attacks ->
            test title (fun () ->
                for scene in scenes |> List.filter (fun (classes, _, _) -> classes <> 6) do
                    Scope.value (fun () -> check attack (sceneOf scene)))
    ]

// That images lie in ball and box, which those that are not finite do not.
let private allowed (s: LossContext) (images: Tensor) =
    within 0.0 1.0 (floats images) "box"
    let moved = Array.map2 minus (rows images) (rows s.Victims.Images)
    atMost (s.Threat.Radius + 1e-9) (moved |> Array.map (Oracles.lengthOf s.Threat.Norm)) "ball"

// Logits that are `value` where the first pixel is bright.
let private holed (value: float) (classify: Classifier) (x: Tensor) =
    let bright = (pixel x).gt(0.55.ToScalar())
    (classify x).masked_fill(bright, value.ToScalar())

[<Tests>]
let tests =
    testList "Attacks.NotFinite" [
        every "an entry of a gradient that is not finite is 0 in the step, and is counted" (fun attack s ->
            let expected = runBy attack { s with Classify = blind s.Classify }

            for spoilt in [ lost; steep ] do
                let classify x = blind s.Classify x + spoilt (pixel x)
                let harm = runBy attack { s with Classify = classify }
                allowed s harm.Images
                same (deeds harm) (deeds expected) "as without these entries"
                let spoilt = wholes harm.NotFinite[NotFinite.Gradient]

                // FAB counts a gradient for each border of one pass, and a gradient is of one pass or more.
                for spoilt, gradients in Array.zip spoilt (wholes harm.Gradients) do
                    Expect.equal (spoilt > 0L) (gradients > 0L) "each image that has gradients"
                    Expect.isLessThanOrEqual spoilt gradients "no more than there are"

                Expect.equal
                    (harm.Flags.Contains "gradient not finite")
                    (Array.sum spoilt > 0L)
                    "flagged where there are any")

        every "nothing that is not finite is stored or counts as a success" (fun attack s ->
            for value in [ nan; infinity ] do
                let classify = holed value s.Classify
                let harm = runBy attack { s with Classify = classify }
                allowed s harm.Images
                let answered = classify harm.Images |> rows |> Array.map (Array.forall Double.IsFinite)
                let broken = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
                Expect.equal (truths harm.Success) (Array.map2 (&&) answered broken) "success"
                let clean = classify s.Victims.Images |> rows |> Array.map (Array.forall Double.IsFinite)
                let lost = wholes harm.NotFinite[NotFinite.Logits]
                let success = truths harm.Success
                let undecided = Array.map2 (fun lost success -> lost > 0L && not success) lost success
                let withstood =
                    Array.map2 (fun undecided success -> not (undecided || success)) undecided success
                Expect.equal (truths (Attack.undecided harm)) undecided "undecided"
                Expect.equal (truths (Attack.withstood harm)) withstood "robust"

                for lost, clean in Array.zip lost clean do
                    Expect.isTrue (clean || lost > 0L) "an image itself without an answer"

                Expect.equal (harm.Flags.Contains "logits not finite") (Array.sum lost > 0L) "flag")

        test "an image without an answer is right neither untouched nor under any attack" (fun () ->
            for value in [ nan; infinity; -infinity ] do
                let source = Source 3
                let inner = bent source
                let images = noise source [ 40; 1; 2; 3 ]
                let y = labels (guesses inner images)
                let classify = holed value inner
                let bright = rows images |> Array.filter (fun image -> image[0] > 0.55) |> Array.length
                Expect.isGreaterThan bright 5 "some"

                let e = {
                    Evaluation.defaults with
                        Attacks = [ "fgsm"; "square-5"; if Double.IsNaN value then "autoattack-rand" ]
                        Threats = [ "linf:0.001" ]
                }

                let measured =
                    Workbench.measure (fun _ _ -> ()) Threading.CancellationToken.None classify images y e

                for a in Expect.wantOk measured "measured" do
                    Expect.isLessThanOrEqual a.Correct (40 - bright) a.Name

                    // The cascade begins with those that are right, which have answers.
                    if a.Name <> "autoattack-rand" then
                        Expect.exists a.Flags (fun flag -> flag.EndsWith "are not finite") a.Name

                let images' = Dataset.ofTensors "images" images y
                use images' = images'
                use made =
                    AdversarialExamples.craft
                        Map.empty
                        ("fgsm", Attack.fgsm)
                        1UL
                        (Threat.create Linf 0.001)
                        None
                        ignore
                        cpu
                        classify
                        images'

                Expect.equal
                    (wholes made.Before |> Array.filter ((=) -1L) |> Array.length)
                    bright
                    "adversarial images say that there is no answer"

                let own = AdversarialExamples.own made
                Expect.isLessThanOrEqual own.Attacked.Correct (40 - bright) "nor are they right there")

        test "a class that is forbidden by -infinity is no fault" (fun () ->
            let source = Source 4
            let inner = bent source
            let forbid (x: Tensor) =
                let z = inner x
                z.masked_fill (torch.tensor ([| false; false; false; true |]), (-infinity).ToScalar())
            let images = noise source [ 12; 1; 2; 3 ]
            let y = guesses forbid images
            let victims = victims (Array.init 12 int64) images y
            let harm = Attack.fgsm.Run (drawOf victims) (Threat.create Linf 0.2) forbid victims
            Expect.equal harm.Flags Set.empty "flags"
            Expect.equal (truths harm.Success) (Array.map2 (<>) (guesses forbid harm.Images) y) "success")

        test "adversaries of training step over what is not finite" (fun () ->
            for norm, radius in [ Linf, 0.1; L2, 0.2; L1, 0.3 ] do
                for ascent in
                    [
                        GradientAttack.pgd 0.3 5
                        GradientAttack.fgsm
                        GradientAttack.momentum 1.0 0.3 4
                        GradientAttack.trades 0.3 4
                    ] do
                    for keep in [ Last; Best ] do
                        let source = Source 6
                        let inner = bent source
                        let images = noise source [ 6; 1; 2; 3 ]
                        let threat = Threat.create norm radius
                        let y = labels (guesses inner images)
                        let draw = Rng.create 1UL "ascent" (Array.init 6 int64)

                        let ascend (classify: Classifier) =
                            GradientAttackLoop.ascend
                                draw
                                threat
                                { ascent with Keep = keep }
                                (fun x -> CrossEntropy.perSample (classify x) y)
                                images

                        let found = ascend (fun x -> blind inner x + lost (pixel x))
                        close 1e-12 (floats found) (floats (ascend (blind inner))) ascent.Text)

        test "images that are not finite, or of few bits, are refused with a count" (fun () ->
            let s = sceneOf scenes.Head
            let broken = s.Victims.Images.clone ()
            broken[1, 0, 0, 0] <- torch.tensor nan
            broken[3, 0, 1, 1] <- torch.tensor infinity

            for name, attack in attacks do
                let attacked images () =
                    runBy attack { s with Victims = { s.Victims with Images = images } } |> ignore

                refuses [ "2 of 5"; "NaN" ] (attacked broken) name

                for few in [ torch.float16; torch.bfloat16; torch.uint8; torch.int64 ] do
                    refuses [ "float32" ] (attacked (s.Victims.Images.``to`` few)) name

                refuses [ "divide them by 255" ] (attacked (s.Victims.Images * 255.0)) name
                refuses [ "normalised" ] (attacked (s.Victims.Images * 2.0 - 1.0)) name)
    ]
