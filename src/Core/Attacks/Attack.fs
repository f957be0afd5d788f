namespace AdvContrast.Core

open TorchSharp

/// What a loss may look at besides the logits, one row a sample.
[<NoEquality; NoComparison>]
type Aim = {
    /// int64 [n].
    Labels: Tensor
    /// Labels to reach, int64 [n]; None for an untargeted attack.
    Targets: Tensor option
    /// The logits of the untouched images, [n; k], without gradient.
    Clean: Tensor
}

/// How a gradient attack goes about its victims.
[<NoEquality; NoComparison>]
type Plan = {
    Ascent: Ascent
    /// What is raised, one after another, each in as many runs as the ascent has restarts: of logits [n; k],
    /// one value a sample. At least one.
    Objectives: (Tensor -> Aim -> Tensor) list
    /// What a reader must know of the plan: a harm's first flags.
    Notes: Set<string>
}

/// The images under attack.
[<NoEquality; NoComparison>]
type Victims = {
    /// One id a sample: what it draws depends on its id alone.
    Ids: int64[]
    /// [n; c; h; w], floating point, within the threat's box.
    Images: Tensor
    /// int64 [n].
    Labels: Tensor
    /// Labels to reach, int64 [n]; None for an untargeted attack.
    Targets: Tensor option
}

/// What an attack did, sample by sample. The tensors belong to the caller's scope.
[<NoEquality; NoComparison>]
type Harm = {
    /// The adversarial image where the attack succeeded; else the one of the highest loss, or from an attack
    /// that looks for the nearest image the original: [n; c; h; w].
    Images: Tensor
    /// Whether the stored image is misclassified, computed on that very image: bool [n].
    Success: Tensor
    /// How far the stored image is from the original, in each norm: [n].
    Distance: Map<Norm, Tensor>
    /// Points looked at before the first success, counting from 0 for the clean image; -1 for none: int64
    /// [n].
    FirstSuccess: Tensor
    /// Forward passes that each sample took part in, and gradients that were taken of it: int64 [n].
    Forwards: Tensor
    Gradients: Tensor
    /// What a reader must know: <c>"zero gradient"</c>, <c>"not finite"</c>, <c>"probabilities"</c> where the
    /// classifier seems to give those and not logits, <c>"few classes"</c> where the margin stands in for a
    /// loss that needs more classes.
    Flags: Set<string>
}

/// An attack on a classifier.
type Attack = Named<Draw -> Threat -> Classifier -> Victims -> Harm>

