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
    /// How many of those gradients were 0 everywhere, so that they led nowhere: int64 [n].
    ZeroGradients: Tensor
    /// What a reader must know: <c>"zero gradient"</c>, <c>"not finite"</c>, <c>"probabilities"</c> where the
    /// classifier seems to give those and not logits; and in words what few classes have changed.
    Flags: Set<string>
}

/// An attack on a classifier.
type Attack = Named<Draw -> Threat -> Classifier -> Victims -> Harm>

[<RequireQualifiedAccess>]
module internal Victims =

    /// Those in some rows.
    let pick (rows: int64[]) (victims: Victims) : Victims =
        let own = Ledger.pick rows

        {
            Ids = rows |> Array.map (fun row -> victims.Ids[int row])
            Images = own victims.Images
            Labels = own victims.Labels
            Targets = Option.map own victims.Targets
        }

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
        harm.ZeroGradients
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

    /// Whether all rows lie in [0, 1] and add up to 1, as those of no logits do (Carlini's code refuses
    /// them).
    let internal areProbabilities (logits: Tensor) =
        let near (low: float) (high: float) (x: Tensor) =
            x.ge(low.ToScalar()).logical_and(x.le (high.ToScalar())).all().item<bool>()

        Scope.value (fun () ->
            logits.shape[0] > 0L && near -1e-4 1.0001 logits && near 0.999 1.001 (logits.sum 1L))

    /// What every attack begins with: a look at the untouched images. Result: their logits, without gradient.
    let internal first (ledger: Ledger) (classifier: Classifier) (victims: Victims) =
        let logits =
            Scope.tensor (fun () ->
                use _ = torch.no_grad ()
                classifier victims.Images)

        if areProbabilities logits then ledger.Flags.Add "probabilities" |> ignore
        Ledger.finite ledger logits |> ignore

        Scope.value (fun () ->
            succeeded logits victims.Labels victims.Targets
            |> Ledger.bools
            |> Ledger.look ledger 1L 0L (Array.init victims.Ids.Length int64))

        logits

    /// The report on what is stored; success as given.
    let internal close (ledger: Ledger) (victims: Victims) success : Harm =
        let counts (values: int64[]) = torch.tensor(values).``to`` victims.Images.device

        {
            Images = ledger.Stored
            Success = success
            Distance = distances victims.Images ledger.Stored
            FirstSuccess = counts ledger.FirstSuccess
            Forwards = counts ledger.Forwards
            Gradients = counts ledger.Gradients
            ZeroGradients = counts ledger.ZeroGradients
            Flags = Set.ofSeq ledger.Flags
        }

    /// The same, with success looked up on what is stored.
    let internal closeJudged (ledger: Ledger) classifier (victims: Victims) =
        judge classifier victims ledger.Stored |> fst |> close ledger victims

    /// A gradient attack as an evaluation (Carlini et al. 2019): every visited point is tested, the clean
    /// image and the start among them, but for those of ascents in a wider ball that another goes on from;
    /// solved samples leave the batch, at once or at the end of the run as the ascent says; further runs go
    /// on with survivors alone. What a sample meets depends on its id alone, never on its batch.
    ///
    /// Where the ascent looks at a point in several passes, for a classifier that answers by chance, the
    /// point is a success where it wins more than half of them; the clean image is looked at once, and so is,
    /// after all, the stored image, whose verdict counts.
    ///
    /// plan: what to run, from the threat, the victims and the number of classes.
    let planned text (plan: Threat -> Victims -> int64 -> Plan) : Attack =
        Named.create text (fun draw threat classifier victims ->
            Scope.keeping tensors (fun () ->
                let ledger = Ledger.start victims.Images
                let clean = first ledger classifier victims
                let plan = plan threat victims clean.shape[1]
                ledger.Flags.UnionWith plan.Notes

                let see objective (rows: int64[]) x =
                    let own = Ledger.pick rows
                    let logits: Tensor = classifier x

                    let aim = {
                        Labels = own victims.Labels
                        Targets = Option.map own victims.Targets
                        Clean = own clean
                    }

                    objective logits aim,
                    Scope.value (fun () -> Ledger.bools (succeeded logits aim.Labels aim.Targets))

                plan.Objectives
                |> List.collect (List.replicate plan.Ascent.Restarts)
                |> List.map see
                |> Climb.runs plan.Ascent ledger draw threat victims.Images

                closeJudged ledger classifier victims))

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
