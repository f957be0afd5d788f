namespace AdvContrast.Core.Losses

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Which candidates an anchor is drawn to, and how strongly: one entry a pair, by row and never as an n-by-m
/// mask. An anchor may stand in several pairs or in none. The tensors belong to the scope they were made in.
[<NoEquality; NoComparison>]
type Pairs = {
    /// Row of the anchor, int64 [p].
    Anchors: Tensor
    /// Row of the candidate that it is drawn to, int64 [p].
    Positives: Tensor
    /// float64 [p]; losses take them in their own precision.
    Weights: Tensor
    /// The candidates of the anchor's own image, in no pair negatives: int64 [n; q]; None where images differ
    /// in how many they have.
    Own: Tensor option
}

[<RequireQualifiedAccess>]
module Pairs =

    let private index (device: torch.Device) (rows: int64[]) = torch.tensor(rows).``to`` device

    /// Row i drawn to candidate first + i, for i from 0 to rows - 1, with weight 1.
    let aligned (device: torch.Device) (rows: int64) (first: int64) =
        let rows = [| 0L .. rows - 1L |]

        {
            Anchors = index device rows
            Positives = index device (rows |> Array.map ((+) first))
            Weights = torch.ones (rows.LongLength, torch.float64, device)
            Own = None
        }

    /// Pairs between views that stand one after the other, `images` rows each. between: view drawn, view that
    /// it is drawn to, weight of each such pair.
    let ofViews (device: torch.Device) (images: int64) (views: int) (between: (int * int * float) list) =
        let rows view = [| for m in 0L .. images - 1L -> int64 view * images + m |]
        let from, into, weights = List.unzip3 between

        {
            Anchors = from |> List.map rows |> Array.concat |> index device
            Positives = into |> List.map rows |> Array.concat |> index device
            Weights =
                weights
                |> List.map (Array.create (int images))
                |> Array.concat
                |> fun values -> torch.tensor(values).``to`` device
            Own =
                [|
                    for view in 0 .. views - 1 do
                        for m in 0L .. images - 1L do
                            for other in 0 .. views - 1 do
                                if other <> view then int64 other * images + m
                |]
                |> index device
                |> fun rows -> Some(rows.reshape ([| int64 views * images; -1L |]))
        }

    /// Every ordered pair of the views named, all with one weight.
    let every (weight: float) (views: int list) = [
        for from in views do
            for into in views do
                if from <> into then from, into, weight
    ]

    /// Every ordered pair of rows with the same label, weighted so that each anchor's pairs sum to 1.
    /// labels: int64 [n].
    let ofLabels (labels: Tensor) =
        let values = Scope.value (fun () -> labels.cpu().data<int64>().ToArray())

        let pairs =
            Array.indexed values
            |> Array.groupBy snd
            |> Array.collect (fun (_, same) -> [|
                for i, _ in same do
                    for j, _ in same do
                        if i <> j then int64 i, int64 j, 1.0 / float (same.Length - 1)
            |])

        let from, into, weights = Array.unzip3 pairs

        {
            Anchors = index labels.device from
            Positives = index labels.device into
            Weights = torch.tensor(weights).``to`` labels.device
            Own = None
        }

    /// The tensors in it.
    let tensors pairs = seq {
        pairs.Anchors
        pairs.Positives
        pairs.Weights
        yield! Option.toList pairs.Own
    }
