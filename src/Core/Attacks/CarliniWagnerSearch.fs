namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses

/// How Carlini and Wagner's L2 attack looks for the nearest adversarial image.
type CarliniWagner = {
    /// c: what the missing margin counts for against the squared distance; where a search looks for it, what
    /// that begins with.
    Weight: float
    /// kappa: by how much another class must win for an image to count.
    Confidence: float
    Steps: int
    /// Adam's learning rate, in the unbounded coordinates.
    Rate: float
    /// A sample whose objective no longer falls, checked ten times a run, stops.
    Abort: bool
}

/// One run of Carlini and Wagner's L2 attack (2017, section VI.A): Adam on the squared distance plus c times
/// what is missing to a margin, in coordinates that cannot leave the pixel box.
[<RequireQualifiedAccess>]
module CarliniWagnerSearch =

    // Pixels as functions of unbounded numbers, x = centre + half tanh(w), and back. The factor keeps pixels
    // on the faces of the box, whose w would be infinite, where they have a slope.
    let private pixels threat (w: Tensor) =
        match threat.Box with
        | Some(low, high) -> w.tanh () * (0.5 * (high - low)) + 0.5 * (high + low)
        | None -> w.alias ()

    let private numbers threat (x: Tensor) =
        match threat.Box with
        | Some(low, high) -> ((x - 0.5 * (high + low)) * (0.999999 / (0.5 * (high - low)))).atanh()
        | None -> x.alias ()

    // What a sample that still moves carries on, one row each; Rows says where it stands among all.
    [<NoEquality; NoComparison>]
    type private Search = { Rows: int64[]; Delta: Tensor; Adam: TensorTree; Before: Tensor }

    let private tensors search = seq {
        search.Delta
        yield! TensorTree.tensors search.Adam
        search.Before
    }

    // The ledger of a run, and how near its nearest success is, which is what it has stored: [n].
    let internal make how threat (classifier: Classifier) (victims: AttackBatch) (weights: Tensor) =
        Shape.same (nameof weights) weights "labels" victims.Labels
        Shape.positive (nameof how.Rate) how.Rate
        Shape.nonNegative (nameof how.Confidence) how.Confidence

        Scope.keeping (fun (ledger: AttackLog, nearest: Tensor) -> seq [ ledger.Stored; nearest ]) (fun () ->
            let original = victims.Images.detach ()
            let start = numbers threat original
            let begun = pixels threat start
            let ledger = AttackLog.start original
            let nearest = torch.full_like (weights, System.Double.PositiveInfinity.ToScalar())
            let rule =
                Transform.chain [
                    Transform.adam 0.9 0.999 1e-8
                    Transform.scale (Schedule.constant how.Rate)
                ]
            let every = max 1 ((how.Steps + 9) / 10)

            // Which samples continue: those whose objective still falls, at iterates where that is checked.
            let falls index search (value: Tensor) =
                Scope.tensor (fun () ->
                    if how.Abort && index % every = 0 then
                        value.isfinite().logical_and(value.le (search.Before * 0.9999))
                    else
                        value.isfinite ())

            // Keeps, of the samples that go on, the images that have the margin and are nearer than before.
            let keep index search (x: Tensor) (logits: Tensor) (rise: Tensor) (value: Tensor) =
                use _ = torch.no_grad ()
                let own = AttackLog.pick search.Rows
                let targets = Option.map own victims.Targets
                Attack.won ledger search.Rows (Some value) logits (own victims.Labels) targets |> ignore
                let rows = AttackLog.index original search.Rows
                let passed = rise.gt(how.Confidence.ToScalar()).logical_and(falls index search value)
                let distance = Projection.distance L2 (original.index_select (0L, rows)) x
                let before = nearest.index_select (0L, rows)
                let better = passed.logical_and (distance.lt before)
                nearest.index_copy_ (0L, rows, torch.where (better, distance, before)) |> ignore
                let places = AttackLog.places true (AttackLog.bools better)
                AttackLog.store ledger (places |> Array.map (fun place -> search.Rows[int place])) places x
                AttackLog.bools passed

            // The objective at x'(delta); writes down who has the margin there.
            let objective index search more : Objective =
                fun delta ->
                    let own = AttackLog.pick search.Rows
                    let x = pixels threat (own start + delta)
                    let logits = classifier x

                    let rise =
                        match victims.Targets with
                        | None -> Margin.perSample logits (own victims.Labels)
                        | Some targets -> Margin.targeted logits (own targets)

                    let moved = (x - own begun).reshape([| x.shape[0]; -1L |]).square().sum(1L)
                    let missing = (how.Confidence - rise).clamp_min(0.0.ToScalar())
                    let value = moved + missing * own weights

                    Scope.value (fun () -> keep index search x logits rise value)
                    |> AttackLog.look ledger 1L (if more then 1L else 0L) search.Rows

                    value

            let step index search =
                // The point after the last step is never evaluated.
                let more = index + 1 < how.Steps
                let value, gradient = GradientAttackLoop.look more (objective index search more) search.Delta
                let goesOn = AttackLog.bools (falls index search value)

                match gradient with
                | None -> { search with Rows = [||] }
                | Some gradient ->
                    // At the image itself with the margin reached, the objective is 0 and flat.
                    let gradient =
                        gradient |> AttackLog.slope ledger search.Rows (Some(value.gt (0.0.ToScalar())))

                    let updates, adam =
                        rule.Update
                            (Progress.start how.Steps 1)
                            (Map [ "delta", gradient ])
                            (Map [ "delta", search.Delta ])
                            search.Adam

                    let left = AttackLog.places true goesOn
                    let narrow (x: Tensor) = if left.Length = goesOn.Length then x else AttackLog.pick left x

                    {
                        Rows = left |> Array.map (fun place -> search.Rows[int place])
                        Delta = narrow (search.Delta - updates["delta"])
                        Adam = adam |> TensorTree.map narrow
                        Before = narrow (if index % every = 0 then value else search.Before)
                    }

            let rec search index now =
                if index < how.Steps && now.Rows.Length > 0 then
                    let later = Scope.keeping tensors (fun () -> step index now)
                    tensors now |> Scope.release (tensors later)
                    search (index + 1) later

            let delta = torch.zeros_like start

            search 0 {
                Rows = Array.init victims.Ids.Length int64
                Delta = delta
                Adam = rule.Init(Map [ "delta", delta ])
                Before = torch.full_like (weights, System.Double.PositiveInfinity.ToScalar())
            }

            ledger, nearest)

    /// A run from the images themselves with a fresh optimiser, at a weight c of its own for each sample:
    /// what a search over c repeats. It tests every iterate but the one after the last step. A sample's
    /// result depends on no other sample.
    ///
    /// weights: [n], in the images' dtype, 0 or more; they stand for the weight in `how`. Result: success is
    /// that some iterate had the margin asked for; stored is the nearest of those (in L2, from the image as
    /// given), or the original; points are counted from the first iterate, which is the image itself.
    let at how threat (classifier: Classifier) (victims: AttackBatch) (weights: Tensor) : AttackResult =
        Scope.keeping Attack.tensors (fun () ->
            let ledger, nearest = make how threat classifier victims weights
            Attack.close ledger victims (nearest.isfinite ()))