[<RequireQualifiedAccess>]
module Attack =

    let private norms = [ Linf; L2; L1 ]

    /// The tensors of a result.
    let tensors harm = seq {
        harm.Images
        harm.Success
        yield! Map.values harm.Distance
        harm.FirstSuccess
        harm.Forwards
        harm.Gradients
    }

    // Whether each row's verdict is what the attack wants: another label than the true one, or the target.
    let internal succeeded (logits: Tensor) (labels: Tensor) (targets: Tensor option) =
        Scope.tensor (fun () ->
            let guess = logits.argmax 1L

            match targets with
            | None -> guess.ne labels
            | Some target -> guess.eq target)

    /// How far images are from their originals, in each norm.
    let distances (original: Tensor) (images: Tensor) =
        norms |> List.map (fun norm -> norm, Ball.distance norm original images) |> Map.ofList

    /// Distances and success of stored images, recomputed from the images themselves.
    let judge (classifier: Classifier) (victims: Victims) (images: Tensor) =
        use _ = torch.no_grad ()
        let logits = classifier images
        let success = succeeded logits victims.Labels victims.Targets
        logits.Dispose()
        success, distances victims.Images images

    /// A gradient attack as an evaluation (Carlini et al. 2019): every visited point is tested, the clean
    /// image and the start among them, but for those of ascents in a wider ball that another goes on from;
    /// solved samples leave the batch, at once or at the end of the run as the ascent says; further runs go
    /// on with survivors alone. What a sample meets depends on its id alone, never on its batch.
    ///
    /// plan: what to run, from the threat, the victims and the number of classes.
    let planned text (plan: Threat -> Victims -> int64 -> Plan) : Attack =
        Named.create text (fun draw threat classifier victims ->
            let n = victims.Ids.Length
            let device = victims.Images.device
            let forwards, gradients, firstSuccess =
                Array.zeroCreate n, Array.zeroCreate n, Array.create n -1L
            let bestValue = Array.create n -infinity
            let flags = System.Collections.Generic.HashSet<string>()
            let index (rows: int64[]) = torch.tensor(rows).``to`` device
            let pick (rows: int64[]) (all: Tensor) =
                Scope.tensor (fun () -> all.index_select (0L, index rows))
            let unsolved (rows: int64[]) = rows |> Array.filter (fun row -> firstSuccess[int row] < 0L)

            Scope.keeping tensors (fun () ->
                let stored = victims.Images.detach().clone()

                let clean =
                    Scope.tensor (fun () ->
                        use _ = torch.no_grad ()
                        classifier victims.Images)

                let plan = plan threat victims clean.shape[1]
                flags.UnionWith plan.Notes

                let store (rows: int64[]) (places: int64[]) (x: Tensor) =
                    if rows.Length > 0 then
                        Scope.value (fun () -> stored.index_copy_ (0L, index rows, pick places x) |> ignore)

                // Looks at one point a row; says what the objective was there and which places go on. Where
                // no verdict is asked for, a success counts for nothing.
                let look classify objective verdict stops wantGradient (rows: int64[]) (x: Tensor) =
                    use scope = torch.NewDisposeScope()

                    let aim = {
                        Labels = pick rows victims.Labels
                        Targets = victims.Targets |> Option.map (pick rows)
                        Clean = pick rows clean
                    }

                    let mutable solved = [||]

                    let value, gradient =
                        x
                        |> GradientAttack.look wantGradient (fun x ->
                            let logits: Tensor = classify x
                            solved <-
                                Scope.value (fun () ->
                                    let won = succeeded logits aim.Labels aim.Targets
                                    won.cpu().data<bool>().ToArray() |> Array.map ((&&) verdict))
                            objective logits aim)

                    if not (value.isfinite().all().item<bool>()) then flags.Add "not finite" |> ignore

                    for g in Option.toList gradient do
                        if (Ball.length Linf g).eq(0.0.ToScalar()).any().item<bool>() then
                            flags.Add "zero gradient" |> ignore

                    rows
                    |> Array.iteri (fun place row ->
                        let row = int row
                        forwards[row] <- forwards[row] + 1L
                        gradients[row] <- gradients[row] + (if wantGradient then 1L else 0L)

                        if solved[place] && firstSuccess[row] < 0L then
                            firstSuccess[row] <- forwards[row] - 1L)

                    let won = Array.indexed rows |> Array.filter (fun (place, _) -> solved[place])
                    store (Array.map snd won) (Array.map (fst >> int64) won) x
                    let left = [|
                        for place in 0 .. rows.Length - 1 do
                            if not (stops && solved[place]) then int64 place
                    |]
                    let keep (t: Tensor) = scope.MoveToOuter<Tensor> t
                    keep value, Option.map keep gradient, left

                let keepBest (rows: int64[]) (iterate: Iterate) =
                    let values =
                        Scope.value (fun () ->
                            iterate.BestValue.``to``(torch.float64).cpu().data<float>().ToArray())

                    let better = [|
                        for place in 0 .. rows.Length - 1 do
                            let row = int rows[place]

                            if firstSuccess[row] < 0L && values[place] > bestValue[row] then
                                bestValue[row] <- values[place]
                                place
                    |]

                    store
                        (better |> Array.map (fun place -> rows[place]))
                        (Array.map int64 better)
                        iterate.BestX

                let run (survivors: int64[]) (number, objective) =
                    Scope.value (fun () ->
                        let mutable rows = survivors
                        let origin = pick rows victims.Images
                        let ids = { draw with Ids = rows |> Array.map (fun row -> draw.Ids[int row]) }
                        let draw = Draw.sub (sprintf "restart %d" number) ids

                        // Drops solved rows from a state.
                        let narrow (left: int64[]) iterate =
                            if left.Length = rows.Length then
                                iterate
                            else
                                rows <- left |> Array.map (fun place -> rows[int place])
                                GradientAttack.select (index left) iterate

                        let climb threat (ascent: Ascent) verdict x =
                            let look = look classifier objective verdict ascent.EarlyStop

                            let rec go iterate =
                                if rows.Length > 0 && iterate.Index < ascent.Steps then
                                    iterate
                                    |> GradientAttack.step (fun now ->
                                        let x, memory = GradientAttack.next threat ascent now
                                        let more = now.Index + 1 < ascent.Steps
                                        let value, gradient, left = look more rows x
                                        let gradient = Option.defaultValue now.Gradient gradient
                                        GradientAttack.advance now x memory (value, gradient)
                                        |> narrow left)
                                    |> go
                                else
                                    iterate

                            let value, gradient, left = look (ascent.Steps > 0) rows x
                            let gradient = gradient |> Option.defaultWith (fun () -> torch.zeros_like x)
                            GradientAttack.first origin x (value, gradient) |> narrow left |> go

                        let rec begun threat (ascent: Ascent) =
                            match ascent.After with
                            | None ->
                                let x = GradientAttack.start threat ascent draw origin
                                // No point is looked at that the threat does not allow.
                                if GradientAttack.strays ascent then Ball.project threat origin x else x
                            | Some(radii, earlier) ->
                                let wide = GradientAttack.widened radii threat
                                let ended = begun wide earlier |> climb wide earlier false
                                Ball.project threat origin ended.BestX

                        let ended = begun threat plan.Ascent |> climb threat plan.Ascent true
                        keepBest rows ended
                        unsolved survivors)

                let objectives = plan.Objectives |> List.collect (List.replicate plan.Ascent.Restarts)
                let everyone = Array.init n int64

                Scope.value (fun () ->
                    let look = look (fun _ -> clean)

                    for objective in List.truncate 1 objectives do
                        look objective true false false everyone victims.Images |> ignore)

                let goOn (survivors: int64[]) next =
                    if survivors.Length = 0 then survivors else run survivors next

                List.fold goOn (unsolved everyone) (List.indexed objectives) |> ignore
                let success, distances = judge classifier victims stored
                let counts (values: int64[]) = torch.tensor(values).``to`` device

                {
                    Images = stored
                    Success = success
                    Distance = distances
                    FirstSuccess = counts firstSuccess
                    Forwards = counts forwards
                    Gradients = counts gradients
                    Flags = Set.ofSeq flags
                }))

    /// What raising a loss away from the labels is or, where there are targets, lowering it towards those.
    /// loss: of logits [n; k] and labels [n], one value a sample.
    let against (loss: Tensor -> Tensor -> Tensor) (logits: Tensor) (aim: Aim) =
        match aim.Targets with
        | None -> loss logits aim.Labels
        | Some target -> (loss logits target).neg()

    /// The attack that raises one loss by one ascent: away from the labels or, where there are targets,
    /// towards those.
    let ofAscent loss (ascent: Ascent) : Attack =
        planned ascent.Text (fun _ _ _ -> {
            Ascent = ascent
            Objectives = [ against loss ]
            Notes = Set.empty
        })

    /// The same attack held to the threat: an image further from its original than the radius, in the
    /// threat's norm, is no success, and the original is stored in its stead. For attacks that look for the
    /// nearest image and not in a ball.
    let within (attack: Attack) : Attack =
        Named.create attack.Text (fun draw threat classifier victims ->
            Scope.keeping tensors (fun () ->
                let harm = attack.Run draw threat classifier victims
                let far = harm.Distance[threat.Norm].gt(threat.Radius.ToScalar())
                let images = torch.where (Shape.perSample harm.Images far, victims.Images, harm.Images)

                {
                    harm with
                        Images = images
                        Success = harm.Success.logical_and (far.logical_not ())
                        Distance = distances victims.Images images
                        FirstSuccess = harm.FirstSuccess.masked_fill (far, (-1L).ToScalar())
                }))

    /// FGSM (Goodfellow et al. 2015): one whole step from the image.
    let fgsm = ofAscent CrossEntropy.perSample Ascent.fgsm

    /// PGD on cross-entropy (Madry et al. 2018). step: in radii.
    let pgd step steps = ofAscent CrossEntropy.perSample (Ascent.pgd step steps)

    /// PGD on the margin, the "CW" of robustness tables (Madry et al. 2018): Carlini and Wagner's loss
    /// without their attack. step: in radii.
    let cwPgd step steps =
        ofAscent Margin.perSample {
            Ascent.pgd step steps with
                Text = sprintf "CW-PGD-%d, step %g radii" steps step
        }

    /// PGD on how far the prediction is from the clean one (<c>Trades.divergence</c>): TRADES' inner attack
    /// (Zhang et al. 2019). It looks at no label but for the verdict, so targets do not steer it. step: in
    /// radii.
    let trades step steps =
        let ascent = Ascent.trades step steps

        planned (ascent.Text + ", divergence") (fun _ _ _ -> {
            Ascent = ascent
            Objectives = [ fun logits (aim: Aim) -> Trades.divergence aim.Clean logits ]
            Notes = Set.empty
        })

    /// MI-FGSM (Dong et al. 2018) on cross-entropy, with decay 1. step: in radii; one over steps as
    /// published.
    let miFgsm step steps = ofAscent CrossEntropy.perSample (Ascent.momentum 1.0 step steps)
