namespace AdvContrast.Core

open TorchSharp

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

/// The fast adaptive boundary attack, FAB, and its targeted form FAB-T (Croce and Hein 2020, "Minimally
/// distorted adversarial examples with a fast adaptive boundary attack" and "Reliable evaluation of
/// adversarial robustness ..."). It steps onto borders of the linearised classifier and looks for the nearest
/// image beyond one; the threat gives norm and box.
[<RequireQualifiedAccess>]
module Fab =

    /// FAB as published: 100 steps, alpha_max 0.1, eta 1.05, beta 0.9, one run.
    let untargeted = {
        Targets = None
        Steps = 100
        Lean = 0.1
        Overshoot = 1.05
        Backward = 0.9
        Restarts = 1
    }

    /// FAB-T as in AutoAttack: towards the 9 likeliest other classes, or all where there are fewer.
    let targeted = { untargeted with Targets = Some 9 }

    // What is known of all victims, one row each; written in place as runs go on.
    [<NoEquality; NoComparison>]
    type private Ledger = {
        Victims: Victims
        Stored: Tensor
        Nearest: Tensor
        Forwards: int64[]
        Gradients: int64[]
        FirstSuccess: int64[]
        Flags: System.Collections.Generic.HashSet<string>
    }

    // The images still in a run, one row each; Rows says where they stand among all.
    [<NoEquality; NoComparison>]
    type private Search = {
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

    let private index (like: Tensor) (rows: int64[]) = torch.tensor(rows).``to`` like.device

    let private pick (rows: int64[]) (all: Tensor) =
        Scope.tensor (fun () -> all.index_select (0L, index all rows))

    let private select (places: int64[]) search = {
        Rows = places |> Array.map (fun place -> search.Rows[int place])
        Origin = pick places search.Origin
        Labels = pick places search.Labels
        Goals = search.Goals |> Option.map (pick places)
        Rivals = pick places search.Rivals
        X = pick places search.X
    }

    let private readBools (mask: Tensor) =
        Scope.value (fun () -> mask.cpu().contiguous().data<bool>().ToArray())

    let private places wanted (flags: bool[]) = [|
        for place in 0 .. flags.Length - 1 do
            if flags[place] = wanted then int64 place
    |]

    let private openLedger (victims: Victims) =
        let n = victims.Ids.Length
        let stored = victims.Images.detach().clone()

        {
            Victims = victims
            Stored = stored
            Nearest =
                torch.full (
                    [| int64 n |],
                    System.Double.PositiveInfinity.ToScalar(),
                    stored.dtype,
                    stored.device
                )
            Forwards = Array.zeroCreate n
            Gradients = Array.zeroCreate n
            FirstSuccess = Array.create n -1L
            Flags = System.Collections.Generic.HashSet<string>()
        }

    let private close ledger success : Harm =
        let counts (values: int64[]) = torch.tensor(values).``to`` ledger.Stored.device

        {
            Images = ledger.Stored
            Success = success
            Distance = Attack.distances ledger.Victims.Images ledger.Stored
            FirstSuccess = counts ledger.FirstSuccess
            Forwards = counts ledger.Forwards
            Gradients = counts ledger.Gradients
            Flags = Set.ofSeq ledger.Flags
        }

    // How hard it is to rise by one unit along a slope: its length in the dual norm.
    let private dualLength norm slope =
        match norm with
        | Linf -> Ball.length L1 slope
        | L2 -> Ball.length L2 slope
        | L1 -> Ball.length Linf slope

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
                rise.detach (), GradientAttack.slope (place + 1L < count) rise leaf

            let far (value: Tensor, slope) =
                value.abs () / (dualLength norm slope).clamp_min(1e-12.ToScalar())

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
            let length (move: Tensor) = (Ball.length threat.Norm move).clamp_min(1e-8.ToScalar())
            let here = length moves[0L]
            let lean = (here / (here + length moves[1L])).clamp_max(how.Lean.ToScalar())
            let ahead = points + moves * how.Overshoot
            let next = ahead[0L] + (ahead[1L] - ahead[0L]) * Shape.perSample slope lean
            next.``to`` search.X.dtype |> Ball.boxed threat)

    // One step of all images in a run. Given a radius, an image leaves once it is broken within it.
    let private step (how: Fab) threat radius (classifier: Classifier) ledger search =
        let goals = ledger.Victims.Targets
        let value, slope = border threat.Norm classifier search

        let finite (x: Tensor) = x.isfinite().all().item<bool>()

        let value, slope =
            if Scope.value (fun () -> finite value && finite slope) then
                value, slope
            else
                ledger.Flags.Add "not finite" |> ignore
                let calm (x: Tensor) = x.nan_to_num (0.0, 0.0, 0.0)
                calm value, calm slope

        if Scope.value (fun () -> (Ball.length Linf slope).eq(0.0.ToScalar()).any().item<bool>()) then
            ledger.Flags.Add "zero gradient" |> ignore

        let borders = if goals.IsSome then 1L else search.Rivals.shape[1]
        let x = stepped (how: Fab) threat search (value, slope)

        let broken =
            use _ = torch.no_grad ()
            Attack.succeeded (classifier x) search.Labels search.Goals

        let distance = Ball.distance threat.Norm search.Origin x

        let counts =
            match radius with
            | Some radius -> broken.logical_and (distance.le ((radius: float).ToScalar()))
            | None -> broken

        let found = readBools counts

        search.Rows
        |> Array.iteri (fun place row ->
            let row = int row
            ledger.Gradients[row] <- ledger.Gradients[row] + borders
            ledger.Forwards[row] <- ledger.Forwards[row] + 2L

            if found[place] && ledger.FirstSuccess[row] < 0L then
                ledger.FirstSuccess[row] <- ledger.Forwards[row] - 1L)

        let rows = index x search.Rows
        let before = ledger.Nearest.index_select (0L, rows)
        let better = counts.logical_and (distance.lt before)
        let images = ledger.Stored.index_select (0L, rows)

        ledger.Nearest.index_copy_ (0L, rows, torch.where (better, distance, before)) |> ignore
        ledger.Stored.index_copy_ (0L, rows, torch.where (Shape.perSample x better, x, images)) |> ignore

        let pulled = search.Origin + (x - search.Origin) * how.Backward
        let later = { search with X = torch.where (Shape.perSample x broken, pulled, x) }
        if radius.IsSome && Array.contains true found then select (places false found) later else later

    // One run from somewhere, over some of the victims; says which were not broken within the radius.
    let private descend (how: Fab) threat radius classifier ledger search =
        let rec go number now =
            if number < how.Steps && now.Rows.Length > 0 then
                let later = Scope.keeping tensors (fun () -> step how threat radius classifier ledger now)
                tensors now |> Scope.release (tensors later)
                go (number + 1) later
            else
                now.Rows

        go 0 search

    let private check (how: Fab) =
        Shape.nonNegative (nameof how.Lean) how.Lean
        Shape.positive (nameof how.Overshoot) how.Overshoot
        Shape.nonNegative (nameof how.Backward) how.Backward

        match how.Targets with
        | Some count when count < 1 ->
            invalidArg (nameof how.Targets) (sprintf "Targets must be 1 or more, got %d." count)
        | _ -> ()

    /// One run from the images themselves, towards borders of one's own choice: what restarts and targets
    /// repeat. It tests every iterate but the first. A sample's result depends on no other sample.
    ///
    /// rivals: int64 [n; r], for each sample the classes whose borders with the label count; any other class
    /// than the label is a success. Where the victims have targets those count instead. Result: stored is the
    /// nearest misclassified image in the threat's norm, however far, or the original; Forwards and Gradients
    /// are passes, r gradients a step.
    let run how threat (classifier: Classifier) (victims: Victims) (rivals: Tensor) : Harm =
        check how
        Shape.rank "n;r" (nameof rivals) rivals

        Scope.keeping Attack.tensors (fun () ->
            let ledger = openLedger victims
            let origin = victims.Images.detach ()

            descend how threat None classifier ledger {
                Rows = Array.init victims.Ids.Length int64
                Origin = origin
                Labels = victims.Labels.alias ()
                Goals = victims.Targets |> Option.map _.alias()
                Rivals = rivals.alias ()
                X = origin.alias ()
            }
            |> ignore

            close ledger (ledger.Nearest.isfinite ()))

    // Where a later run begins: at random, half as far as the image is known, or allowed, to be broken.
    let private restarted threat draw (nearest: Tensor) (origin: Tensor) =
        Scope.tensor (fun () ->
            let shape = List.ofArray origin.shape[1..]

            let direction =
                match threat.Norm with
                | Linf -> Draw.uniform shape draw * 2.0 - 1.0
                | _ -> Draw.normal shape draw

            let direction = direction.``to``(origin.device).``to``(origin.dtype)
            let length = (Ball.length threat.Norm direction).clamp_min(1e-12.ToScalar())
            let far = nearest.clamp_max (threat.Radius.ToScalar()) * 0.5
            origin + direction * Shape.perSample direction (far / length) |> Ball.boxed threat)

    // The borders of each run, as [n; r] each, for the images that are attacked.
    let private rivals (how: Fab) (logits: Tensor) (labels: Tensor) =
        let k = logits.shape[1]
        let label = labels.unsqueeze 1L

        match how.Targets with
        | _ when k < 2L -> []
        | None -> [
            (label + torch.arange (1L.ToScalar(), k.ToScalar(), torch.int64, labels.device))
                .remainder(k.ToScalar())
          ]
        | Some count ->
            let others =
                let lost = System.Double.NegativeInfinity.ToScalar()
                logits.detach().scatter(1L, label, torch.full_like (label, lost, logits.dtype))
            let struct (_, likeliest) = others.sort (1L, true, true)
            List.init (min count (int k - 1)) (fun rank -> likeliest.narrow (1L, int64 rank, 1L))

    let private search radiusOf (how: Fab) (draw: Draw) threat (classifier: Classifier) (victims: Victims) =
        Scope.keeping Attack.tensors (fun () ->
            let ledger = openLedger victims
            let radius = radiusOf threat

            let logits =
                use _ = torch.no_grad ()
                classifier victims.Images

            let solved = readBools (Attack.succeeded logits victims.Labels victims.Targets)

            for row in 0 .. solved.Length - 1 do
                ledger.Forwards[row] <- 1L
                if solved[row] then ledger.FirstSuccess[row] <- 0L

            let borders =
                match victims.Targets with
                | Some targets -> [ targets.unsqueeze 1L ]
                | None -> rivals how logits victims.Labels

            let descents = List.allPairs (List.indexed borders) [ 0 .. how.Restarts - 1 ]

            let go (rows: int64[]) ((border, rivals), number) =
                if rows.Length = 0 then
                    rows
                else
                    Scope.value (fun () ->
                        let origin = pick rows ledger.Victims.Images
                        let ids = { draw with Ids = rows |> Array.map (fun row -> draw.Ids[int row]) }

                        let x =
                            if number = 0 then
                                origin.alias ()
                            else
                                restarted
                                    threat
                                    (Draw.sub (sprintf "border %d/restart %d" border number) ids)
                                    (pick rows ledger.Nearest)
                                    origin

                        descend how threat radius classifier ledger {
                            Rows = rows
                            Origin = origin
                            Labels = pick rows victims.Labels
                            Goals = victims.Targets |> Option.map (pick rows)
                            Rivals = pick rows rivals
                            X = x
                        })

            List.fold go (places false solved) descents |> ignore
            let success, _ = Attack.judge classifier victims ledger.Stored
            close ledger success)

    let private named radiusOf (how: Fab) : Attack =
        check how

        let kind =
            match how.Targets with
            | None -> "FAB"
            | Some count -> sprintf "FAB-T, %d targets" count
        let runs = if how.Restarts = 1 then "" else sprintf ", %d runs" how.Restarts

        Named.create (sprintf "%s, %d steps%s" kind how.Steps runs) (search radiusOf how)

    /// The nearest misclassified image that any of the runs finds, all of them on all images. Success is that
    /// of the stored image, however far it is: <c>Attack.within</c> holds it to a radius, so that one search
    /// answers for every radius. Images that are misclassified as they are stay so. Where there are targets,
    /// the one border is the target's. Of the threat's radius only restarts make use. Gradients counts
    /// backward passes.
    let minimal how : Attack = named (fun _ -> None) how

    /// Whether an image can be broken within the threat's radius: as <c>minimal</c>, but an image leaves at
    /// its first misclassified iterate within the radius, which is what is stored.
    let attack how : Attack = named (fun threat -> Some threat.Radius) how
