/// Cross-entropy.
module Tests.Losses.CrossEntropyTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open Support.Arrays
open Support.Laws
open Support

let private labels (values: int[]) : Tensor = torch.tensor (Array.map int64 values)

let private gradient (loss: Tensor) (x: Tensor) =
    (torch.autograd.grad (ResizeArray [ loss.sum () ], ResizeArray [ x ]))[0]

[<Tests>]
let tests =
    testList "Losses.CrossEntropy" [
        testProperty
            "it is log-sum-exp less the label's logit, its gradient softmax less one-hot"
            (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, k = 1 + n % 6, 2 + k % 6
                    let logits = source.Rows(n, k) |> Array.map (times (source.Uniform(0.1, 30.0)))
                    let y = Array.init n (fun _ -> source.Whole(0, k - 1))
                    let z = (matrix logits).requires_grad_ true
                    let losses = CrossEntropy.perSample z (labels y)
                    let expected = Array.map2 (fun row y -> logSumExp row - Array.item y row) logits y
                    relative 1e-12 (floats losses) expected "values"

                    let slopes =
                        Array.map2
                            (fun row y ->
                                row
                                |> Array.mapi (fun j v ->
                                    exp (v - logSumExp row) - (if j = y then 1.0 else 0.0)))
                            logits
                            y
                    close 1e-12 (floats (gradient losses z)) (Array.concat slopes) "gradients"
                    relative
                        1e-12
                        [| number (CrossEntropy.mean z (labels y)) |]
                        [| mean expected |]
                        "their mean"))

        test "confident logits do not overflow" (fun () ->
            let losses =
                CrossEntropy.perSample
                    (tensor [ 2; 2 ] [| 1e4; -1e4; 1e4; -1e4 |] |> single)
                    (labels [| 0; 1 |])
            Expect.equal (floats losses) [| 0.0; 2e4 |] "values")

        test "half precision is summed in single precision" (fun () ->
            let z = (matrix ((Source 1).Rows(3, 5))).``to`` torch.bfloat16
            let losses = CrossEntropy.perSample z (labels [| 0; 1; 2 |])
            Expect.equal losses.dtype torch.float32 "type"
            Expect.equal
                (floats losses)
                (floats (CrossEntropy.perSample (single z) (labels [| 0; 1; 2 |])))
                "values")

        test "faults are named" (fun () ->
            let z = torch.zeros [| 2L; 3L |]
            let call logits y () = CrossEntropy.perSample logits y |> ignore
            refuses
                [ "logits"; "[n; k]" ]
                (call (torch.zeros [| 3L |]) (labels [| 0 |]))
                "rank of the logits"
            refuses [ "labels" ] (call z (labels [| 0; 1; 2 |])) "number of labels"
            refuses [ "labels"; "[n]" ] (call z z) "rank of the labels"
            let short = (labels [| 0; 1 |]).``to`` torch.int32
            refuses [ "labels"; "int64"; "Int32" ] (call z short) "type of the labels"

            for y in [ 3; -1 ] do
                let parts = [ "labels"; "0 .. 2"; string y; "row 1" ]
                refuses parts (call z (labels [| 0; y |])) "range of the labels"

            // Every second of four: only the view's own elements are checked.
            let apart = (labels [| 0; 7; 1; 7 |]).reshape([| 2L; 2L |]).select(1L, 0L)
            Expect.equal (CrossEntropy.perSample z apart).shape [| 2L |] "labels that lie apart"

            refuses
                [ "logits"; "Int64" ]
                (call (torch.zeros ([| 2L; 3L |], torch.int64)) (labels [| 0; 1 |]))
                "type"
            let none = torch.zeros [| 0L; 3L |]
            Expect.equal (CrossEntropy.perSample none (labels [||])).shape [| 0L |] "nothing costs nothing"
            refuses
                [ "labels"; "at least 1" ]
                (fun () -> CrossEntropy.mean none (labels [||]) |> ignore)
                "no mean of nothing")

        testList "published" [
            for case in GoldenValues.ofAttacks "loss" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let z = (GoldenValues.array [ "inputs"; "logits" ] case).requires_grad_ true
                    let losses = CrossEntropy.perSample z (GoldenValues.indices [ "inputs"; "y" ] case)
                    let tolerance = GoldenValues.real [ "tolerance" ] case
                    relative
                        tolerance
                        (floats losses)
                        (GoldenValues.values [ "expected"; "ce" ] case)
                        "values"
                    close
                        tolerance
                        (floats (gradient losses z))
                        (GoldenValues.values [ "expected"; "ce_grad" ] case)
                        "gradients")
        ]
    ]
