/// The margin as a loss, and PGD on it.
module Tests.Losses.MarginTests

open Expecto
open FsCheck
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
open Support

let private gradient (loss: Tensor) (x: Tensor) =
    (torch.autograd.grad (ResizeArray [ loss.sum () ], ResizeArray [ x ]))[0]

// The largest other class.
let private rival (z: float[]) y = seq { 0 .. z.Length - 1 } |> Seq.filter ((<>) y) |> Seq.maxBy (Array.get z)

[<Tests>]
let tests =
    testList "Losses.Margin" [
        testProperty
            "it is the largest other logit less the label's, and its gradient says so"
            (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, k = 1 + n % 6, 2 + k % 6
                    // All below 0 as often as not.
                    let shift = source.Among [ 0.0; -100.0 ]
                    let logits = source.Rows(n, k) |> Array.map (Array.map (fun v -> shift + 5.0 * v))
                    let y = Array.init n (fun _ -> source.Whole(0, k - 1))
                    let z = (matrix logits).requires_grad_ true
                    let margins = Margin.perSample z (labels y)
                    let expected =
                        Array.map2 (fun z y -> Array.item (rival z y) z - Array.item y z) logits y
                    close 1e-12 (floats margins) expected "values"

                    let slopes =
                        Array.map2
                            (fun z y ->
                                let r = rival z y
                                Array.init k (fun j ->
                                    if j = r then 1.0
                                    elif j = y then -1.0
                                    else 0.0))
                            logits
                            y

                    Expect.equal (floats (gradient margins z)) (Array.concat slopes) "gradients"
                    let towards = Margin.targeted z (labels y)
                    close 1e-12 (floats towards) (Array.map (~-) expected) "towards a target"
                    let back = floats (gradient towards z)
                    Expect.equal back (Array.concat slopes |> Array.map (~-)) "and its gradients"))

        test "a row below 0 has its own margin, and no 0 from a mask" (fun () ->
            let z = tensor [ 1; 3 ] [| -5.0; -3.0; -4.0 |]
            Expect.equal (floats (Margin.perSample z (labels [| 0 |]))) [| 2.0 |] "lost by 2"
            Expect.equal (floats (Margin.perSample z (labels [| 1 |]))) [| -1.0 |] "won by 1")

        test "half precision is compared in single precision" (fun () ->
            let z = (matrix ((Source 1).Rows(3, 5))).``to`` torch.bfloat16
            let margins = Margin.perSample z (labels [| 0; 1; 2 |])
            Expect.equal margins.dtype torch.float32 "type"
            let expected = Margin.perSample (single z) (labels [| 0; 1; 2 |])
            Expect.equal (floats margins) (floats expected) "values")

        test "faults are named" (fun () ->
            let call logits y () = Margin.perSample logits y |> ignore
            let z = torch.zeros [| 2L; 3L |]
            refuses
                [ "logits"; "two classes" ]
                (call (torch.zeros [| 1L; 1L |]) (labels [| 0 |]))
                "one class"
            refuses [ "labels"; "0 .. 2"; "3" ] (call z (labels [| 0; 3 |])) "range of the labels"
            let towards () = Margin.targeted z (labels [| 0; 3 |]) |> ignore
            refuses [ "targets"; "0 .. 2"; "3" ] towards "range of the targets")

        testPropertyN
            60
            "CW-PGD breaks two linear classes exactly where the ball reaches over the border"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model: Oracles.Linear = { Weights = source.Rows(2, 6); Offsets = source.Normals 2 }
                    let images = noise source [ 8; 1; 2; 3 ]
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let distance x =
                        let z = model.Logits x
                        abs (z[0] - z[1]) / norm1 (minus model.Weights[0] model.Weights[1])
                    let radius = source.Uniform(0.02, 0.5)
                    let threat = { Threat.create Linf radius with Box = None }
                    let draw = Rng.create 1UL "a" (Array.init 8 int64)
                    // From anywhere in the ball a corner is at most eight quarters away.
                    let harm =
                        (Attack.cwPgd 0.25 8).Run draw threat (linear model) (victims draw.Ids images y)
                    let expected = rows images |> Array.map (fun x -> distance x < radius)
                    Expect.equal (truths harm.Success) expected "broken"))

        law "CW-PGD looks once a step and twice besides at what it does not break" (fun s ->
            let harm = runBy (Attack.cwPgd 0.2 4) s

            for deed in deeds harm do
                if deed.Success then
                    Expect.equal deed.Forwards (deed.First + 1L) "looks until it fell"
                else
                    Expect.equal (deed.Forwards, deed.Gradients) (6L, 4L) "the image, the start, four steps")

        law "CW-PGD climbs the margin: of its points an unbroken image has the best" (fun s ->
            let visited = ResizeArray<float[]>()
            let classify (x: Tensor) =
                visited.Add(floats x)
                s.Classify x
            let one = pick [| 0 |] { s with Classify = classify }
            let harm = runBy (Attack.cwPgd 0.2 4) one
            let margin x = number (Margin.perSample (s.Classify(tensor [ 1; 1; 2; 3 ] x)) one.Victims.Labels)
            let broken = Array.head (truths harm.Success)

            if not broken then
                // But the clean image at the front, and the verdict's pass at the end.
                let best = visited |> Seq.skip 1 |> Seq.take 5 |> Seq.map margin |> Seq.max
                close 1e-12 [| margin (floats harm.Images) |] [| best |] "margin")

        test "the margin has a slope where softmax has none left" (fun () ->
            let source = Source 3
            let model: Oracles.Linear = {
                Weights = source.Rows(2, 6) |> Array.map (times 1e4)
                Offsets = [| 0.0; 0.0 |]
            }
            let images = noise source [ 8; 1; 2; 3 ]
            let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
            let draw = Rng.create 1UL "a" (Array.init 8 int64)
            let weight = single (matrix model.Weights)
            let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let broken (attack: Attack) =
                attack.Run draw (Threat.create Linf 0.6) classify (victims draw.Ids (single images) y)
            let onEntropy = broken (Attack.pgd 0.25 8)
            let onMargin = broken (Attack.cwPgd 0.25 8)
            Expect.equal onEntropy.Flags (Set [ "zero gradient" ]) "cross-entropy is flat"
            Expect.isEmpty onMargin.Flags "the margin is not"
            let count harm = truths harm.Success |> Array.filter id |> Array.length
            Expect.isGreaterThan (count onMargin) (count onEntropy) "broken")

        law "towards targets it succeeds where the target is what the classifier says" (fun s ->
            let target = s.Y |> Array.map (fun y -> (y + 2) % 4)
            let s = { s with Victims = { s.Victims with Targets = Some(labels target) } }
            let harm = runBy (Attack.cwPgd 0.3 5) s
            let expected = Array.map2 (=) (guesses s.Classify harm.Images) target
            Expect.equal (truths harm.Success) expected "success")

        testList "published" [
            for case in GoldenValues.ofAttacks "loss" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let z = (GoldenValues.array [ "inputs"; "logits" ] case).requires_grad_ true
                    // Published as the label's logit less the largest other.
                    let margins = (Margin.perSample z (GoldenValues.indices [ "inputs"; "y" ] case)).neg()
                    let tolerance = GoldenValues.real [ "tolerance" ] case
                    let expected key = GoldenValues.values [ "expected"; key ] case
                    relative tolerance (floats margins) (expected "margin") "values"
                    close tolerance (floats (gradient margins z)) (expected "margin_grad") "gradients")
        ]
    ]
