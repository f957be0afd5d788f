/// Which images a step sees.
module Tests.Training.BatchOrderTests

open System
open System.IO
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Tests.Runs.RunTests

[<Tests>]
let tests =
    testList "Training.BatchOrder" [
        testPropertyN
            40
            "every epoch is a permutation of its own; a last batch of one is left out"
            (fun (PositiveInt n) (PositiveInt batch) ->
                balanced (fun () ->
                    let n, batch = 2 + n % 12, 2 + batch % 6
                    use data = sample true n
                    let t = training lars SimClr.method data batch 3
                    let start = freeing (Trainer.start t) (fun s -> s.Progress)
                    let mutable progress = start
                    let epochs = Array.init 3 (fun _ -> ResizeArray<int64[]>())

                    while not progress.IsFinished do
                        epochs[progress.Epoch].Add (Trainer.nextBatch t progress).Ids
                        progress <- Progress.next progress

                    for batches in epochs do
                        let ids = Seq.concat batches |> Array.ofSeq
                        Expect.equal (Array.distinct ids) ids "none twice"
                        let leftOut = if n > batch && n % batch = 1 then 1 else 0
                        Expect.hasLength ids (n - leftOut) "all of them"
                        within 0.0 (float (n - 1)) (Array.map float ids) "rows"
                        Expect.all
                            (Seq.take (batches.Count - 1) batches)
                            (fun b -> b.Length = batch)
                            "whole batches"
                        Expect.isGreaterThan (Seq.last batches).Length 1 "never a batch of one"

                    if n > 6 then
                        Expect.equal
                            (epochs |> Array.map (Seq.concat >> List.ofSeq) |> Array.distinct).Length
                            3
                            "another order each epoch"))

        test "a batch brings the images and labels of its rows" (fun () ->
            withSample 10 (fun data ->
                let batch = Trainer.nextBatch (small SimClr.method data) (Progress.start 3 2)
                Expect.equal
                    (bits batch.Images["image"])
                    (bits (data.Batch (torch.device "cpu") batch.Ids))
                    "images"
                Expect.equal
                    (wholes batch.Labels["class"])
                    (wholes (data.LabelsOf (torch.device "cpu") batch.Ids))
                    "labels"))
    ]
