/// The contrastive kernel itself: terms, pairs and shares.
module Tests.Losses.InfoNceTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws

let private cpu = torch.device "cpu"

let private fast slow = {
    Similarity = Similarity.cosine slow.Temperature
    Denominator = slow.Denominator
    SelfIncluded = slow.SelfIncluded
}

let private pairsOf slow : Pairs =
    let from, into, weights = List.unzip3 slow.Pairs
    let index (rows: int list) : Tensor = torch.tensor [| for row in rows -> int64 row |]

    {
        Anchors = index from
        Positives = index into
        Weights = torch.tensor (Array.ofList weights)
        Own =
            if slow.Own.Length = 0 || slow.Own[0].Length = 0 then
                None
            else
                Some(
                    (index [
                        for own in slow.Own do
                            yield! own
                    ])
                        .reshape([| slow.Own.LongLength; -1L |])
                )
    }

// Some pairs, some anchors in several and some in none.
let private drawn (source: Source) =
    let selfIncluded = source.Among [ false; true ]
    let columns = source.Whole(5, 7)
    let rows = if selfIncluded then columns else source.Whole(1, 7)
    let denominator = denominator source

    let denominator =
        match denominator with
        // What belongs to rows of candidates needs anchors that are the candidates.
        | Hard h when not selfIncluded -> Hard { h with MeansByColumn = false; DenominatorOfPositive = false }
        | other -> other

    let slow = {
        Temperature = source.Uniform(0.1, 2.0)
        Denominator = denominator
        SelfIncluded = selfIncluded
        Pairs = []
        Own =
            Array.init rows (fun i ->
                source.Order columns
                |> Array.filter (fun k -> not (selfIncluded && k = i))
                |> Array.truncate 2)
    }

    let width = source.Whole(2, 5)
    let anchors = source.Rows(rows, width)

    let pairs = [
        for _ in 1 .. source.Whole(1, 40) do
            let i = source.Whole(0, rows - 1)
            let j =
                source.Among [
                    for k in 0 .. columns - 1 do
                        if not (selfIncluded && k = i) then k
                ]
            i, j, source.Uniform(0.0, 2.0)
    ]

    { slow with Pairs = pairs }, anchors, (if selfIncluded then anchors else source.Rows(columns, width))

let private law name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            let slow, anchors, candidates = drawn source
            check source slow anchors candidates))

