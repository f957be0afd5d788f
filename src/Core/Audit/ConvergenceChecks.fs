namespace AdvContrast.Core.Audit

open AdvContrast.Core.Foundation
open AdvContrast.Core.Evaluation

/// Comparisons of gradient attacks with one another: checks 5 to 9, 13 and 17 (Carlini et al. 2019; Athalye
/// et al. 2018).
[<RequireQualifiedAccess>]
module ConvergenceChecks =

    // The share of images that withstand a given number of evaluations each.
    let private standing looks (strike: AttackOutcome) =
        TensorStats.share (fun first -> first < 0L || first > looks) strike.First

    // The images that fall after some number of looks only.
    let private later looks (strike: AttackOutcome) = [
        for place in 0 .. strike.First.Length - 1 do
            if strike.First[place] > looks then place
    ]

    // More than this number of images of the sample, one being none.
    let private beyond share (subject: AuditTarget) (images: int) = images > Check.allowed share subject.Count

    // Evaluations of an image in a number of runs: the clean one, then each start and its steps.
    let private looksIn runs (subject: AuditTarget) = int64 (runs * (subject.Effort.Steps + 1))

    /// 5: whether steps find what one step finds.
    let steps (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let single = campaign.Single.Accuracy
        let iterated = standing (looksIn 1 subject) campaign.Usual
        let missed = AttackOutcome.only campaign.Single campaign.Usual
        let lost = int (round ((iterated - single) * float subject.Count))

        Check.create
            5
            (Check.verdict (beyond 0.005 subject lost) (beyond 0.005 subject missed.Length))
            [ Check.share "FGSM" single; Check.share "PGD" iterated ]
            missed

    /// 6: whether accuracy falls as the ball grows, each radius attacked for itself; no accuracy counts what
    /// a smaller ball has broken.
    let radius (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let clean = float subject.Right.Length / float subject.Count
        let curve = campaign.Curve |> List.map (fun (radii, strike) -> radii, strike.Accuracy)

        let rise =
            clean :: List.map snd curve
            |> List.pairwise
            |> List.map (fun (near, far) -> far - near)
            |> List.max

        let lost =
            List.pairwise (List.map snd campaign.Curve)
            |> List.collect (fun (near, far) -> AttackOutcome.only near far)
            |> List.distinct
            |> List.sort

        let images = int (round (rise * float subject.Count))

        Check.create
            6
            (Check.verdict (beyond 0.005 subject images) (beyond 0.02 subject lost.Length))
            (Check.share "clean" clean
             :: [ for radii, accuracy in curve -> Check.share (sprintf "%gr" radii) accuracy ])
            lost

    /// 7: whether anything can be broken at all where the bound is wide: within 0.5 of the box in Linf every
    /// image can become the same grey, within 1 any image.
    let unbounded (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let half, whole = campaign.Half.Accuracy, campaign.Whole.Accuracy
        let chance = 1.0 / float subject.Classes

        let standing = [
            for place in 0 .. subject.Count - 1 do
                if not campaign.Whole.Broken[place] then place
        ]

        Check.create
            7
            (Check.verdict (half > chance || whole > 0.0) false)
            [ Check.share "at 0.5" half; Check.share "at 1" whole ]
            standing

    // Fails or warns by how many fall late.
    let private converged number measures late (subject: AuditTarget) =
        Check.create
            number
            (Check.verdict (beyond 0.04 subject (List.length late)) (not late.IsEmpty))
            measures
            late

    /// 8: whether twice as many steps break more. The first half of a run is the shorter run.
    let iterations (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let half = subject.Effort.Long / 2
        let looks steps = int64 (steps + 1)

        converged
            8
            [
                Check.share (sprintf "PGD-%d" half) (standing (looks half) campaign.Long)
                Check.share (sprintf "PGD-%d" subject.Effort.Long) campaign.Long.Accuracy
            ]
            (later (looks half) campaign.Long)
            subject

    /// 9: whether twice as many random starts break more.
    let restarts (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let runs = subject.Effort.Restarts

        converged
            9
            [
                Check.share "1 start" (standing (looksIn 1 subject) campaign.Usual)
                Check.share (sprintf "%d" (runs / 2)) (standing (looksIn (runs / 2) subject) campaign.Usual)
                Check.share (sprintf "%d" runs) campaign.Usual.Accuracy
            ]
            (later (looksIn (runs / 2) subject) campaign.Usual)
            subject

    /// 13: whether losses that do not depend on the size of the logits break what cross-entropy does not: the
    /// margin, the ratio, cross-entropy of logits rescaled to one scale.
    let losses (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let cross = standing (looksIn 1 subject) campaign.Usual

        let others = [
            "margin", campaign.Margin
            for ratio in Option.toList campaign.Ratio do
                "ratio", ratio
            "scaled", campaign.Scaled
        ]

        let least = others |> List.map (fun (_, strike) -> strike.Accuracy) |> List.min
        let images = int (round ((cross - least) * float subject.Count))

        Check.create
            13
            (Check.verdict (beyond 0.1 subject images) (beyond 0.05 subject images))
            (Check.share "cross-entropy" cross
             :: [ for name, strike in others -> Check.share name strike.Accuracy ])
            (others
             |> List.collect (fun (_, strike) -> AttackOutcome.only strike campaign.Usual)
             |> List.distinct
             |> List.sort)

    /// How many images stand after everything that was tried within the threat: the worst case for each.
    /// more: what else has fallen.
    let worst (campaign: GradientAttackSuite) (more: int list) (subject: AuditTarget) : Accuracy =
        let more = Set.ofList more
        let left =
            AttackOutcome.survivors campaign.White subject |> Array.filter (int >> more.Contains >> not)

        Accuracy.create "worst case" (Some subject.Threat) left.Length subject.Count

    /// 17: the figure to quote: how many images stand after all attacks (the worst case for each), beside the
    /// clean accuracy, with the 95 % interval (Wilson 1927) for this number of images.
    let worstCase (worst: Accuracy) (subject: AuditTarget) =
        let low, high = worst.Interval

        Check.create 17 (Check.verdict (subject.Right.Length = 0) (high - low > 0.2)) [
            Check.share "clean" (float subject.Right.Length / float subject.Count)
            Check.share "stand" worst.Fraction
            Check.share "from" low
            Check.share "to" high
        ] []
