namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// How the Square attack searches.
type Square = {
    /// p0: the share of the image's area that the first windows cover, above 0.
    Share: float
    /// Proposals after the start, 1 or more; each is a forward pass.
    Queries: int
    /// Whether the schedule, laid down for 10 000 proposals, is squeezed or stretched to as many as there
    /// are; otherwise fewer proposals see its first part alone.
    Rescaled: bool
    /// Whether windows reach the last row and the last column. The published code's never do, which counts
    /// on small images.
    ToTheEdge: bool
}

/// The Square attack (Andriushchenko et al. 2020), as AutoAttack runs it (Croce and Hein 2020; Croce and Hein
/// 2021 for L1): random search that changes a square window at a time and keeps what lowers the loss: the
/// label's margin or, where there is a target, cross-entropy to that. It asks for logits alone, never for a
/// gradient. Windows and signs are drawn for each sample by its id, where the published code shares them
/// among a batch.
[<RequireQualifiedAccess>]
module Square =

    /// Raised whenever the same call gives other images than before: notes of an evaluation carry it.
    let version = 1

    /// AutoAttack's settings: p0 0.8, 5000 proposals, the schedule as it is; and windows to the edge, which
    /// AutoAttack's do not reach.
    let standard = { Share = 0.8; Queries = 5000; Rescaled = false; ToTheEdge = true }

    // The last proposals, of 10 000, before p is halved.
    let private halvings = [ 10; 50; 200; 500; 1000; 2000; 4000; 6000; 8000 ]

    /// p: the share of the image's area that a proposal's window covers. index: from 0.
    let share how index =
        let place = if how.Rescaled then int (int64 index * 10000L / int64 how.Queries) else index
        let passed = halvings |> List.filter (fun last -> place > last) |> List.length
        how.Share / float (1 <<< passed)

    // What proposals draw, many at once: one row a sample, then one a proposal.
    [<NoEquality; NoComparison>]
    type private Proposals = {
        // Top and left of two windows, int64 [n; proposals; 4].
        Corners: Tensor
        // Which of the bump's two forms, int64 [n; proposals].
        Turns: Tensor
        // [n; proposals; c].
        Signs: Tensor
    }

    // What samples that are not solved carry on, one row each; Rows says where they stand among all.
    [<NoEquality; NoComparison>]
    type private Search = {
        Rows: int64[]
        Draw: Rng
        Victims: AttackBatch
        Best: Tensor
        Value: Tensor
        Luck: Proposals
        Window: SquareWindow.Window
    }

    let private tensors search = seq {
        search.Victims.Images
        search.Victims.Labels
        yield! Option.toList search.Victims.Targets
        search.Best
        search.Value
        search.Luck.Corners
        search.Luck.Turns
        search.Luck.Signs
        search.Window.Downs
        search.Window.Acrosses
        search.Window.Bumps
    }

    let private narrow left search =
        let take = AttackLog.pick left

        {
            Rows = left |> Array.map (fun place -> search.Rows[int place])
            Draw = Rng.pick left search.Draw
            Victims = AttackBatch.pick left search.Victims
            Best = take search.Best
            Value = take search.Value
            Luck = {
                Corners = take search.Luck.Corners
                Turns = take search.Luck.Turns
                Signs = take search.Luck.Signs
            }
            Window = search.Window
        }

    // For how many proposals numbers are drawn at once, which then reach the device in one transfer.
    let private ahead = 64

    let private sideAt how (threat: Threat) (images: Tensor) index =
        SquareWindow.side threat.Norm (share how index) (int images.shape[2]) (int images.shape[3])

    let private foresee how threat draw (images: Tensor) first =
        let c, h, w = images.shape[1], int images.shape[2], int images.shape[3]
        let indices = [| first .. min how.Queries (first + ahead) - 1 |]

        // From how many places a corner is drawn.
        let rooms =
            indices
            |> Array.collect (fun index ->
                let side = sideAt how threat images index
                let room length = if how.ToTheEdge then length - side + 1 else max 1 (length - side)
                let down, across = float32 (room h), float32 (room w)
                [| down; across; down; across |])

        let numbers =
            Rng.uniform
                [ int64 indices.Length; 5L + c ]
                (Rng.sub (sprintf "proposals %d" (first / ahead)) draw)
        let numbers = numbers.``to`` images.device
        let rooms = torch.tensor(rooms).reshape([| -1L; 4L |]).``to``(images.device)

        {
            // The largest number below 1, times a whole number, is rounded to less than that.
            Corners = (numbers.narrow (2L, 0L, 4L) * rooms).floor().``to``(torch.int64)
            Turns = numbers.select(2L, 4L).ge(0.5.ToScalar()).``to``(torch.int64)
            Signs = SquareWindow.signs images (numbers.narrow (2L, 5L, c))
        }

    /// The attack. The first point is evaluated after the clean image, and proposals after that; a sample
    /// leaves at its first success. Success is the classifier's verdict, which a margin of 0 is not. The
    /// stored image of a sample that withstands is the one of the lowest loss, the clean one not counted.
    /// More proposals go on where fewer end, unless the schedule is rescaled. Images of 2 classes or more.
    let attack how : Attack =
        Shape.positive (nameof how.Share) how.Share
        Shape.positive (nameof how.Queries) (float how.Queries)

        let text =
            sprintf
                "Square, %d proposals, p %g%s%s"
                how.Queries
                how.Share
                (if how.Rescaled then ", schedule rescaled" else "")
                (if how.ToTheEdge then "" else ", windows short of the edge")

        Attack.create text (fun draw threat classifier victims ->
            Shape.rank "n;c;h;w" "images" victims.Images

            use _ = torch.no_grad ()
            let ledger = AttackLog.start victims.Images

            // The loss at a point a row, and at which places that is what the attack wants.
            let look rows (some: AttackBatch) x =
                let logits = classifier x

                let value =
                    match some.Targets with
                    | None -> (Margin.perSample logits some.Labels).neg()
                    | Some targets -> CrossEntropy.perSample logits targets

                let solved = Attack.won ledger rows (Some value) logits some.Labels some.Targets

                // A number is lower than none.
                value.nan_to_num (infinity, System.Nullable infinity, System.Nullable -infinity), solved

            // Writes down what was found, with its images, and returns the rows that continue.
            let sort (rows: int64[]) solved x =
                AttackLog.look ledger 1L 0L rows solved
                let won = AttackLog.places true solved
                AttackLog.store ledger (won |> Array.map (fun place -> rows[int place])) won x
                AttackLog.places false solved

            let rest left search =
                if Array.length left = search.Rows.Length then search else narrow left search

            let step index search =
                let images = search.Victims.Images
                let place = index % ahead

                let search =
                    if place = 0 && index > 0 then
                        { search with Luck = foresee how threat search.Draw images index }
                    else
                        search

                let side = sideAt how threat images index

                let search =
                    if side = search.Window.Side then
                        search
                    else
                        { search with Window = SquareWindow.create threat images side }

                let drawn (all: Tensor) = all.select (1L, int64 place)

                let x =
                    SquareWindow.propose
                        threat
                        search.Window
                        (drawn search.Luck.Corners)
                        (drawn search.Luck.Turns)
                        (drawn search.Luck.Signs)
                        images
                        search.Best
                let value, solved = look search.Rows search.Victims x
                let better = value.lt(search.Value).logical_or(torch.tensor(solved).``to`` value.device)
                let left = sort search.Rows solved x

                {
                    search with
                        Best = torch.where (Shape.perSample x better, x, search.Best)
                        Value = torch.where (better, value, search.Value)
                }
                |> rest left

            let rec climb index search =
                if index < how.Queries && search.Rows.Length > 0 then
                    let later = Scope.keeping tensors (fun () -> step index search)
                    tensors search |> Scope.release (tensors later)
                    climb (index + 1) later
                else
                    search

            Scope.value (fun () -> Attack.first ledger classifier victims |> ignore)
            let right = AttackLog.unsolved ledger (Array.init victims.Ids.Length int64)

            let from rows =
                let some = AttackBatch.pick rows victims
                let draw = Rng.pick rows draw
                let x = SquareWindow.start threat (Rng.sub "start" draw) some.Images
                let value, solved = look rows some x
                let left = sort rows solved x

                {
                    Rows = rows
                    Draw = draw
                    Victims = some
                    Best = x
                    Value = value
                    Luck = foresee how threat draw some.Images 0
                    Window = SquareWindow.create threat some.Images (sideAt how threat some.Images 0)
                }
                |> rest left

            if right.Length > 0 then
                let ended = climb 0 (Scope.keeping tensors (fun () -> from right))
                AttackLog.store ledger ended.Rows (Array.init ended.Rows.Length int64) ended.Best

            Attack.closeJudged ledger classifier victims)
