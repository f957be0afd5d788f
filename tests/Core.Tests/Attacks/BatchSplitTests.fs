/// Attacks on batches, on what is left of them, and again.
module Tests.Attacks.BatchSplitTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Attacks
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases

[<Tests>]
let tests =
    testList "Attacks.BatchSplit" [
        law "any split of the batch gives the same, the batch of one too" (fun s ->
            let together = deeds (run s)
            let n = together.Length

            for size in [ 1; 2; n ] do
                let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                let apart = parts |> Array.collect (fun places -> deeds (run (pick places s)))
                same apart together (sprintf "batches of %d" size))

        law "permuting the batch permutes the results" (fun s ->
            let order = (Source 1).Order s.Y.Length
            let permuted = deeds (run (pick order s))
            let together = deeds (run s)
            same permuted (order |> Array.map (Array.get together)) "permuted")

        law "an unbroken image is the one of the highest loss, never below the start" (fun s ->
            let s = { s with Ascent = { s.Ascent with Restarts = 1 } }
            let harm = run s
            let start =
                GradientAttackLoop.start s.Threat s.Ascent (Rng.sub "restart 0" s.Draw) s.Victims.Images

            Array.zip3 (losses s harm.Images) (losses s start) (truths harm.Success)
            |> Array.iter (fun (ended, began, success) ->
                if not success then Expect.isGreaterThanOrEqual ended (began - 1e-9) "loss"))

        law "more steps and more restarts break no fewer images, and lower no loss" (fun s ->
            let outcome steps restarts =
                let harm = run { s with Ascent = { s.Ascent with Steps = steps; Restarts = restarts } }
                Array.zip (truths harm.Success) (losses s harm.Images)

            for fewer, more in [ outcome 2 1, outcome 5 1; outcome 3 1, outcome 3 3 ] do
                for (wasBroken, before), (isBroken, after) in Array.zip fewer more do
                    Expect.isTrue (isBroken || not wasBroken) "what fell falls again"
                    if not isBroken then Expect.isGreaterThanOrEqual after (before - 1e-9) "loss")

        law "solved images leave the batch: the classifier sees as many rows as are counted" (fun s ->
            let mutable seen = 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                s.Classify x
            let harm = run { s with Classify = classify }
            let judged = int64 s.Y.Length
            Expect.equal seen (Array.sum (wholes harm.Forwards) + judged) "rows")

        law "restarts go on with survivors from other starts" (fun s ->
            let starts = ResizeArray<float[][]>()
            let ascent = { s.Ascent with Steps = 0; Restarts = 4 }
            let s = { s with Ascent = ascent }
            let classify x =
                starts.Add(rows x)
                s.Classify x
            let harm = run { s with Classify = classify }
            let survivors = truths harm.Success |> Array.filter not |> Array.length

            if survivors > 0 then
                // The clean images, four starts, and the verdict.
                Expect.hasLength starts 6 "passes"
                Expect.isDescending (starts |> Seq.take 5 |> Seq.map Array.length) "never more than before"
                let last = starts.GetRange(1, 4) |> Seq.map Array.last |> Seq.distinct
                Expect.hasLength last 4 "every restart from elsewhere"
                let unbroken =
                    Array.map2 (fun s f -> if s then -1L else f) (truths harm.Success) (wholes harm.Forwards)
                Expect.all unbroken (fun f -> f = -1L || f = 5L) "forward passes of the unbroken")
    ]
