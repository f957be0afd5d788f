namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// Runs of an ascent over the images of a batch that nothing has broken yet.
[<RequireQualifiedAccess>]
module internal SurvivorLoop =

    // What the runs of a batch share.
    [<NoEquality; NoComparison>]
    type private Batch = { Log: AttackLog; Draw: Rng; Images: Tensor; BestValue: float[] }

    // The images at points, one a row, to their values, and which of them have won there.
    type private See = int64[] -> Tensor -> Tensor * bool[]

    // Evaluates one point a row; returns the values and the places that continue. Where no verdict is
    // asked for, a success counts for nothing.
    let private look
        batch
        (ascent: GradientAttack)
        verdict
        (see: See)
        wantGradient
        (rows: int64[])
        (x: Tensor)
        =
        use scope = torch.NewDisposeScope()
        let votes = Array.zeroCreate rows.Length

        let value, gradient =
            x
            |> GradientAttackLoop.averaged ascent.Passes wantGradient (fun x ->
                let value, won = see rows x
                won |> Array.iteri (fun place won -> if won then votes[place] <- votes[place] + 1)
                value)

        let gradient = gradient |> Option.map (AttackLog.slope batch.Log rows None)
        let solved = votes |> Array.map (fun votes -> verdict && 2 * votes > ascent.Passes)
        let passes = int64 ascent.Passes
        AttackLog.look batch.Log passes (if wantGradient then passes else 0L) rows solved
        let won = AttackLog.places true solved
        AttackLog.store batch.Log (won |> Array.map (fun place -> rows[int place])) won x

        let left = if ascent.EarlyStop then AttackLog.places false solved else Array.init rows.Length int64

        let keep (t: Tensor) = scope.MoveToOuter<Tensor> t
        keep value, Option.map keep gradient, left

    // Stores the best points of those that no point has broken, where they are better than any before.
    let private keepBest batch (rows: int64[]) (iterate: Iterate) =
        let values =
            Scope.value (fun () -> iterate.BestValue.``to``(torch.float64).cpu().data<float>().ToArray())

        let better = [|
            for place in 0 .. rows.Length - 1 do
                let row = int rows[place]

                if batch.Log.FirstSuccess[row] < 0L && values[place] > batch.BestValue[row] then
                    batch.BestValue[row] <- values[place]
                    int64 place
        |]

        AttackLog.store batch.Log (better |> Array.map (fun place -> rows[int place])) better iterate.BestX

    // One run, from a start of its own, over some of the images.
    let private run batch threat (ascent: GradientAttack) (survivors: int64[]) (number, see) =
        Scope.value (fun () ->
            let mutable rows = survivors
            let origin = AttackLog.pick rows batch.Images
            let draw = Rng.pick rows batch.Draw |> Rng.sub (sprintf "restart %d" number)

            // Drops solved rows from a state.
            let narrow (left: int64[]) iterate =
                if left.Length = rows.Length then
                    iterate
                else
                    rows <- left |> Array.map (fun place -> rows[int place])
                    GradientAttackLoop.select (AttackLog.index batch.Images left) iterate

            let climb threat (ascent: GradientAttack) verdict x =
                let look = look batch ascent verdict see

                let rec go iterate =
                    if rows.Length > 0 && iterate.Index < ascent.Steps then
                        iterate
                        |> GradientAttackLoop.step (fun now ->
                            let x, memory = GradientAttackLoop.next threat ascent now
                            let more = now.Index + 1 < ascent.Steps
                            let value, gradient, left = look more rows x
                            let gradient = Option.defaultValue now.Gradient gradient
                            GradientAttackLoop.advance now x memory (value, gradient) |> narrow left)
                        |> go
                    else
                        iterate

                let value, gradient, left = look (ascent.Steps > 0) rows x
                let gradient = gradient |> Option.defaultWith (fun () -> torch.zeros_like x)
                GradientAttackLoop.first origin x (value, gradient) |> narrow left |> go

            let rec begun threat (ascent: GradientAttack) =
                match ascent.After with
                | None ->
                    let x = GradientAttackLoop.start threat ascent draw origin
                    // No point outside the threat model is evaluated.
                    if GradientAttackLoop.strays ascent then Projection.project threat origin x else x
                | Some(radii, earlier) ->
                    let wide = GradientAttackLoop.widened radii threat
                    let ended = begun wide earlier |> climb wide earlier false
                    Projection.project threat origin ended.BestX

            let ended = begun threat ascent |> climb threat ascent true
            keepBest batch rows ended)

    /// Run after run, each over what all before it have left; what they find is written into the ledger,
    /// which has evaluated the clean images.
    ///
    /// sights: for each run, a function from rows and points, one a row, to values and successes.
    let runs (ascent: GradientAttack) ledger draw threat (images: Tensor) (sights: See list) =
        let count = int images.shape[0]
        let bestValue = Array.create count -infinity
        let batch = { Log = ledger; Draw = draw; Images = images; BestValue = bestValue }

        for next in List.indexed sights do
            let survivors = AttackLog.unsolved ledger (Array.init count int64)
            if survivors.Length > 0 then run batch threat ascent survivors next
