namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// Arguments of an attack loss besides the logits, one row a sample.
[<NoEquality; NoComparison>]
type AttackContext = {
    /// int64 [n].
    Labels: Tensor
    /// Labels to reach, int64 [n]; None for an untargeted attack.
    Targets: Tensor option
    /// The logits of the untouched images, [n; k], without gradient.
    Clean: Tensor
}

/// Recipe of a gradient attack.
[<NoEquality; NoComparison>]
type AttackRecipe = {
    Ascent: GradientAttack
    /// Objectives to maximise, one after another, each in as many runs as the attack has restarts: of logits [n; k],
    /// one value a sample. At least one.
    Objectives: (Tensor -> AttackContext -> Tensor) list
    /// Flags that every result of the recipe has.
    Notes: Set<string>
}

/// The images under attack.
[<NoEquality; NoComparison>]
type AttackBatch = {
    /// One id a sample: what it draws depends on its id alone.
    Ids: int64[]
    /// [n; c; h; w], floating point, within the threat's box.
    Images: Tensor
    /// int64 [n].
    Labels: Tensor
    /// Labels to reach, int64 [n]; None for an untargeted attack.
    Targets: Tensor option
}

/// The result of an attack, one row a sample. The tensors belong to the caller's scope.
[<NoEquality; NoComparison>]
type AttackResult = {
    /// The adversarial image where the attack succeeded; else the one of the highest loss, or from an attack
    /// that looks for the nearest image the original: [n; c; h; w].
    Images: Tensor
    /// Whether the stored image is misclassified, computed on that very image: bool [n]. Never where its
    /// logits are not finite.
    Success: Tensor
    /// How far the stored image is from the original, in each norm: [n].
    Distance: Map<Norm, Tensor>
    /// Points evaluated before the first success, counting from 0 for the clean image; -1 for none: int64
    /// [n].
    FirstSuccess: Tensor
    /// Forward passes that each sample took part in, and gradients that were taken of it: int64 [n].
    Forwards: Tensor
    Gradients: Tensor
    /// How many of those gradients were 0 everywhere, so that they led nowhere: int64 [n].
    ZeroGradients: Tensor
    /// At how many of those points the logits, the loss or the gradient were not finite, by the names of
    /// <c>NotFinite.places</c>: int64 [n]. Entries of a gradient that are not finite are 0 in its step;
    /// logits that are not finite are no success.
    NotFinite: Map<string, Tensor>
    /// What a reader must know: <c>"zero gradient"</c>, <c>"logits not finite"</c> and the like, <c>"gives
    /// probabilities, not logits"</c>; and in words what few classes have changed.
    Flags: Set<string>
}

/// An attack on a classifier.
type Attack = Named<Rng -> Threat -> Classifier -> AttackBatch -> AttackResult>

