namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Checks of the classifier's outputs: 1 to 4.
[<RequireQualifiedAccess>]
module OutputChecks =

    // The first images, enough to see chance at work.
    let private few (subject: AuditTarget) = AuditTarget.everyone subject |> Array.truncate 50

    /// 1: whether the classifier is a function of each image: the same answers from pass to pass, and
    /// whatever the other images of the batch (not so in training mode). Croce and Hein 2020.
    let determinism (subject: AuditTarget) =
        let unrest, company, changes =
            Scope.value (fun () ->
                let images = (AuditTarget.pick (few subject) subject).Images

                let guesses _ =
                    Scope.value (fun () ->
                        use _ = torch.no_grad ()
                        TensorStats.floats ((subject.Classifier images).argmax 1L))

                let passes = List.init 5 guesses

                ModelSanity.unrest subject.Classifier images,
                ModelSanity.company subject.Classifier images,
                [
                    for place in 0 .. passes.Head.Length - 1 do
                        if passes |> List.exists (fun pass -> pass[place] <> passes.Head[place]) then place
                ])

        let still value = value <= ModelSanity.tolerated

        Check.create
            1
            (Check.verdict (not (still unrest && still company && changes.IsEmpty)) false)
            [
                Check.number "pass to pass" unrest
                Check.number "batch to batch" company
                Check.number "changed verdicts" (float changes.Length)
            ]
            changes

    // The logits of all images, per image.
    let private logits (subject: AuditTarget) =
        subject
        |> AuditTarget.measure
            (fun victims ->
                use _ = torch.no_grad ()
                let logits = subject.Classifier victims.Images
                TensorStats.floats logits |> Array.chunkBySize subject.Classes)
            (AuditTarget.everyone subject)

    /// 2: whether it gives logits and not probabilities, whose gradients vanish where it is sure. Croce and
    /// Hein 2020.
    let scale (subject: AuditTarget) =
        let rows = logits subject
        let low, high, off =
            Scope.value (fun () ->
                ModelSanity.outline (torch.tensor(Array.concat rows).reshape [| int64 rows.Length; -1L |]))

        Check.create 2 (Check.verdict (ModelSanity.isOfProbabilities (low, high, off)) false) [
            Check.number "from" low
            Check.number "to" high
            Check.number "sums off 1" off
        ] []

    /// 3: whether images and answers are what attacks take them for, and attacks stayed where they may be.
    let range subject (campaign: GradientAttackSuite option) =
        let strikes = campaign |> Option.map _.All |> Option.defaultValue []
        let odd = logits subject |> Array.map (Array.forall System.Double.IsFinite >> not)

        let low, high = Option.defaultValue (-infinity, infinity) subject.Threat.Box

        let astray =
            subject
            |> AuditTarget.measure
                (fun victims ->
                    let inside =
                        victims.Images.ge(low.ToScalar()).logical_and(victims.Images.le (high.ToScalar()))
                    let flat = inside.reshape [| victims.Images.shape[0]; -1L |]
                    AttackLog.bools (flat.all(1L).logical_not()))
                (AuditTarget.everyone subject)

        let most part = strikes |> List.map part |> List.fold max 0.0
        let excess, outside = most _.Excess, most _.Outside
        let strange = strikes |> List.filter (fun s -> not (NotFinite.isNotIn s.Flags)) |> List.length

        let bad = [
            for place in 0 .. odd.Length - 1 do
                if odd[place] || astray[place] then place
        ]

        let width = Threat.width subject.Threat

        let fails =
            not bad.IsEmpty
            || strange > 0
            || excess > 1e-5 * (width + subject.Threat.Radius)
            || outside > 1e-6 * width

        Check.create
            3
            (Check.verdict fails false)
            [
                Check.number "images" (float bad.Length)
                Check.number "attacks not finite" (float strange)
                Check.number "beyond the ball" excess
                Check.number "beyond the box" outside
            ]
            bad

    // At an image and at a random point of its ball: whether the slope of cross-entropy vanishes, that of the
    // margin, and whether the label's probability is 1 in the classifier's precision.
    let private slopes (subject: AuditTarget) =
        subject
        |> AuditTarget.measure
            (fun victims ->
                let draw = AuditTarget.draw "gradients" victims.Ids subject

                let look objective least x =
                    match GradientAttackLoop.look true objective x with
                    | value, Some gradient ->
                        TensorStats.floats value,
                        TensorStats.floats (Projection.length Linf gradient)
                        |> Array.map (fun size -> not (size > least))
                    | value, None -> TensorStats.floats value, Array.create victims.Ids.Length true

                let cross x = CrossEntropy.perSample (subject.Classifier x) victims.Labels
                let moved =
                    Projection.randomStart subject.Threat draw victims.Images
                    |> Projection.project subject.Threat victims.Images

                let looks = [
                    for x in [ victims.Images; moved ] ->
                        let values, vanishing = look cross 1e-30 x
                        let _, flat = look (AuditTarget.lead subject.Classifier victims) 1e-12 x
                        Array.zip3 vanishing flat (values |> Array.map (fun value -> value = 0.0))
                ]

                Array.zip looks[0] looks[1])
            subject.Right

    /// 4: on how many images the slope that attacks follow vanishes, at the image or at a random point of its
    /// ball: of cross-entropy (below 1e-30), where it is also told how often the label's probability rounds
    /// to 1, and of the margin (below 1e-12), which does not depend on how sure the classifier is.
    let gradients (subject: AuditTarget) =
        if subject.Right.Length = 0 then
            Check.notRun 4 "no image is classified correctly"
        else
            let slopes = slopes subject
            let both (part: bool * bool * bool -> bool) (here, there) = part here || part there
            let share part = TensorStats.share (both part) slopes
            let cross, margin, sure =
                share (fun (c, _, _) -> c), share (fun (_, m, _) -> m), share (fun (_, _, s) -> s)

            let bad = [
                for place, slope in Array.zip subject.Right slopes do
                    if both (fun (c, m, _) -> c || m) slope then int place
            ]

            Check.create
                4
                (Check.verdict (max cross margin > 0.05) (max cross margin > 0.0 || sure > 0.05))
                [
                    Check.share "cross-entropy" cross
                    Check.share "margin" margin
                    Check.share "probability 1" sure
                ]
                bad
