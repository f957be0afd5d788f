namespace AdvContrast.Core.Audit

open AdvContrast.Core.Evaluation

/// The result of an audit.
type Audited = {
    /// Accuracy on the images as they are.
    Clean: Accuracy
    /// Accuracy where an image counts as right if nothing within the threat broke it: the worst case for
    /// each.
    Worst: Accuracy
    /// All checks, by their numbers.
    Checks: Check list
} with

    /// The whole in one word.
    member a.Finding = Check.finding a.Checks

/// Whether a classifier's accuracy under attack can be trusted: checks for masked gradients and for attacks
/// too weak to tell (Athalye et al. 2018; Carlini et al. 2019; Croce and Hein 2020).
[<RequireQualifiedAccess>]
module Audit =

    /// The standard effort of an audit: a minute or two on a hundred small images and two cores.
    let standard = { Steps = 20; Long = 100; Restarts = 10; Queries = 1000; Draws = 500; Looks = 32 }

    let private untried = "no image is classified correctly"

    let private unattacked (subject: AuditTarget) = [
        OutputChecks.determinism subject
        OutputChecks.scale subject
        OutputChecks.range subject None
        for number in [ 4..16 ] do
            Check.notRun number untried
    ]

    let private attacked (report: string -> float -> unit) (subject: AuditTarget) =
        report "answers" 0.0
        let determinism, scale = OutputChecks.determinism subject, OutputChecks.scale subject
        let gradients = OutputChecks.gradients subject
        report "answers" 1.0
        let campaign = GradientAttackSuite.run (report "gradient attacks") subject
        report "gradient attacks" 1.0
        report "other attacks" 0.0
        let square, squareCheck = GradientFreeChecks.square campaign subject
        report "other attacks" 0.5
        let transfer, transferCheck = GradientFreeChecks.transfer campaign subject
        report "other attacks" 0.6
        let noise, noiseCheck = GradientFreeChecks.noise campaign subject
        report "other attacks" 1.0
        report "surroundings" 0.0

        let landscape = [
            LossLandscapeChecks.surroundings subject
            LossLandscapeChecks.differences subject
            LossLandscapeChecks.ascent subject
        ]

        report "surroundings" 1.0
        let worst = ConvergenceChecks.worst campaign (square @ transfer @ noise) subject

        worst,
        [
            determinism
            scale
            OutputChecks.range subject (Some campaign)
            gradients
            ConvergenceChecks.steps campaign subject
            ConvergenceChecks.radius campaign subject
            ConvergenceChecks.unbounded campaign subject
            ConvergenceChecks.iterations campaign subject
            ConvergenceChecks.restarts campaign subject
            squareCheck
            transferCheck
            noiseCheck
            ConvergenceChecks.losses campaign subject
            yield! landscape
        ]

    /// Makes all checks, each attack once. report: called with the name of what is being done and the share
    /// of it done. The same subject gives the same outcome, on the same machine and with as many threads.
    let run report (subject: AuditTarget) : Audited =
        let right = subject.Right.Length

        let clean = Accuracy.create "clean" None right subject.Count

        let worst, checks =
            if right = 0 then
                { clean with Name = "worst case"; Threat = Some subject.Threat }, unattacked subject
            else
                attacked report subject

        report "known cases" 0.0
        let oracle = SanityChecks.check subject
        report "known cases" 1.0

        {
            Clean = clean
            Worst = worst
            Checks = checks @ [ ConvergenceChecks.worstCase worst subject; oracle ]
        }
