/// Hard negatives: what they amount to where that is known.
module Tests.Losses.HardNegativesTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws

let private between views = Pairs.every 1.0 [ 0 .. views - 1 ]

let private fast t hard (views: float[][] list) =
    let similarity = Similarity.cosine t
    InfoNce.ofViews similarity (Hard hard) (between views.Length) (List.map matrix views)

let private draw (source: Source) =
    let views, images, width = source.Whole(2, 4), source.Whole(2, 5), source.Whole(2, 5)
    [ for _ in 1..views -> source.Rows(images, width) ]

let private law name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            check source (source.Uniform(0.1, 1.5)) (draw source)))

// Each image has a direction of its own, the same in all its views.
let private apart views images =
    List.replicate
        views
        (Array.init images (fun m -> Array.init images (fun k -> if k = m then 2.0 else 0.0)))

let private alike views images = List.replicate views (Array.create images [| 1.0; -2.0; 0.5 |])

[<Tests>]
let tests =
    testList "Losses.HardNegatives" [
        law "are the formula, number by number" (fun source t views ->
            match denominator source with
            | Hard h ->
                let slow = ofViews t (Hard h) (between views.Length) views views
                relative 1e-10 [| number (fast t h views) |] [| slow |] "value"
            | _ -> ())

        law "without concentration and prior, are the plain sum beside the mean positive" (fun _ t views ->
            let z = Array.concat views
            let images = views[0].Length
            let s i k = cosine z[i] z[k] / t
            let all = [ 0 .. z.Length - 1 ]

            let expected =
                all
                |> List.averageBy (fun i ->
                    let own = all |> List.filter (fun k -> k <> i && k % images = i % images)
                    let others = all |> List.filter (fun k -> k % images <> i % images)
                    let positive = own |> List.averageBy (s i >> exp)
                    let negative = others |> List.sumBy (s i >> exp)
                    own |> List.sumBy (fun j -> log (positive + negative) - s i j))

            relative 1e-10 [| number (fast t (HardNegatives.create 0.0 0.0) views) |] [| expected |] "value")

        law "of two views without concentration and prior are NT-Xent" (fun _ t views ->
            let pair = List.truncate 2 views
            let hard =
                sentAll (
                    InfoNce.ofViews (Similarity.cosine t) (Hard(HardNegatives.create 0.0 0.0)) (between 2)
                )
            let plain = sentAll (fun z -> InfoNce.ntXent t z[0] z[1])
            let inputs = List.map matrix pair
            same 1e-10 (hard inputs) (plain inputs) "a mean over one positive")

        law "weigh the more the nearer they are" (fun source t views ->
            let value prior beta = number (fast t (HardNegatives.create beta prior) views)
            let prior = source.Uniform(0.0, 0.5)
            let rising = [ 0.5; 1.0; 2.0; 4.0 ] |> List.map (value prior)
            Expect.all
                (List.pairwise rising)
                (fun (a, b) -> b >= a - 1e-12)
                "a larger concentration costs more"
            // Without one the mean weight counts the columns that are no negatives too.
            Expect.isLessThan (value 0.0 0.0) (value 0.0 0.01) "than none")

        testProperty "of embeddings that are all alike have a closed form" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let views, images = source.Whole(2, 4), source.Whole(2, 6)
                let n, own = float (views * images), float (views - 1)
                let negatives = n - own - 1.0
                let prior = source.Uniform(0.0, 0.9)
                let t = source.Uniform(0.1, 1.0)

                // All weights are one number, and n / N times their mean.
                for beta, sum in [ 0.0, negatives; source.Uniform(0.1, 3.0), n ] do
                    let negative =
                        max ((sum - prior * negatives) / (1.0 - prior)) (negatives * exp (-2.0 / t))
                    let expected = own * log (1.0 + negative)
                    let value = number (fast t (HardNegatives.create beta prior) (alike views images))
                    relative 1e-10 [| value |] [| expected |] (sprintf "concentration %g" beta)))

        testProperty
            "of images in directions of their own have one, above the floor and on it"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let views, images = source.Whole(2, 4), source.Whole(2, 6)
                    let n, own = float (views * images), float (views - 1)
                    let negatives = n - own - 1.0
                    let t = source.Uniform(0.1, 1.0)
                    let positive = exp (1.0 / t)
                    // The prior at which nothing would be left of the negatives, and some below and above.
                    let critical = n / (negatives * positive)

                    for prior in [ 0.0; critical * 0.5; critical * 0.99; critical * 1.01; critical * 2.0 ] do
                        if prior < 1.0 then
                            let left = (n - prior * negatives * positive) / (1.0 - prior)
                            let floor = negatives * exp (-1.0 / t)
                            let expected = own * (log (positive + max left floor) - 1.0 / t)
                            let value =
                                number (fast t (HardNegatives.create 1.5 prior) (apart views images))
                            relative
                                1e-10
                                [| value |]
                                [| expected |]
                                (sprintf "prior %g of %g" prior critical)))

        test "on the floor send no gradient, and the floor may be set" (fun () ->
            let first = (apart 1 4).Head
            let views = [ first; first |> Array.map (plus [| 0.1; 0.2; -0.1; 0.0 |]) ]
            let t = 0.2
            let high = { HardNegatives.create 1.0 0.1 with Floor = Some 6.0 }
            let value, gradients =
                sentAll
                    (InfoNce.ofViews (Similarity.cosine t) (Hard high) (between 2))
                    (List.map matrix views)
            // Only the positive's score is left: log(p + N e^6) - log p.
            let z = Array.concat views
            let expected (z: float[][]) =
                Array.init 8 (fun i ->
                    let p = cosine z[i] z[(i + 4) % 8] / t
                    log (exp p + 6.0 * exp 6.0) - p)
                |> mean
            relative 1e-10 [| value |] [| expected z |] "value"
            let slopes = slopesOf (Array.concat >> expected) views
            close 1e-7 (Array.concat gradients) slopes "gradient"
            Expect.isGreaterThan (normInf slopes) 1e-3 "the positives still pull")

        test "of a floor that is not reached do not depend on it" (fun () ->
            let views = alike 3 3
            let value floor = number (fast 0.5 { HardNegatives.create 1.0 0.1 with Floor = floor } views)
            close 1e-12 [| value (Some -3.0) |] [| value None |] "below what there is"
            Expect.isGreaterThan (value (Some 4.0)) (value None) "above it")

        testTheory
            "cannot have numbers that make no sense"
            [
                "concentration below 0", "concentration", (-0.1, 0.1)
                "concentration NaN", "concentration", (nan, 0.1)
                "concentration without end", "concentration", (infinity, 0.1)
                "prior below 0", "classPrior", (1.0, -0.1)
                "prior 1", "classPrior", (1.0, 1.0)
                "prior NaN", "classPrior", (1.0, nan)
            ]
            (fun (name, parameter, (concentration, prior)) ->
                refuses [ parameter ] (fun () -> HardNegatives.create concentration prior |> ignore) name)

        test "as the paper has them by default" (fun () ->
            let h = HardNegatives.create 1.0 0.1
            Expect.equal (h.Floor, h.MeansByColumn, h.DenominatorOfPositive) (None, false, false) "no slip")

        test "need to know every anchor's own image" (fun () ->
            let z = matrix ((Source 1).Rows(4, 3))
            let contrast = {
                Similarity = Similarity.cosine 0.5
                Denominator = Hard(HardNegatives.create 1.0 0.1)
                SelfIncluded = true
            }
            let pairs = Pairs.ofLabels (torch.tensor [| 0L; 0L; 1L; 1L |])
            refuses [ "pairs"; "own image" ] (fun () -> InfoNce.loss contrast pairs z z |> ignore) "no own")
    ]
