/// Automatic projected gradient descent.
module Tests.Attacks.ApgdTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.ApgdOracle
open Support

[<Tests>]
let tests =
    testList "Attacks.Apgd" [
        law "every norm and loss: all is as a slow attack has it" (fun how s ->
            for norm in [ Linf; L2; L1 ] do
                for loss in [ CrossEntropy.perSample; Dlr.perSample ] do
                    let s = { s with Threat = { s.Threat with Norm = norm } }
                    let restarts = 1 + how.Steps % 2
                    let how = { how with Restarts = restarts; FirstRiseFromZero = how.Steps % 3 = 0 }
                    let harm = runBy (Apgd.on "test" loss how) s

                    let starts = [
                        for number in 0 .. restarts - 1 do
                            let draw = Rng.sub (sprintf "restart %d" number) s.Draw
                            rows (
                                GradientAttackLoop.start
                                    s.Threat
                                    (Apgd.ascent how norm)
                                    draw
                                    s.Victims.Images
                            )
                    ]

                    let expected =
                        rows s.Victims.Images
                        |> Array.mapi (fun i image ->
                            let hills = List.replicate restarts (hill s.Classify loss s.Y[i])
                            starts
                            |> List.map (Array.item i)
                            |> slowAttack s.Threat how.Steps how.FirstRiseFromZero hills image)

                    same (deeds harm) expected (sprintf "%A, %d steps" norm how.Steps))

        law "APGD-T runs towards class after class, the nearest by the clean logits first" (fun how s ->
            let norm = if s.Threat.Norm = L1 then L2 else s.Threat.Norm
            let s = { s with Threat = { s.Threat with Norm = norm } }
            let harm = runBy (Apgd.targeted 2 how) s

            let starts = [
                for number in 0..1 do
                    let draw = Rng.sub (sprintf "restart %d" number) s.Draw
                    rows (GradientAttackLoop.start s.Threat (Apgd.ascent how norm) draw s.Victims.Images)
            ]

            let expected =
                rows s.Victims.Images
                |> Array.mapi (fun i image ->
                    let z = floats (s.Classify(tensor [ 1; 1; 2; 3 ] image))

                    let hills =
                        [ 0..3 ]
                        |> List.filter ((<>) s.Y[i])
                        |> List.sortByDescending (Array.get z)
                        |> List.take 2
                        |> List.map (fun t ->
                            hill s.Classify (fun z y -> Dlr.targeted z y (labels [| t |])) s.Y[i])

                    starts |> List.map (Array.item i) |> slowAttack s.Threat how.Steps false hills image)

            same (deeds harm) expected "report")

        law
            "results lie in ball and box, success is that of the stored image, and what is given stays"
            (fun how s ->
                let before = bits s.Victims.Images

                for attack in attacks how do
                    let harm = runBy attack s
                    Expect.equal (bits s.Victims.Images) before "the images given"
                    within 0.0 1.0 (floats harm.Images) "box"
                    let moved = Array.map2 minus (rows harm.Images) (rows s.Victims.Images)
                    let lengths = moved |> Array.map (Oracles.lengthOf s.Threat.Norm)
                    atMost (s.Threat.Radius + 1e-5) lengths "ball"
                    close 1e-9 (floats harm.Distance[s.Threat.Norm]) lengths "distance"
                    let wrong = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
                    Expect.equal (truths harm.Success) wrong "misclassified"
                    Expect.equal
                        (wholes harm.FirstSuccess |> Array.map (fun f -> f >= 0L))
                        wrong
                        "a first success")

        law "an unbroken image is never below its start" (fun how s ->
            let s = { s with Threat = { s.Threat with Norm = if s.Threat.Norm = L1 then Linf else L2 } }
            let harm = runBy (Apgd.ce how) s
            let draw = Rng.sub "restart 0" s.Draw
            let start = GradientAttackLoop.start s.Threat (Apgd.ascent how L2) draw s.Victims.Images

            for ended, began, success in
                Array.zip3 (losses s harm.Images) (losses s start) (truths harm.Success) do
                if not success then Expect.isGreaterThanOrEqual ended (began - 1e-9) "loss")

        law "any split of the batch gives the same, and so does any order" (fun how s ->
            for attack in [ Apgd.dlr { how with Restarts = 2 }; Apgd.targeted 3 how ] do
                let together = deeds (runBy attack s)

                for size in [ 1; 2 ] do
                    let parts = Array.chunkBySize size [| 0 .. together.Length - 1 |]
                    let apart = parts |> Array.collect (fun places -> deeds (runBy attack (pick places s)))
                    same apart together (sprintf "batches of %d" size)

                let order = (Source 1).Order s.Y.Length
                let permuted = deeds (runBy attack (pick order s))
                same permuted (order |> Array.map (Array.get together)) "permuted")

        law "the same seed gives the same bytes" (fun how s ->
            for attack in attacks how do
                let image () = bits (runBy attack s).Images
                Expect.equal (image ()) (image ()) "images")

        law "a radius of nought changes nothing" (fun how s ->
            let s = { s with Threat = { s.Threat with Radius = 0.0 } }

            for attack in attacks how do
                let harm = runBy attack s
                close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y)
                    "success")

        law "every run takes all its steps, and runs go on with survivors alone" (fun how s ->
            let points = int64 how.Steps + 1L

            for attack, runs in [ Apgd.margin { how with Restarts = 3 }, 3L; Apgd.targeted 9 how, 3L ] do
                let s = { s with Threat = { s.Threat with Norm = Linf } }
                let mutable seen = 0L

                let classify (x: Tensor) =
                    seen <- seen + x.shape[0]
                    s.Classify x

                let harm = runBy attack { s with Classify = classify }
                Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows seen"

                for deed in deeds harm do
                    let taken = (deed.Forwards - 1L) / points
                    Expect.equal deed.Forwards (1L + taken * points) "whole runs"
                    Expect.equal deed.Gradients (taken * int64 how.Steps) "gradients"

                    if not deed.Success then
                        Expect.equal taken runs "all runs"
                    elif deed.First = 0L then
                        Expect.equal taken 0L "wrong before"
                    else
                        Expect.equal
                            taken
                            (1L + (deed.First - 1L) / points)
                            "the run that broke it is the last")
    ]
