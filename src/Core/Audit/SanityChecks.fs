namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Whether the attacks find what is known to be there: check 18, of three parts.
[<RequireQualifiedAccess>]
module SanityChecks =

    // --- linear classifiers, whose nearest borders have closed forms

    let private box = Some(0.0, 1.0)

    // Float64 weights [k; d], and images of 2 by 3 that they classify in some way.
    let private linear classes seed =
        let ids count = Array.init count int64
        let wide (x: Tensor) = x.``to`` torch.float64
        let weights = wide (Rng.normal [ 6L ] (Rng.create seed "audit/weights" (ids classes)))
        let images = wide (Rng.uniform [ 1L; 2L; 3L ] (Rng.create seed "audit/images" (ids 8)))
        let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weights)
        weights, classify, images, (classify images).argmax 1L

    // How far each image is from the nearest other class: over the classes, the shortest way to the border.
    let private distances norm (weights: Tensor) (classify: Classifier) (images: Tensor) (labels: Tensor) =
        let logits = classify images

        let towards (place: int64) =
            let rival = labels.add(place.ToScalar()).remainder(weights.shape[0].ToScalar())
            let at (classes: Tensor) = logits.gather(1L, classes.unsqueeze 1L).squeeze 1L
            let slopes =
                (weights.index_select (0L, rival) - weights.index_select (0L, labels)).reshape images.shape
            let value = at rival - at labels
            let moves =
                (Hyperplane.moves norm box slopes (images.unsqueeze 0L) (value.unsqueeze 0L)).squeeze 0L
            // Beyond the border's reach within the box there is no way.
            let reached = (slopes * moves).reshape([| images.shape[0]; -1L |]).sum(1L) + value
            let never = torch.full_like (value, System.Double.PositiveInfinity.ToScalar())
            TensorStats.floats (
                torch.where (reached.ge (-1e-9.ToScalar()), Projection.length norm moves, never)
            )

        [ for place in 1L .. weights.shape[0] - 1L -> towards place ] |> List.reduce (Array.map2 min)

    let private harm (attack: Attack) norm radius classify (images: Tensor) labels =
        let ids = Array.init (int images.shape[0]) int64
        let victims = { Ids = ids; Images = images; Labels = labels; Targets = None }
        attack.Run (Rng.create 1UL "audit/known" ids) (Threat.create norm radius) classify victims

    // Of two classes PGD on the margin must break exactly what lies within the radius.
    let private misjudged seed =
        Scope.value (fun () ->
            let weights, classify, images, labels = linear 2 seed
            let far = distances Linf weights classify images labels
            let radius = (Array.sort far)[far.Length / 2] * 1.02
            let attack = Attack.ofAscent Margin.perSample (GradientAttack.pgd 0.25 20)
            let harm = harm attack Linf radius classify images labels

            Array.zip far (AttackLog.bools harm.Success)
            |> Array.filter (fun (far, broken) ->
                abs (far - radius) > 0.01 * radius && broken <> (far < radius))
            |> Array.length)

    // FAB must find the nearest image to within a fiftieth, and none that is nearer.
    let private mismeasured norm seed =
        Scope.value (fun () ->
            let weights, classify, images, labels = linear 3 seed
            let far = distances norm weights classify images labels
            let harm = harm (Fab.minimal { Fab.targeted with Steps = 20 }) norm 1.0 classify images labels

            Array.zip3 far (AttackLog.bools harm.Success) (TensorStats.floats harm.Distance[norm])
            |> Array.filter (fun (far, broken, found) ->
                far < infinity && not (broken && found >= far * 0.999999 && found <= far * 1.02))
            |> Array.length)

    /// How many images of linear classifiers PGD judges wrongly and FAB measures wrongly, in a norm.
    let misses norm = misjudged 1UL + mismeasured norm 2UL

    // --- copies of the classifier that hide their gradients

    // The classifier spoilt in a known way, with the check that must see it.
    let private masks
        threat
        (classifier: Classifier)
        (logits: Tensor)
        : (Classifier * (AuditTarget -> Check)) list =
        let spread = TensorStats.floats (logits.std ()) |> Array.head
        let struct (top, _) = logits.topk (2, 1)
        let lead = TensorStats.mean (TensorStats.floats (top.select (1L, 0L) - top.select (1L, 1L)))
        let mutable pass = 0L
        let width = Threat.width threat

        let noisy (x: Tensor) =
            let z = classifier x
            pass <- pass + 1L
            let draw = { Rng.create 1UL "audit/mask" (Array.init (int z.shape[0]) int64) with Step = pass }
            z + (Rng.normal [ z.shape[1] ] draw).``to``(z.device).``to``(z.dtype) * (0.01 * spread)

        [
            (fun x -> classifier x * (1000.0 / max 1e-6 lead)), OutputChecks.gradients
            (fun x -> classifier ((x * (4.0 / width)).round() * (width / 4.0))), OutputChecks.gradients
            (fun x -> (classifier x).softmax 1L), OutputChecks.scale
            noisy, OutputChecks.determinism
        ]

    /// How many of four spoilt copies of the classifier are seen through: logits times a thousand, quantised
    /// input, softmax, noise.
    let seen (subject: AuditTarget) =
        Scope.value (fun () ->
            let few = AuditTarget.pick (Array.truncate 16 (AuditTarget.everyone subject)) subject

            let logits =
                use _ = torch.no_grad ()
                subject.Classifier few.Images

            masks subject.Threat subject.Classifier logits
            |> List.filter (fun (copy, check) ->
                Scope.value (fun () ->
                    use _ = torch.no_grad ()
                    // The copy's own verdicts as labels: whether it is right is not asked here.
                    let labels = (copy few.Images).argmax 1L
                    let copy =
                        AuditTarget.create
                            copy
                            None
                            few.Images
                            labels
                            subject.Threat
                            subject.Seed
                            subject.Effort
                    (check copy).Verdict = Verdict.Failed))
            |> List.length)

    // --- adversaries planted into the classifier

    /// Whether PGD finds an adversary that is known to be there (after Zimmermann et al. 2022): for each
    /// image the logits' move to a random corner of its ball is taken as the direction of a new class, whose
    /// border that corner just crosses. Whatever the classifier, an attack that follows its gradients should
    /// cross it too. For some images; those whose logits do not move at all are None.
    let planted (subject: AuditTarget) =
        subject
        |> AuditTarget.measure
            (fun victims ->
                let threat = subject.Threat
                let still images =
                    use _ = torch.no_grad ()
                    subject.Classifier images

                let origin = still victims.Images
                let inside =
                    Projection.randomStart
                        threat
                        (AuditTarget.draw "plant" victims.Ids subject)
                        victims.Images

                let corner =
                    match threat.Norm with
                    | Linf -> victims.Images + (inside - victims.Images).sign() * threat.Radius
                    | L2
                    | L1 -> inside
                    |> Projection.project threat victims.Images

                let direction = still corner - origin
                let border = direction.square().sum(1L)

                let crossing x = ((subject.Classifier x - origin) * direction).sum(1L) - border * 0.999
                let usual = GradientAttackSuite.ascent threat.Norm 0.25 (2 * subject.Effort.Steps)
                let ascent = { usual with Keep = Best }

                let found =
                    victims.Images
                    |> GradientAttackLoop.ascend
                        (AuditTarget.draw "find" victims.Ids subject)
                        threat
                        ascent
                        crossing

                let crossed =
                    AttackLog.bools ((fst (GradientAttackLoop.look false crossing found)).ge(0.0.ToScalar()))
                let there = AttackLog.bools (border.gt (0.0.ToScalar()))
                Array.map2 (fun there crossed -> if there then Some crossed else None) there crossed)
            (AuditTarget.looked subject)

    /// 18: whether the attacks find what is known to be there: the borders of linear classifiers, adversaries
    /// planted into the classifier itself; and whether the checks see what is known to be spoilt.
    let check (subject: AuditTarget) =
        let misses = misses subject.Threat.Norm
        let seen = seen subject
        let places = AuditTarget.looked subject
        let planted = planted subject

        // An image whose logits do not move hides an adversary if it has one.
        let missed = [
            for place, found in Array.zip places planted do
                if found <> Some true then int place
        ]

        let found = if places.Length = 0 then 0.0 else 1.0 - float missed.Length / float places.Length

        Check.create
            18
            (Check.verdict (misses > 0 || seen < 4 || found < 0.9) (found < 1.0))
            [
                Check.number "linear misses" (float misses)
                Check.number "spoilt copies seen" (float seen)
                Check.share "planted found" found
            ]
            missed
