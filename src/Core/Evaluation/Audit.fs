namespace AdvContrast.Core

/// What an audit found.
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

    /// What an audit spends: a minute or two on a hundred small images and two cores.
    let standard = { Steps = 20; Long = 100; Restarts = 10; Queries = 1000; Draws = 500; Looks = 32 }

    let private untried = "no image is classified correctly"

    let private unattacked (subject: Subject) = [
        Answers.determinism subject
        Answers.scale subject
        Answers.range subject None
        for number in [ 4..16 ] do
            Check.notRun number untried
    ]

    let private attacked (report: string -> float -> unit) (subject: Subject) =
        report "answers" 0.0
        let determinism, scale = Answers.determinism subject, Answers.scale subject
        let gradients = Answers.gradients subject
        report "answers" 1.0
        let campaign = Campaign.run (report "gradient attacks") subject
        report "gradient attacks" 1.0
        report "other attacks" 0.0
        let square, squareCheck = Strangers.square campaign subject
        report "other attacks" 0.5
        let transfer, transferCheck = Strangers.transfer campaign subject
        report "other attacks" 0.6
        let noise, noiseCheck = Strangers.noise campaign subject
        report "other attacks" 1.0
        report "surroundings" 0.0

        let landscape = [
            Landscape.surroundings subject
            Landscape.differences subject
            Landscape.ascent subject
        ]

        report "surroundings" 1.0
        let worst = Strength.worst campaign (square @ transfer @ noise) subject

        worst,
        [
            determinism
            scale
            Answers.range subject (Some campaign)
            gradients
            Strength.steps campaign subject
            Strength.radius campaign subject
            Strength.unbounded campaign subject
            Strength.iterations campaign subject
            Strength.restarts campaign subject
            squareCheck
            transferCheck
            noiseCheck
            Strength.losses campaign subject
            yield! landscape
        ]

    /// Makes all checks, each attack once. report: called with the name of what is being done and the share
    /// of it done. The same subject gives the same outcome, on the same machine and with as many threads.
    let run report (subject: Subject) : Audited =
        let right = subject.Right.Length

        let clean = Accuracy.create "clean" None right subject.Count

        let worst, checks =
            if right = 0 then
                { clean with Name = "worst case"; Threat = Some subject.Threat }, unattacked subject
            else
                attacked report subject

        report "known cases" 0.0
        let oracle = Oracle.check subject
        report "known cases" 1.0

        { Clean = clean; Worst = worst; Checks = checks @ [ Strength.worstCase worst subject; oracle ] }