[<Tests>]
let tests =
    testList "Losses.InfoNce" [
        law "a term a pair, as the formula reads" (fun _ slow anchors candidates ->
            let actual = InfoNce.terms (fast slow) (pairsOf slow) (matrix anchors) (matrix candidates)
            Expect.equal actual.shape [| int64 slow.Pairs.Length |] "shape"
            relative 1e-10 (floats actual) (terms slow anchors candidates) "terms")

        law "the loss is the weighted sum of the terms over the number of anchors" (fun _ slow anchors c ->
            let actual = InfoNce.loss (fast slow) (pairsOf slow) (matrix anchors) (matrix c)
            Expect.equal actual.shape [||] "shape"
            relative 1e-10 [| number actual |] [| loss slow anchors c |] "loss")

        testPropertyN 30 "each side gets the slopes of the loss in it" (fun (seed: int) ->
            balanced (fun () ->
                let slow, anchors, candidates = drawn (Source seed)
                let kernel =
                    fun inputs ->
                        InfoNce.loss (fast slow) (pairsOf slow) (List.head inputs) (List.last inputs)
                let _, gradients = sentAll kernel [ matrix anchors; matrix candidates ]
                let expected = [
                    slopesOf (fun a -> loss slow a.Head candidates) [ anchors ]
                    slopesOf (fun c -> loss slow anchors c.Head) [ candidates ]
                ]
                List.iter2 (fun g e -> relative 1e-6 g e "gradient") gradients expected))

        law "shares scale the gradient of their side and nothing else" (fun source slow anchors candidates ->
            let part = source.Uniform(0.0, 1.0)

            let shared (toAnchors, toCandidates) =
                let similarity = {
                    Similarity.cosine slow.Temperature with
                        AnchorShare = toAnchors
                        CandidateShare = toCandidates
                }
                sent
                    (fun z ->
                        let contrast = { fast slow with Similarity = similarity }
                        InfoNce.loss contrast (pairsOf slow) z[0] z[1])
                    [ matrix anchors; matrix candidates ]

            let value, whole = shared (1.0, 1.0)

            for toAnchors, toCandidates in
                [ part, 1.0; 1.0, part; 0.0, 1.0; 1.0, 0.0; part, 0.0; part, part ] do
                let sharedValue, gradients = shared (toAnchors, toCandidates)
                relative 1e-12 [| sharedValue |] [| value |] "value"

                for share, gradient, whole in List.zip3 [ toAnchors; toCandidates ] gradients whole do
                    match gradient with
                    | Some g -> relative 1e-12 g (times share whole.Value) "its share"
                    | None -> Expect.equal share 0.0 "none where the share is nought"

                if toAnchors = 0.0 then Expect.isNone gradients[0] "a stop-gradient on the anchors"
                if toCandidates = 0.0 then Expect.isNone gradients[1] "a stop-gradient on the candidates")

        law "a guard is added to lengths, and to sum and ratio but of hard negatives" (fun source slow a c ->
            let guard = source.Uniform(0.0, 0.5)
            let unit (row: float[]) = times (1.0 / (norm2 row + guard)) row
            let scores =
                a |> Array.map (fun a -> c |> Array.map (fun c -> dot (unit a) (unit c) / slow.Temperature))

            // log(sum / e^s), so e^s / sum is what is guarded.
            let guarded term (i, j, _) =
                let sum = exp (term + scores[i][j])
                -log(exp (scores[i][j]) / (sum + guard) + guard)

            let expected =
                match slow.Denominator with
                | Hard _ -> termsOf slow scores
                | _ -> Array.map2 guarded (termsOf slow scores) (Array.ofList slow.Pairs)

            let contrast = {
                fast slow with
                    Similarity = { Similarity.cosine slow.Temperature with Guard = guard }
            }
            let actual = InfoNce.terms contrast (pairsOf slow) (matrix a) (matrix c)
            relative 1e-10 (floats actual) expected "terms")

        testProperty "pairs of views stand one after the other" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let images, views = source.Whole(1, 5), source.Whole(2, 4)
                let between = [ 0, 1, 0.25; 1, 0, 2.0; views - 1, 0, 0.5 ]
                let pairs = Pairs.ofViews cpu (int64 images) views between

                Expect.equal
                    (Array.zip3 (wholes pairs.Anchors) (wholes pairs.Positives) (floats pairs.Weights))
                    [|
                        for from, into, weight in between do
                            for m in 0 .. images - 1 do
                                int64 (from * images + m), int64 (into * images + m), weight
                    |]
                    "pairs"

                let own = rows pairs.Own.Value |> Array.map (Array.map int)
                Expect.hasLength own (images * views) "an own image for every row"

                for row in 0 .. images * views - 1 do
                    Expect.hasLength own[row] (views - 1) "its other views"
                    Expect.all own[row] (fun k -> k <> row && k % images = row % images) "of the same image"
                    Expect.equal (Array.distinct own[row]) own[row] "each once"))

        test "every ordered pair of views, each once" (fun () ->
            Expect.equal
                (Pairs.every 0.5 [ 0; 2; 3 ] |> List.sort)
                [ 0, 2, 0.5; 0, 3, 0.5; 2, 0, 0.5; 2, 3, 0.5; 3, 0, 0.5; 3, 2, 0.5 ]
                "pairs"
            Expect.equal (Pairs.every 1.0 [ 7 ]) [] "a view has no pair with itself")

        testProperty "pairs of a label weigh 1 for each anchor that has any" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let labels = Array.init (source.Whole(2, 9)) (fun _ -> int64 (source.Whole(-2, 2)))
                let pairs = Pairs.ofLabels (torch.tensor labels)
                let found = Array.zip (wholes pairs.Anchors) (wholes pairs.Positives)

                let expected = [|
                    for i in 0 .. labels.Length - 1 do
                        for j in 0 .. labels.Length - 1 do
                            if i <> j && labels[i] = labels[j] then int64 i, int64 j
                |]

                Expect.equal (Array.sort found) expected "pairs"
                Expect.isNone pairs.Own "images of unlike number"
                let weights = Array.zip (Array.map fst found) (floats pairs.Weights)
                let sums = weights |> Array.groupBy fst |> Array.map (snd >> Array.sumBy snd)
                close 1e-12 sums (Array.create sums.Length 1.0) "weights of an anchor"))

        test "aligned pairs may start at any candidate" (fun () ->
            let pairs = Pairs.aligned cpu 3L 5L
            Expect.equal (wholes pairs.Anchors) [| 0L; 1L; 2L |] "anchors"
            Expect.equal (wholes pairs.Positives) [| 5L; 6L; 7L |] "positives"
            Expect.equal (floats pairs.Weights) [| 1.0; 1.0; 1.0 |] "weights"
            Expect.hasLength (Pairs.tensors pairs) 3 "tensors")
    ]
