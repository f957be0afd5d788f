/// Supervised contrast.
module Tests.Losses.SupConTests

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

let private labelled (labels: int64[]) : Tensor = torch.tensor labels

// Equation 2, number by number: an anchor without positives adds nothing to the sum.
let private slow t (z: float[][]) (labels: int64[]) =
    let s i k = cosine z[i] z[k] / t

    [|
        for i in 0 .. z.Length - 1 do
            let others = [| 0 .. z.Length - 1 |] |> Array.except [ i ]
            let positives = others |> Array.filter (fun p -> labels[p] = labels[i])

            if positives.Length > 0 then
                let under = logSumExp (others |> Array.map (s i))
                positives |> Array.averageBy (fun p -> under - s i p)
    |]
    |> fun terms -> Array.sum terms / float z.Length

let private value t z labels = number (SupCon.loss t (matrix z) (labelled labels))

// Rows of a few classes, at least two rows of one of them.
let private drawn (source: Source) =
    let n = source.Whole(3, 9)
    let labels = Array.init n (fun i -> if i < 2 then 0L else int64 (source.Whole(0, 3)))
    source.Uniform(0.1, 1.5), source.Rows(n, source.Whole(2, 5)), labels

let private law name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            let t, z, labels = drawn source
            check source t z labels))

[<Tests>]
let tests =
    testList "Losses.SupCon" [
        law "equals its formula, number by number" (fun _ t z labels ->
            relative 1e-10 [| value t z labels |] [| slow t z labels |] "value")

        testPropertyN 30 "its gradient equals finite differences" (fun (seed: int) ->
            balanced (fun () ->
                let t, z, labels = drawn (Source seed)
                let _, gradients = sentAll (fun x -> SupCon.loss t x.Head (labelled labels)) [ matrix z ]
                relative 1e-6 gradients.Head (slopesOf (fun z -> slow t z.Head labels) [ z ]) "gradient"))

        law
            "the order of the rows does not matter, nor do a class's number, turns and lengths"
            (fun source t z labels ->
                let order = source.Order z.Length
                let turn = rotation source z[0].Length
                let renamed = labels |> Array.map (fun label -> 7L - label * 1_000_000_007L)
                let moved =
                    multiply z turn |> Array.map (fun row -> times (exp (source.Uniform(-5.0, 5.0))) row)
                let pick (x: 'a[]) = order |> Array.map (Array.get x)
                relative 1e-9 [| value t (pick moved) (pick renamed) |] [| value t z labels |] "value")

        law "with one positive an anchor it is NT-Xent, gradients too" (fun source t z _ ->
            let b = z.Length
            let inputs = [ matrix z; matrix (source.Rows(b, z[0].Length)) ]
            let labels = Array.init (2 * b) (fun i -> int64 (i % b))
            let supervised (x: Tensor list) = SupCon.loss t (torch.cat (ResizeArray x, 0L)) (labelled labels)
            same
                1e-10
                (sentAll supervised inputs)
                (sentAll (fun x -> InfoNce.ntXent t x[0] x[1]) inputs)
                "views")

        law
            "where all embeddings are equal it is log(n - 1) for every anchor with a positive"
            (fun _ t z labels ->
                let paired =
                    labels |> Array.filter (fun label -> Array.filter ((=) label) labels |> Array.length > 1)
                let expected = float paired.Length / float z.Length * log (float z.Length - 1.0)
                relative 1e-10 [| value t (Array.create z.Length z[0]) labels |] [| expected |] "value")

        law "a class that is nowhere else is a negative and no anchor" (fun source t z labels ->
            let lonely = source.Rows(1, z[0].Length)
            let more, named = Array.append z lonely, Array.append labels [| 99L |]
            let _, gradients = sent (fun x -> SupCon.loss t x.Head (labelled named)) [ matrix more ]
            relative 1e-10 [| value t more named |] [| slow t more named |] "value"
            let own = gradients.Head.Value |> Array.skip (z.Length * z[0].Length)
            let pushed = slopesOf (fun x -> slow t (Array.append z x.Head) named) [ lonely ]
            relative 1e-6 own pushed "it is pushed away")

        testTheory
            "labels that do not fit"
            [
                "type", (torch.float32, 4), [ "labels"; "int64"; "Float32" ]
                "whole numbers of another type", (torch.int32, 4), [ "labels"; "int64"; "Int32" ]
                "too few", (torch.int64, 3), [ "labels"; "4 rows"; "3 labels" ]
                "too many", (torch.int64, 5), [ "labels"; "4 rows"; "5 labels" ]
                "none", (torch.int64, 0), [ "labels"; "0 labels" ]
            ]
            (fun (name, (dtype, count), parts) ->
                balanced (fun () ->
                    let z = matrix ((Source 1).Rows(4, 3))
                    let labels = torch.zeros ([| int64 count |], dtype)
                    refuses parts (fun () -> SupCon.loss 0.5 z labels |> ignore) name))

        test "other faults are named" (fun () ->
            let z, labels = matrix ((Source 1).Rows(4, 3)), labelled [| 0L; 0L; 1L; 1L |]
            let supervised t (z: Tensor) labels () = SupCon.loss t z labels |> ignore
            refuses [ "labels"; "[n]" ] (supervised 0.5 z (labels.reshape (2L, 2L))) "rank of the labels"
            refuses
                [ "labels"; "differ" ]
                (supervised 0.5 z (labelled [| 0L; 1L; 2L; 3L |]))
                "nothing to be drawn to"
            refuses [ "temperature" ] (supervised 0.0 z labels) "temperature"
            refuses [ "embeddings"; "[n; d]" ] (supervised 0.5 (z[0]) labels) "rank"
            refuses [ "embeddings"; "2 rows" ] (supervised 0.5 (z.narrow (0L, 0L, 1L)) labels) "one row")
    ]
