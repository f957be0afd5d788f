/// The contrastive kernel as its formulas read, number by number, and what losses send into their inputs.
module Support.ContrastiveOracle

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open Support.Arrays
open Support.Laws
open Support

// --- the kernel

/// A contrast and its pairs in plain numbers.
type Slow = {
    Temperature: float
    Denominator: Denominator
    SelfIncluded: bool
    /// Anchor, candidate, weight.
    Pairs: (int * int * float) list
    /// The candidates of each anchor's own image.
    Own: int[][]
}

// The logarithm of what stands under the fraction line, for each anchor.
let private denominators slow (s: float[][]) =
    let columns = s[0].Length

    let others =
        Array.init s.Length (fun i -> [|
            for k in 0 .. columns - 1 do
                if not (slow.SelfIncluded && k = i) then k
        |])

    match slow.Denominator with
    | AllOthers -> others |> Array.mapi (fun i k -> logSumExp (k |> Array.map (Array.get s[i])))
    | AllLessConstant ->
        let self = float (float32 (exp (1.0 / slow.Temperature)))
        s |> Array.map (fun row -> log (Array.sumBy exp row - self))
    | Hard h ->
        let negatives = Array.map2 Array.except slow.Own others

        let weight i k =
            if h.Concentration = 0.0 then 1.0
            elif Array.contains k negatives[i] then exp (h.Concentration * s[i][k])
            else 0.0

        let means = Array.init s.Length (fun i -> Array.init columns (weight i) |> Array.average)

        negatives
        |> Array.mapi (fun i negatives ->
            let n = float negatives.Length
            let mean k = if h.MeansByColumn then means[k] else means[i]
            let sum = negatives |> Array.sumBy (fun k -> weight i k * exp (s[i][k]) / mean k)
            let positive = slow.Own[i] |> Array.averageBy (fun k -> exp (s[i][k]))
            let debiased = (sum - h.ClassPrior * n * positive) / (1.0 - h.ClassPrior)
            let least = n * exp (Option.defaultValue (-1.0 / slow.Temperature) h.Floor)
            log (positive + max debiased least))

/// A term for each pair, from the scores of every anchor with every candidate.
let termsOf slow (s: float[][]) =
    let under = denominators slow s

    let row i j =
        match slow.Denominator with
        | Hard { DenominatorOfPositive = true } -> j
        | _ -> i

    [| for i, j, _ in slow.Pairs -> under[row i j] - s[i][j] |]

/// A term for each pair.
let terms slow (anchors: float[][]) (candidates: float[][]) =
    anchors
    |> Array.map (fun a -> candidates |> Array.map (fun c -> cosine a c / slow.Temperature))
    |> termsOf slow

/// The weighted sum of the terms over the number of anchors.
let loss slow (anchors: float[][]) candidates =
    let weights = [| for _, _, w in slow.Pairs -> w |]
    dot weights (terms slow anchors candidates) / float anchors.Length

/// Views of the same images, one after the other: the anchors', and the candidates' where those are fast.
let ofViews t denominator between (anchors: float[][] list) (candidates: float[][] list) =
    let images, views = anchors[0].Length, anchors.Length

    let slow = {
        Temperature = t
        Denominator = denominator
        SelfIncluded = true
        Pairs = [
            for from, into, weight in between do
                for m in 0 .. images - 1 do
                    from * images + m, into * images + m, weight
        ]
        Own =
            Array.init (images * views) (fun i -> [|
                for view in 0 .. views - 1 do
                    if view <> i / images then view * images + i % images
            |])
    }

    loss slow (Array.concat anchors) (Array.concat candidates)

/// Any denominator but ACL's: hard negatives with and without the slips of the code that was published.
let denominator (source: Source) =
    if source.Whole(0, 3) = 0 then
        AllOthers
    else
        Hard {
            HardNegatives.create
                (source.Among [ 0.0; 0.5; 1.0; 2.0 ])
                (source.Among [ 0.0; 0.1; source.Uniform(0.0, 0.9) ]) with
                Floor = source.Among [ None; Some(source.Uniform(-4.0, 1.0)) ]
                MeansByColumn = source.Among [ false; true ]
                DenominatorOfPositive = source.Among [ false; true ]
        }

// --- gradients

/// The value of a loss and the gradient that it sends into each input, None where it sends none.
let sent (loss: Tensor list -> Tensor) (inputs: Tensor list) =
    let inputs = inputs |> List.map (fun x -> x.detach().requires_grad_ true)
    let value = loss inputs
    number value, Autograd.grad false value inputs |> List.map (Option.map floats)

/// The same with noughts where it sends none.
let sentAll loss (inputs: Tensor list) =
    let value, gradients = sent loss inputs
    let nought (x: Tensor) = Array.zeroCreate (int (x.numel ()))
    value, List.map2 (fun x -> Option.defaultWith (fun () -> nought x)) inputs gradients

/// The slopes of a function of views in every number of theirs.
let slopesOf (f: float[][] list -> float) (views: float[][] list) =
    let images, width = views[0].Length, views.Head[0].Length

    let rebuilt (flat: float[]) = Array.chunkBySize width flat |> Array.chunkBySize images |> List.ofArray

    views |> List.map Array.concat |> Array.concat |> slopes 1e-5 (rebuilt >> f)

/// That a loss of a reference case's inputs has a value and sends gradients.
let agrees (case: GoldenValues.Case) (expected: GoldenValues.Case) names (loss: Tensor list -> Tensor) =
    let tolerance = GoldenValues.real [ "tolerance" ] case
    let value, gradients = sentAll loss [ for name in names -> GoldenValues.array [ "inputs"; name ] case ]
    close tolerance [| value |] [| GoldenValues.real [ "value" ] expected |] "value"

    for name, gradient in List.zip names gradients do
        close tolerance gradient (GoldenValues.values [ "gradients"; name ] expected) ("gradient of " + name)

/// Sides in the order of their names: that both agree, value and gradient.
let same tolerance (value: float, gradients: float[] list) (otherValue: float, others: float[] list) message =
    relative tolerance [| value |] [| otherValue |] (message + ": value")
    List.iter2 (fun g other -> relative tolerance g other (message + ": gradient")) gradients others
