/// Momentum contrast against loops over plain numbers, and its queue.
module Tests.Losses.MomentumContrastTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.LossGradients
open Support.Laws

let private unit (rows: float[][]) = rows |> Array.map (fun row -> times (1.0 / norm2 row) row)

let private slow t (queries: float[][]) (keys: float[][]) (queue: float[][]) =
    Array.map2
        (fun q k ->
            let positive = cosine q k / t
            let negatives = queue |> Array.map (fun other -> dot (times (1.0 / norm2 q) q) other / t)
            logSumExp (Array.append [| positive |] negatives) - positive)
        queries
        keys
    |> mean

let private fast t (x: Tensor list) = MomentumContrast.loss t x[0] x[1] x[2]

let private value t q k queue = number (fast t [ matrix q; matrix k; matrix queue ])

let private drawn count name check =
    testPropertyN count name (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
        balanced (fun () ->
            let source = Source seed
            let n, k, d = 1 + n % 6, 1 + k % 8, source.Whole(1, 6)
            let t = source.Uniform(0.05, 2.0)
            check source t (source.Rows(n, d)) (source.Rows(n, d)) (unit (source.Rows(k, d)))))

[<Tests>]
let tests =
    testList "Losses.MomentumContrast" [
        drawn 100 "the loss equals the formula, number by number" (fun _ t q k queue ->
            relative 1e-10 [| value t q k queue |] [| slow t q k queue |] "value")

        drawn 20 "queries alone get gradient, which equals finite differences" (fun _ t q k queue ->
            let t = max t 0.3
            sloped [ 1; 2 ] (fun x -> slow t x[0] x[1] x[2]) (fast t) [ q; k; queue ])

        drawn 100 "neither order nor rotation nor length matters" (fun source t q k queue ->
            let expected = [| value t q k queue |]
            let images, others = source.Order q.Length, source.Order queue.Length
            relative 1e-10 [| value t (permuted images q) (permuted images k) queue |] expected "images"
            relative 1e-10 [| value t q k (permuted others queue) |] expected "the queue's order"
            let turn = rotation source q[0].Length
            let turned = value t (multiply q turn) (multiply k turn) (multiply queue turn)
            relative 1e-10 [| turned |] expected "turned"
            relative 1e-10 [| value t (scaled source q) (scaled source k) queue |] expected "scaled")

        drawn 100 "where all are equal it is log(1 + K)" (fun _ t q _ queue ->
            let same = Array.create q.Length q[0]
            let full = unit (Array.create queue.Length q[0])
            relative 1e-10 [| value t same same full |] [| log (1.0 + float queue.Length) |] "value")

        test "it is stable for 4096 keys at temperature 0.01 in single precision" (fun () ->
            let source = Source 1
            let queries = source.Rows(64, 16)
            let keys = queries |> Array.map (fun row -> plus row (source.Normals 16))
            let queue = unit (source.Rows(4096, 16))
            let expected = slow 0.01 queries keys queue

            let value, gradients =
                withGradients (fast 0.01) ([ queries; keys; queue ] |> List.map (matrix >> single))

            Expect.isGreaterThan expected 0.1 "not trivial"
            relative 1e-3 [| value |] [| expected |] "value"
            Expect.all gradients[0].Value System.Double.IsFinite "gradient")

        test "half precision is summed in single precision, and may meet a queue in single" (fun () ->
            let source = Source 2
            let q, k, queue = source.Rows(4, 8), source.Rows(4, 8), unit (source.Rows(6, 8))
            halves (fast 0.2) [ q; k; queue ]
            let half (x: float[][]) = (matrix x).``to`` torch.bfloat16
            let loss = fast 0.2 [ half q; half k; single (matrix queue) ]
            Expect.equal loss.dtype torch.float32 "type")

        drawn
            100
            "a batch's keys enter with length 1 before all others, and the oldest go"
            (fun _ _ _ keys queue ->
                let next = rows (MomentumContrast.enqueue (matrix keys) (matrix queue))
                let expected = Array.append (unit keys) queue |> Array.take queue.Length
                close 1e-12 (Array.concat next) (Array.concat expected) "queue")

        test "after a round of batches the queue holds the last keys alone, newest first" (fun () ->
            let source = Source 3
            let batches = [ for _ in 1..4 -> source.Rows(3, 5) ]
            let start = matrix (unit (source.Rows(8, 5)))
            let last =
                batches |> List.fold (fun queue keys -> MomentumContrast.enqueue (matrix keys) queue) start
            let expected = batches |> List.rev |> List.map unit |> Array.concat |> Array.take 8
            close 1e-12 (floats last) (Array.concat expected) "queue")

        test "the old queue stays as it is, and the new one has its type and no gradient" (fun () ->
            let source = Source 4
            let queue = single (matrix (unit (source.Rows(4, 3))))
            let before = bits queue
            let keys = (matrix (source.Rows(2, 3))).requires_grad_ true
            let next = MomentumContrast.enqueue keys queue
            Expect.equal next.dtype torch.float32 "type"
            Expect.isFalse next.requires_grad "gradient"
            next.fill_ (0.0.ToScalar()) |> ignore
            Expect.equal (bits queue) before "the old queue"
            let full = MomentumContrast.enqueue keys (queue.narrow (0L, 0L, 2L))
            full.fill_ (0.0.ToScalar()) |> ignore
            Expect.isGreaterThan (norm2 (floats keys)) 0.0 "keys that fill a queue stay as they are")

        test "faults are named" (fun () ->
            let ones (shape: int64 list) = torch.ones (Array.ofList shape, torch.float64)
            let good, wide, longer, empty =
                ones [ 3L; 2L ], ones [ 3L; 3L ], ones [ 4L; 2L ], ones [ 0L; 2L ]
            let queue = matrix [| [| 0.6; 0.8 |]; [| 1.0; 0.0 |] |]
            let loose = matrix [| [| 0.6; 0.8 |]; [| 1.1; 0.0 |] |]
            let zero = matrix [| [| 1.0; 0.0 |]; [| 0.0; 0.0 |]; [| 1.0; 0.0 |] |]
            let loss t q k queue () = MomentumContrast.loss t q k queue |> ignore
            let enqueue k queue () = MomentumContrast.enqueue k queue |> ignore

            for name, parts, call in
                [
                    "temperature", [ "temperature" ], loss 0.0 good good queue
                    "no image", [ "queries"; "at least 1" ], loss 0.2 empty empty queue
                    "shapes", [ "keys"; "[4; 2]"; "[3; 2]" ], loss 0.2 good longer queue
                    "rank of the queue", [ "queue"; "[n; d]" ], loss 0.2 good good (ones [ 2L ])
                    "an empty queue", [ "queue"; "at least 1" ], loss 0.2 good good empty
                    "widths", [ "queue"; "[3; 3]"; "[2; 2]" ], loss 0.2 wide wide queue
                    "lengths", [ "queue"; "length 1"; "row 1" ], loss 0.2 good good loose
                    "a lost row of the queue", [ "queue"; "row 1" ], loss 0.2 good good zero
                    "a query without direction", [ "queries"; "row 1" ], loss 0.2 zero good queue
                    "keys without direction", [ "keys"; "row 1" ], enqueue zero queue
                    "no keys", [ "keys"; "at least 1" ], enqueue empty queue
                    "rank of the old queue", [ "queue"; "[K; d]" ], enqueue good (ones [ 2L ])
                    "widths of keys", [ "keys"; "[3; 3]"; "[2; 2]" ], enqueue wide queue
                ] do
                refuses parts call name)
    ]
