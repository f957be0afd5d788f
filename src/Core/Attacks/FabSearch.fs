namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// How the fast adaptive boundary attack looks for the nearest adversarial image.
type Fab = {
    /// None: every step goes to the border that seems nearest, for k - 1 gradients. Some t: a run towards
    /// each of the t other classes that are likeliest for the clean image, for one gradient a step.
    Targets: int option
    Steps: int
    /// alpha_max: the most that a step leans towards the border's point nearest to the original.
    Lean: float
    /// eta: how far a step goes, where 1 is onto the border.
    Overshoot: float
    /// beta: what is left of the distance to the original after a step that was misclassified.
    Backward: float
    /// Runs for each border; the first is from the image itself.
    Restarts: int
}

/// Runs of the fast adaptive boundary attack: from some point towards borders of the linearised classifier,
/// step after step, and back whenever one is passed.
[<RequireQualifiedAccess>]
module FabSearch =

    // What runs find, one row a victim; written in place.
    [<NoEquality; NoComparison>]
    type internal Found = { Log: AttackLog; Nearest: Tensor }

    // The images still in a run, one row each; Rows says where they stand among all.
    [<NoEquality; NoComparison>]
    type internal Search = {
        Rows: int64[]
        Origin: Tensor
        Labels: Tensor
        Goals: Tensor option
        /// The classes whose borders count, [n; r].
        Rivals: Tensor
        X: Tensor
    }

    let private tensors search = seq {
        search.Origin
        search.Labels
        yield! Option.toList search.Goals
        search.Rivals
        search.X
    }

    let private select (places: int64[]) search =
        let pick = AttackLog.pick places

        {
            Rows = places |> Array.map (fun place -> search.Rows[int place])
            Origin = pick search.Origin
            Labels = pick search.Labels
            Goals = Option.map pick search.Goals
            Rivals = pick search.Rivals
            X = pick search.X
        }

    let internal start (images: Tensor) = {
        Log = AttackLog.start images
        Nearest =
            torch.full (
                [| images.shape[0] |],
                System.Double.PositiveInfinity.ToScalar(),
                images.dtype,
                images.device
            )
    }

    // How hard it is to rise by one unit along a slope: its length in the dual norm.
    let private dualLength norm slope =
        match norm with
        | Linf -> Projection.length L1 slope
        | L2 -> Projection.length L2 slope
        | L1 -> Projection.length Linf slope

    // The nearest border as the linearised classifier has it: how far its class is above the label, [n], and
    // the slope of that. A victim with a target has one border, that of the target with all other classes.
    let private border norm (classifier: Classifier) search =
        let both (value: Tensor, slope: Tensor) = seq [ value; slope ]
        let all (ratio: Tensor, value: Tensor, slope: Tensor) = seq [ ratio; value; slope ]

        Scope.keeping both (fun () ->
            use _ = torch.enable_grad ()
            let leaf = search.X.detach().requires_grad_ true
            let logits = classifier leaf

            let rises =
                match search.Goals with
                | Some targets -> (Margin.targeted logits targets).unsqueeze 1L
                | None -> logits.gather (1L, search.Rivals) - logits.gather (1L, search.Labels.unsqueeze 1L)

            let count = rises.shape[1]

            let look place =
                let rise = rises.select (1L, place)
                rise.detach (), GradientAttackLoop.slope (place + 1L < count) rise leaf

            // A border that is no number is farther than any other.
            let far (value: Tensor, slope) =
                let length = dualLength norm (GradientAttackLoop.calm slope)
                let ratio = value.abs () / length.clamp_min (1e-12.ToScalar())
                ratio.masked_fill (ratio.isnan (), System.Double.PositiveInfinity.ToScalar())

            let rec nearest (ratio: Tensor, value: Tensor, slope: Tensor) place =
                if place = count then
                    value, slope
                else
                    let now =
                        Scope.keeping all (fun () ->
                            let value', slope' = look place
                            let ratio' = far (value', slope')
                            let nearer = ratio'.lt ratio
                            torch.where (nearer, ratio', ratio),
                            torch.where (nearer, value', value),
                            torch.where (Shape.perSample slope nearer, slope', slope))

                    all (ratio, value, slope) |> Scope.release (all now)
                    nearest now (place + 1L)

            let value, slope = look 0L
            if count = 1L then value, slope else nearest (far (value, slope), value, slope) 1L)

    // From X towards the border and, in part, towards the border's point nearest to the original.
    let private stepped (how: Fab) threat search (value: Tensor, slope: Tensor) =
        Scope.tensor (fun () ->
            let n = search.X.shape[0]
            let wide (x: Tensor) = x.``to`` torch.float64
            let points = torch.stack [ wide search.X; wide search.Origin ]
            let value = wide value
            let moved = (points[1L] - points[0L]) * slope
            let atOrigin = value + moved.reshape([| n; -1L |]).sum(1L)
            let moves =
                Hyperplane.moves threat.Norm threat.Box slope points (torch.stack [ value; atOrigin ])
            let length (move: Tensor) = (Projection.length threat.Norm move).clamp_min(1e-8.ToScalar())
            let here = length moves[0L]
            let lean = (here / (here + length moves[1L])).clamp_max(how.Lean.ToScalar())
            let ahead = points + moves * how.Overshoot
            let next = ahead[0L] + (ahead[1L] - ahead[0L]) * Shape.perSample slope lean
            next.``to`` search.X.dtype |> Projection.boxed threat)

    // One step of all images in a run. Given a radius, an image leaves once it is broken within it.
    let private step (how: Fab) threat radius (classifier: Classifier) found search =
        let ledger = found.Log
        let value, slope = border threat.Norm classifier search

        AttackLog.bools (value.isfinite ()) |> AttackLog.note ledger NotFinite.Loss search.Rows
        let value, slope = GradientAttackLoop.calm value, AttackLog.slope ledger search.Rows None slope
        let borders = if search.Goals.IsSome then 1L else search.Rivals.shape[1]
        let x = stepped how threat search (value, slope)

        let broken =
            use _ = torch.no_grad ()
            let logits = classifier x
            let won = Attack.won ledger search.Rows None logits search.Labels search.Goals
            torch.tensor(won).``to`` x.device

        let distance = Projection.distance threat.Norm search.Origin x

        let counts =
            match radius with
            | Some radius -> broken.logical_and (distance.le ((radius: float).ToScalar()))
            | None -> broken

        let won = AttackLog.bools counts
        let none = Array.map (fun _ -> false) won
        // The point that the slope was taken at was tested when the last step led there.
        AttackLog.look ledger 1L borders search.Rows none
        AttackLog.look ledger 1L 0L search.Rows won
        let rows = AttackLog.index x search.Rows
        let before = found.Nearest.index_select (0L, rows)
        let better = counts.logical_and (distance.lt before)
        found.Nearest.index_copy_ (0L, rows, torch.where (better, distance, before)) |> ignore
        let places = AttackLog.places true (AttackLog.bools better)
        AttackLog.store ledger (places |> Array.map (fun place -> search.Rows[int place])) places x
        let pulled = search.Origin + (x - search.Origin) * how.Backward
        let later = { search with X = torch.where (Shape.perSample x broken, pulled, x) }
        if radius.IsSome && Array.contains true won then
            select (AttackLog.places false won) later
        else
            later

    // One run from somewhere, over some of the victims.
    let internal descend (how: Fab) threat radius classifier found search =
        let rec go number now =
            if number < how.Steps && now.Rows.Length > 0 then
                let later = Scope.keeping tensors (fun () -> step how threat radius classifier found now)
                tensors now |> Scope.release (tensors later)
                go (number + 1) later

        go 0 search

    let internal check (how: Fab) =
        Shape.nonNegative (nameof how.Lean) how.Lean
        Shape.positive (nameof how.Overshoot) how.Overshoot
        Shape.nonNegative (nameof how.Backward) how.Backward

        match how.Targets with
        | Some count when count < 1 ->
            invalidArg (nameof how.Targets) (sprintf "Targets must be 1 or more, got %d." count)
        | _ -> ()

    /// One run from the images themselves, towards given decision boundaries: what restarts and targets
    /// repeat. It tests every iterate but the first. A sample's result depends on no other sample.
    ///
    /// rivals: int64 [n; r], for each sample the classes whose borders with the label count; any other class
    /// than the label is a success. Where the victims have targets those count instead. Result: stored is the
    /// nearest misclassified image in the threat's norm, however far, or the original; Forwards and Gradients
    /// are passes, r gradients a step.
    let at how threat (classifier: Classifier) (victims: AttackBatch) (rivals: Tensor) : AttackResult =
        check how
        Shape.rank "n;r" (nameof rivals) rivals

        Scope.keeping Attack.tensors (fun () ->
            let origin = victims.Images.detach ()
            let found = start origin

            descend how threat None classifier found {
                Rows = Array.init victims.Ids.Length int64
                Origin = origin
                Labels = victims.Labels.alias ()
                Goals = victims.Targets |> Option.map _.alias()
                Rivals = rivals.alias ()
                X = origin.alias ()
            }

            Attack.close found.Log victims (found.Nearest.isfinite ()))
