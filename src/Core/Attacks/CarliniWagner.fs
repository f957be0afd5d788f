namespace AdvContrast.Core

open TorchSharp

/// How Carlini and Wagner's L2 attack looks for the nearest adversarial image.
type CarliniWagner = {
    /// c: what the missing margin counts for against the squared distance.
    Weight: float
    /// kappa: by how much another class must win for an image to count.
    Confidence: float
    Steps: int
    /// Adam's learning rate, in the unbounded coordinates.
    Rate: float
    /// A sample whose objective no longer falls, looked at ten times a run, is left where it is.
    Abort: bool
}

/// Carlini and Wagner's L2 attack (2017, section VI.A): Adam on the squared distance plus c times what is
/// missing to a margin, in coordinates that cannot leave the pixel box. It is bound to no radius, and looks
/// for the nearest image instead; the threat gives the box.
[<RequireQualifiedAccess>]
module CarliniWagner =

    /// The form at a fixed c that libraries of attacks run: c 1, confidence 0, 50 steps at 0.01.
    let defaults = { Weight = 1.0; Confidence = 0.0; Steps = 50; Rate = 0.01; Abort = true }

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
    type private Search = { Rows: int64[]; Delta: Tensor; Adam: Tree; Before: Tensor }

    let private tensors search = seq {
        search.Delta
        yield! Tree.tensors search.Adam
        search.Before
    }

    let private pick (rows: int64[]) (all: Tensor) =
        Scope.tensor (fun () -> all.index_select (0L, torch.tensor(rows).``to`` all.device))

    /// One run from the images themselves with a fresh optimiser, at a weight c of its own for each sample:
    /// what a search over c repeats. It tests every iterate but the one after the last step. A sample's
    /// result depends on no other sample.
    ///
    /// weights: [n], in the images' dtype, 0 or more; they stand for the weight in `how`. Result: success is
    /// that some iterate had the margin asked for; stored is the nearest of those (in L2, from the image as
    /// given), or the original; points are counted from the first iterate, which is the image itself.
    let run how threat (classifier: Classifier) (victims: Victims) (weights: Tensor) : Harm =
        Shape.same (nameof weights) weights "labels" victims.Labels
        Shape.positive (nameof how.Rate) how.Rate
        Shape.nonNegative (nameof how.Confidence) how.Confidence

        Scope.keeping Attack.tensors (fun () ->
            let n = victims.Ids.Length
            let device = victims.Images.device
            let original = victims.Images.detach ()
            let start = numbers threat original
            let begun = pixels threat start
            let stored = original.clone ()
            let nearest = torch.full_like (weights, System.Double.PositiveInfinity.ToScalar())
            let forwards, gradients, firstSuccess =
                Array.zeroCreate n, Array.zeroCreate n, Array.create n -1L
            let flags = System.Collections.Generic.HashSet<string>()
            let rule =
                Transform.chain [
                    Transform.adam 0.9 0.999 1e-8
                    Transform.scale (Schedule.constant how.Rate)
                ]
            let every = max 1 ((how.Steps + 9) / 10)

            // Which samples go on: those whose objective still falls, at iterates where that is looked at.
            let falls index search (value: Tensor) =
                Scope.tensor (fun () ->
                    if how.Abort && index % every = 0 then
                        value.isfinite().logical_and(value.le (search.Before * 0.9999))
                    else
                        value.isfinite ())

            // Keeps, of the samples that go on, the images that have the margin and are nearer than before.
            let keep index search (x: Tensor) (rise: Tensor) (value: Tensor) =
                Scope.value (fun () ->
                    use _ = torch.no_grad ()
                    let rows = torch.tensor(search.Rows).``to`` device
                    let passed = rise.gt(how.Confidence.ToScalar()).logical_and(falls index search value)

                    passed.cpu().data<bool>().ToArray()
                    |> Array.iteri (fun place passed ->
                        let row = int search.Rows[place]
                        if passed && firstSuccess[row] < 0L then firstSuccess[row] <- int64 index)

                    let distance = Ball.distance L2 (original.index_select (0L, rows)) x
                    let before = nearest.index_select (0L, rows)
                    let better = passed.logical_and (distance.lt before)
                    let images = stored.index_select (0L, rows)
                    nearest.index_copy_ (0L, rows, torch.where (better, distance, before)) |> ignore

                    stored.index_copy_ (0L, rows, torch.where (Shape.perSample x better, x, images))
                    |> ignore)

            let objective index search : Objective =
                fun delta ->
                    let own = pick search.Rows
                    let x = pixels threat (own start + delta)
                    let logits = classifier x

                    let rise =
                        match victims.Targets with
                        | None -> Margin.perSample logits (own victims.Labels)
                        | Some targets -> Margin.targeted logits (own targets)

                    let moved = (x - own begun).reshape([| x.shape[0]; -1L |]).square().sum(1L)
                    let missing = (how.Confidence - rise).clamp_min(0.0.ToScalar())
                    let value = moved + missing * own weights
                    keep index search x rise value
                    value

            let step index search =
                // Where the last step leads is never looked at.
                let more = index + 1 < how.Steps
                let value, gradient = GradientAttack.look more (objective index search) search.Delta
                let goesOn = (falls index search value).cpu().data<bool>().ToArray()

                if not (value.isfinite().all().item<bool>()) then flags.Add "not finite" |> ignore

                for row in search.Rows do
                    forwards[int row] <- forwards[int row] + 1L
                    gradients[int row] <- gradients[int row] + (if more then 1L else 0L)

                match gradient with
                | None -> { search with Rows = [||] }
                | Some gradient ->
                    let still = (Ball.length Linf gradient).eq(0.0.ToScalar())
                    if still.logical_and(value.gt (0.0.ToScalar())).any().item<bool>() then
                        flags.Add "zero gradient" |> ignore

                    let updates, adam =
                        rule.Update
                            (Progress.start how.Steps 1)
                            (Map [ "delta", gradient ])
                            (Map [ "delta", search.Delta ])
                            search.Adam

                    let left = [|
                        for place in 0 .. goesOn.Length - 1 do
                            if goesOn[place] then int64 place
                    |]

                    let narrow (x: Tensor) = if left.Length = goesOn.Length then x else pick left x

                    {
                        Rows = left |> Array.map (fun place -> search.Rows[int place])
                        Delta = narrow (search.Delta - updates["delta"])
                        Adam =
                            adam
                            |> Map.map (fun _ leaf ->
                                match leaf with
                                | Value x -> Value(narrow x)
                                | other -> other)
                        Before = narrow (if index % every = 0 then value else search.Before)
                    }

            let rec search index now =
                if index < how.Steps && now.Rows.Length > 0 then
                    let later = Scope.keeping tensors (fun () -> step index now)
                    tensors now |> Scope.release (tensors later)
                    search (index + 1) later

            let delta = torch.zeros_like start

            search 0 {
                Rows = Array.init n int64
                Delta = delta
                Adam = rule.Init(Map [ "delta", delta ])
                Before = torch.full_like (weights, System.Double.PositiveInfinity.ToScalar())
            }

            let counts (values: int64[]) = torch.tensor(values).``to`` device

            {
                Images = stored
                Success = nearest.isfinite ()
                Distance = Attack.distances original stored
                FirstSuccess = counts firstSuccess
                Forwards = counts forwards
                Gradients = counts gradients
                Flags = Set.ofSeq flags
            })

    // Rows that all lie in [0, 1] and add up to 1 are no logits; the original attack refuses them.
    let private areProbabilities (logits: Tensor) =
        let near (low: float) (high: float) (x: Tensor) =
            x.ge(low.ToScalar()).logical_and(x.le (high.ToScalar())).all().item<bool>()

        logits.shape[0] > 0L && near -1e-4 1.0001 logits && near 0.999 1.001 (logits.sum 1L)

    /// The attack at its one weight. Images that are misclassified as they are stay so. Success is that of
    /// the stored image, however far it is: <c>Attack.within</c> holds it to the threat's radius.
    let attack how : Attack =
        Shape.nonNegative (nameof how.Weight) how.Weight

        let text =
            sprintf
                "C&W L2, c %g, confidence %g, %s%d steps of %g"
                how.Weight
                how.Confidence
                (if how.Abort then "at most " else "")
                how.Steps
                how.Rate

        Named.create text (fun _ threat classifier victims ->
            Scope.keeping Attack.tensors (fun () ->
                let left, suspect =
                    Scope.value (fun () ->
                        use _ = torch.no_grad ()
                        let logits = classifier victims.Images
                        let solved = Attack.succeeded logits victims.Labels victims.Targets
                        let solved = solved.cpu().data<bool>().ToArray()

                        [|
                            for row in 0 .. solved.Length - 1 do
                                if not solved[row] then int64 row
                        |],
                        areProbabilities logits)

                let some = {
                    Ids = left |> Array.map (fun row -> victims.Ids[int row])
                    Images = pick left victims.Images
                    Labels = pick left victims.Labels
                    Targets = victims.Targets |> Option.map (pick left)
                }

                let found =
                    if left.Length = 0 then
                        None
                    else
                        let weights =
                            torch.full_like (some.Labels, how.Weight.ToScalar(), some.Images.dtype)
                        Some(run how threat classifier some weights)

                let rows = torch.tensor(left).``to`` victims.Images.device

                // What the clean look has cost or found, with what the run found in its rows.
                let put (all: Tensor) (part: Harm -> Tensor) =
                    match found with
                    | None -> all.clone ()
                    | Some found -> all.index_copy (0L, rows, part found)

                let stored = put (victims.Images.detach ()) _.Images
                let success, distances = Attack.judge classifier victims stored
                let ones, nothing = torch.ones_like victims.Labels, torch.zeros_like victims.Labels
                let flags = found |> Option.map _.Flags |> Option.defaultValue Set.empty

                {
                    Images = stored
                    Success = success
                    Distance = distances
                    FirstSuccess =
                        put nothing (fun found ->
                            let first = found.FirstSuccess
                            torch.where (first.ge (0L.ToScalar()), first + 1L, first))
                    Forwards = put ones (fun found -> found.Forwards + 1L)
                    Gradients = put nothing _.Gradients
                    Flags = if suspect then Set.add "probabilities" flags else flags
                }))