[<RequireQualifiedAccess>]
module internal AttackBatch =

    /// Those in some rows.
    let pick (rows: int64[]) (victims: AttackBatch) : AttackBatch =
        let own = AttackLog.pick rows

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
        yield! Map.values harm.NotFinite
    }

    // Whether each row's verdict is what the attack wants: another label than the true one, or the target.
    let private succeeded (logits: Tensor) (answered: Tensor) (labels: Tensor) (targets: Tensor option) =
        Scope.tensor (fun () ->
            let guess = logits.argmax 1L

            match targets with
            | None -> guess.ne labels
            | Some target -> guess.eq target
            |> answered.logical_and)

    // Which rows' verdicts at a point are what the attack wants. Writes down where the logits are not finite,
    // or else the loss.
    let internal won ledger (rows: int64[]) (value: Tensor option) logits labels targets =
        Scope.value (fun () ->
            let answered = ModelSanity.answered logits
            let won = succeeded logits answered labels targets
            let value = value |> Option.map _.isfinite().logical_or(answered.logical_not ())
            let found = torch.stack (ResizeArray [ won; answered; Option.defaultValue answered value ])
            let found = AttackLog.bools found |> Array.chunkBySize rows.Length
            AttackLog.note ledger NotFinite.Logits rows found[1]
            if value.IsSome then AttackLog.note ledger NotFinite.Loss rows found[2]
            found[0])

    /// The images that an attack leaves undecided, neither robust nor broken: those whose logits were not
    /// finite at some point, and that are no success: bool [n].
    let undecided harm =
        Scope.tensor (fun () ->
            harm.NotFinite[NotFinite.Logits].gt(0L.ToScalar()).logical_and(harm.Success.logical_not ()))

    /// The images that withstood an attack: neither a success nor undecided: bool [n].
    let withstood harm = Scope.tensor (fun () -> harm.Success.logical_or(undecided harm).logical_not())

    /// How far images are from their originals, in each norm.
    let distances (original: Tensor) (images: Tensor) =
        norms |> List.map (fun norm -> norm, Projection.distance norm original images) |> Map.ofList

    /// Distances and success of stored images, recomputed from the images themselves.
    let judge (classifier: Classifier) (victims: AttackBatch) (images: Tensor) =
        use _ = torch.no_grad ()
        let logits = classifier images
        let answered = ModelSanity.answered logits
        let success = succeeded logits answered victims.Labels victims.Targets
        answered.Dispose()
        logits.Dispose()
        success, distances victims.Images images

    /// The first evaluation of every attack, on the clean images. Result: their logits, without gradient.
    let internal first (ledger: AttackLog) (classifier: Classifier) (victims: AttackBatch) =
        let logits =
            Scope.tensor (fun () ->
                use _ = torch.no_grad ()
                classifier victims.Images)

        let rows = Array.init victims.Ids.Length int64
        let fits (labels: Tensor) name = Logits.labelled "classifier" logits name labels
        fits victims.Labels "labels"
        victims.Targets |> Option.iter (fun targets -> fits targets "targets")
        if ModelSanity.areProbabilities logits then ledger.Flags.Add ModelSanity.probabilities |> ignore

        won ledger rows None logits victims.Labels victims.Targets |> AttackLog.look ledger 1L 0L rows

        logits

    /// The report on what is stored; success as given.
    let internal close (ledger: AttackLog) (victims: AttackBatch) success : AttackResult =
        let counts (values: int64[]) = torch.tensor(values).``to`` victims.Images.device

        {
            Images = ledger.Stored
            Success = success
            Distance = distances victims.Images ledger.Stored
            FirstSuccess = counts ledger.FirstSuccess
            Forwards = counts ledger.Forwards
            Gradients = counts ledger.Gradients
            ZeroGradients = counts ledger.ZeroGradients
            NotFinite = ledger.NotFinite |> Map.map (fun _ values -> counts values)
            Flags = Set.ofSeq ledger.Flags
        }

    /// The same, with success looked up on what is stored.
    let internal closeJudged (ledger: AttackLog) classifier (victims: AttackBatch) =
        judge classifier victims ledger.Stored |> fst |> close ledger victims

    /// An attack by what it does to images: every attack is made here. Images must be float32 or float64,
    /// finite and within the threat's box, and the classifier is given a copy of them; ArgumentException
    /// else.
    let create text (run: Rng -> Threat -> Classifier -> AttackBatch -> AttackResult) : Attack =
        Named.create text (fun draw threat classifier victims ->
            Projection.requireInBox "images" threat victims.Images
            Scope.keeping tensors (fun () -> run draw threat (Classifier.guarded classifier) victims))

    /// A gradient attack as an evaluation (Carlini et al. 2019): every visited point is tested, the clean
    /// image and the start among them, but for those of ascents in a wider ball that another continues from;
    /// solved samples leave the batch, at once or at the end of the run as the ascent says; further runs go
    /// on with survivors alone. What a sample meets depends on its id alone, never on its batch.
    ///
    /// Where the attack evaluates a point in several passes, for a classifier that answers by chance, the
    /// point is a success where it wins more than half of them; the clean image is evaluated once, and so is,
    /// after all, the stored image, whose verdict counts.
    ///
    /// plan: what to run, from the threat, the victims and the number of classes.
    let planned text (plan: Threat -> AttackBatch -> int64 -> AttackRecipe) : Attack =
        create text (fun draw threat classifier victims ->
            let ledger = AttackLog.start victims.Images
            let clean = first ledger classifier victims
            let plan = plan threat victims clean.shape[1]
            ledger.Flags.UnionWith plan.Notes

            let see objective (rows: int64[]) x =
                let own = AttackLog.pick rows
                let logits: Tensor = classifier x

                let aim = {
                    Labels = own victims.Labels
                    Targets = Option.map own victims.Targets
                    Clean = own clean
                }

                let value: Tensor = objective logits aim
                value, won ledger rows (Some value) logits aim.Labels aim.Targets

            plan.Objectives
            |> List.collect (List.replicate plan.Ascent.Restarts)
            |> List.map see
            |> SurvivorLoop.runs plan.Ascent ledger draw threat victims.Images

            closeJudged ledger classifier victims)

    /// What raising a loss away from the labels is or, where there are targets, lowering it towards those.
    /// loss: of logits [n; k] and labels [n], one value a sample.
    let against (loss: Tensor -> Tensor -> Tensor) (logits: Tensor) (aim: AttackContext) =
        match aim.Targets with
        | None -> loss logits aim.Labels
        | Some target -> (loss logits target).neg()

    /// The attack that raises one loss by one ascent: away from the labels or, where there are targets,
    /// towards those.
    let ofAscent loss (ascent: GradientAttack) : Attack =
        planned ascent.Text (fun _ _ _ -> {
            Ascent = ascent
            Objectives = [ against loss ]
            Notes = Set.empty
        })

    /// The same attack held to the threat: an image further from its original than the radius, in the
    /// threat's norm, is no success, and the original is stored in its stead. For attacks that look for the
    /// nearest image and not in a ball.
    let within (attack: Attack) : Attack =
        create attack.Text (fun draw threat classifier victims ->
            let harm = attack.Run draw threat classifier victims
            let far = harm.Distance[threat.Norm].gt(threat.Radius.ToScalar())
            let images = torch.where (Shape.perSample harm.Images far, victims.Images, harm.Images)

            {
                harm with
                    Images = images
                    Success = harm.Success.logical_and (far.logical_not ())
                    Distance = distances victims.Images images
                    FirstSuccess = harm.FirstSuccess.masked_fill (far, (-1L).ToScalar())
            })

    /// FGSM (Goodfellow et al. 2015): one whole step from the image.
    let fgsm = ofAscent CrossEntropy.perSample GradientAttack.fgsm

    /// PGD on cross-entropy (Madry et al. 2018). step: in radii.
    let pgd step steps = ofAscent CrossEntropy.perSample (GradientAttack.pgd step steps)

    /// PGD on the margin, the "CW" of robustness tables (Madry et al. 2018): Carlini and Wagner's loss
    /// without their attack. step: in radii.
    let cwPgd step steps =
        ofAscent Margin.perSample {
            GradientAttack.pgd step steps with
                Text = sprintf "CW-PGD-%d, step %g radii" steps step
        }

    /// PGD on how far the prediction is from the clean one (<c>Trades.divergence</c>): TRADES' inner attack
    /// (Zhang et al. 2019). Its loss uses no label, so targets do not steer it. step: in
    /// radii.
    let trades step steps =
        let ascent = GradientAttack.trades step steps

        planned (ascent.Text + ", divergence") (fun _ _ _ -> {
            Ascent = ascent
            Objectives = [ fun logits (aim: AttackContext) -> Trades.divergence aim.Clean logits ]
            Notes = Set.empty
        })

    /// MI-FGSM (Dong et al. 2018) on cross-entropy, with decay 1. step: in radii; one over steps as
    /// published.
    let miFgsm step steps = ofAscent CrossEntropy.perSample (GradientAttack.momentum 1.0 step steps)
