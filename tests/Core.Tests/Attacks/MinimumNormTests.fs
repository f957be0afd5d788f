/// Carlini and Wagner's L2 attack as an evaluation runs it.
module Tests.Attacks.MinimumNormTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

let private attack = CarliniWagner.attack { CarliniWagner.defaults with Steps = 30; Rate = 0.05 }

// Runs are long: fewer cases than elsewhere.
let private law name check =
    testPropertyN 15 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (scene seed count)))

[<Tests>]
let tests =
    testList "Attacks.MinimumNorm" [
        law "any split of the batch gives the same, and so does any order" (fun s ->
            let together = deeds (runBy attack s)
            let n = together.Length

            for size in [ 1; 2 ] do
                let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                let apart = parts |> Array.collect (fun places -> deeds (runBy attack (pick places s)))
                same apart together (sprintf "batches of %d" size)

            let order = (Source 1).Order n
            same (deeds (runBy attack (pick order s))) (order |> Array.map (Array.get together)) "permuted")

        law "the images given stay as they were, and the results lie in the box" (fun s ->
            let box = Some(0.2, 0.7)
            let images = s.Victims.Images.clamp (0.2.ToScalar(), 0.7.ToScalar())
            let before = bits images
            let s = {
                s with
                    Threat = { s.Threat with Box = box }
                    Victims = { s.Victims with Images = images }
            }
            let harm = runBy attack s
            Expect.equal (bits images) before "the images given"
            within 0.2 0.7 (floats harm.Images) "box"
            Expect.isFalse harm.Images.requires_grad "gradient attached")

        law "success is that of the stored image; what is not broken is the image itself" (fun s ->
            runBy attack s |> leavesTheUnbroken s)

        law "the classifier sees as many rows as are counted" (fun s ->
            let mutable seen = 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                s.Classify x
            let harm = runBy attack { s with Classify = classify }
            Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"

            for deed in deeds harm do
                // Every look but the one at the last iterate has a gradient.
                let whole = deed.Forwards = 31L
                let expected = if whole then 29L else deed.Forwards - 1L
                Expect.equal deed.Gradients expected "gradients")

        law "without an end to the search, every step is made" (fun s ->
            let how = { CarliniWagner.defaults with Steps = 12; Abort = false }
            let harm = runBy (CarliniWagner.attack how) s
            let wrong = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y
            Expect.equal
                (wholes harm.Forwards, wholes harm.Gradients)
                (wrong |> Array.map (fun w -> if w then 1L else 13L),
                 wrong |> Array.map (fun w -> if w then 0L else 11L))
                "looks")

        law "towards targets, the stored image is the target's" (fun s ->
            let target = s.Y |> Array.map (fun y -> (y + 2) % 4)
            let s = { s with Victims = { s.Victims with Targets = Some(labels target) } }
            let harm = runBy attack s
            let expected = Array.map2 (=) (guesses s.Classify harm.Images) target
            Expect.equal (truths harm.Success) expected "success")

        test "what a reader must know is flagged" (fun () ->
            let s = scene 1 4
            Expect.isEmpty (runBy attack s).Flags "a sound classifier"
            let flat (x: Tensor) =
                (x.reshape [| x.shape[0]; -1L |]).narrow(1L, 0L, 4L) * 0.0
                + tensor [ 4 ] [| 2.0; 0.0; 0.0; 0.0 |]
            let all0 = {
                s with
                    Victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)
            }
            let harm = runBy attack { all0 with Classify = flat }
            Expect.equal harm.Flags (Set [ "zero gradient" ]) "no slope"
            Expect.allEqual (truths harm.Success) false "nothing moves it"
            let harm = runBy attack { all0 with Classify = fun x -> s.Classify x * nan }
            Expect.equal harm.Flags (Set [ "gradient not finite"; "logits not finite" ]) "not finite"
            Expect.equal (bits harm.Images) (bits s.Victims.Images) "nothing stored"
            let softmax = runBy attack { s with Classify = fun x -> (s.Classify x).softmax 1L }
            Expect.contains softmax.Flags "gives probabilities, not logits" "softmax")

        law "within the threat, only what its ball holds counts" (fun s ->
            for norm in [ Linf; L2; L1 ] do
                let s = { s with Threat = { s.Threat with Norm = norm; Radius = 0.15 } }
                let free, bound = runBy attack s, runBy (Attack.within attack) s
                let reaches = floats free.Distance[norm] |> Array.map (fun d -> d <= 0.15)
                let expected = Array.map2 (&&) (truths free.Success) reaches
                Expect.equal (truths bound.Success) expected "success"
                let moved = Array.map2 minus (rows bound.Images) (rows s.Victims.Images)
                atMost 0.15 (moved |> Array.map (Oracles.lengthOf norm)) "ball"

                for norm in [ Linf; L2; L1 ] do
                    close
                        1e-12
                        (floats bound.Distance[norm])
                        (moved |> Array.map (Oracles.lengthOf norm))
                        "distance"

                Expect.equal
                    (wholes bound.FirstSuccess |> Array.map (fun first -> first >= 0L))
                    expected
                    "a first success"
                Expect.equal (wholes bound.Forwards) (wholes free.Forwards) "looks")

        test "by name, an evaluation holds it to the radius" (fun () ->
            let named = Expect.wantOk (RobustAccuracy.attack "cw-l2-fixed") "cw-l2-fixed"
            let s = scene 6 5
            let free = runBy (CarliniWagner.attack CarliniWagner.defaults) s
            let broken = Array.zip (truths free.Success) (floats free.Distance[L2])
            let furthest = broken |> Array.filter fst |> Array.map snd |> Array.max
            Expect.isGreaterThan furthest 0.0 "something to hold"

            for factor, lost in [ 1.001, 0; 0.999, 1 ] do
                let threat = Threat.create L2 (factor * furthest)
                let harm = runBy named { s with Threat = threat }
                let count success = success |> Array.filter id |> Array.length
                Expect.equal
                    (count (truths harm.Success))
                    (count (Array.map fst broken) - lost)
                    "the furthest is held or not")

        test "an attack touches no gradient of the parameters and keeps nothing alive" (fun () ->
            let s = scene 2 4
            let weight = (matrix ((Source 2).Rows(4, 6))).requires_grad_ true
            let mark = torch.ones_like weight
            weight.grad <- mark
            let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let before = Autograd.liveTensors ()

            Scope.value (fun () ->
                let harm = runBy (Attack.within attack) { s with Classify = classify }
                Expect.hasLength (Attack.tensors harm) 12 "tensors of a result"
                Expect.equal (Autograd.liveTensors () - before) 12L "nothing but the result lives")

            Expect.equal (Autograd.liveTensors () - before) 0L "nothing lives"
            Expect.equal (bits weight.grad) (bits mark) "gradients of parameters")

        test "a long run holds no more tensors than a short one" (fun () ->
            let s = scene 4 4
            let highest = ResizeArray<int64>()
            let classify x =
                highest.Add(Autograd.liveTensors ())
                s.Classify x
            let how = { CarliniWagner.defaults with Steps = 40; Abort = false }
            runBy (CarliniWagner.attack how) { s with Classify = classify } |> ignore
            // After the clean image and two iterates, and without the last one, which has no gradient.
            let held = highest |> Seq.skip 3 |> Seq.take 37 |> Seq.distinct
            Expect.hasLength held 1 "live tensors at every look")
    ]
