namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// All attacks by gradients that an audit makes, each run once; what the checks compare.
[<NoComparison>]
type GradientAttackSuite = {
    /// FGSM.
    Single: AttackOutcome
    /// PGD on cross-entropy, run after run on what is left.
    Usual: AttackOutcome
    /// PGD on cross-entropy with many smaller steps.
    Long: AttackOutcome
    /// PGD on the margin.
    Margin: AttackOutcome
    /// PGD on the difference of logits ratio; None below three classes.
    Ratio: AttackOutcome option
    /// PGD on cross-entropy of logits rescaled to a common scale.
    Scaled: AttackOutcome
    /// APGD towards the three likeliest other classes, on what all these left.
    Aimed: AttackOutcome
    /// PGD on the margin within several radii, in rising order, the threat's own among them.
    Curve: (float * AttackOutcome) list
    /// The same within a half of the box and within all of it in Linf, whatever the threat.
    Half: AttackOutcome
    Whole: AttackOutcome
} with

    /// Those within the threat.
    member c.White = [
        c.Single
        c.Usual
        c.Long
        c.Margin
        yield! Option.toList c.Ratio
        c.Scaled
        c.Aimed
        for radii, strike in c.Curve do
            if radii <= 1.0 then strike
    ]

    member c.All = c.White @ [ c.Half; c.Whole ] @ (c.Curve |> List.map snd)

[<RequireQualifiedAccess>]
module GradientAttackSuite =

    /// PGD with its step in radii; single coordinates are too small a step in L1, where the sparse ones of
    /// APGD stand in.
    let ascent norm step steps =
        match norm with
        | Linf
        | L2 -> GradientAttack.pgd step steps
        | L1 -> { Apgd.stage false steps with EarlyStop = true }

    // Cross-entropy of logits whose spread, on the image itself, is 1: it does not saturate.
    let private scaled (ascent: GradientAttack) =
        Attack.planned (ascent.Text + ", scaled logits") (fun _ _ _ -> {
            Ascent = ascent
            Objectives = [
                fun logits (aim: AttackContext) ->
                    let spread = aim.Clean.std(1L, false, true).clamp_min(1e-12.ToScalar())
                    CrossEntropy.perSample (logits / spread) aim.Labels
            ]
            Notes = Set.empty
        })

    /// The radii of the curve, in radii of the threat.
    let radii = [ 0.25; 0.5; 1.0; 2.0 ]

    /// How many attacks there are.
    let private count = 9 + radii.Length - 1

    /// Makes them. report: called before each with the share of them done.
    let run (report: float -> unit) (subject: AuditTarget) : GradientAttackSuite =
        let effort, threat, norm = subject.Effort, subject.Threat, subject.Threat.Norm
        let mutable made = 0

        let strike name purpose attack threat among =
            report (float made / float count)
            made <- made + 1
            AttackOutcome.run name purpose attack threat among subject

        let within radii = { threat with Radius = radii * threat.Radius }
        let usual = ascent norm 0.25 effort.Steps
        let margin norm = Attack.ofAscent Margin.perSample (ascent norm 0.25 effort.Steps)
        let all name attack = strike name name attack threat subject.Right
        let cross ascent = Attack.ofAscent CrossEntropy.perSample ascent

        let single = all "FGSM" Attack.fgsm
        let often = all "PGD" (cross { usual with Restarts = effort.Restarts })
        let long = all "long PGD" (cross (ascent norm 0.1 effort.Long))

        let curve = [
            for radii in radii ->
                radii,
                strike (sprintf "margin, %g radii" radii) "margin" (margin norm) (within radii) subject.Right
        ]

        let ratio =
            if subject.Classes < 3 then None else Some(all "ratio" (Attack.ofAscent Dlr.perSample usual))

        let scaled = all "scaled" (scaled usual)
        let own = curve |> List.find (fun (radii, _) -> radii = 1.0) |> snd
        let before = [
            single
            often
            long
            scaled
            yield! Option.toList ratio
            yield! List.map snd curve.[..2]
        ]
        let aim = Apgd.targeted 3 { Apgd.defaults with Steps = 2 * effort.Steps }
        let aimed = strike "APGD-T" "APGD-T" aim threat (AttackOutcome.survivors before subject)
        let wide radius =
            strike
                (sprintf "Linf %g" radius)
                "wide"
                (margin Linf)
                { threat with Norm = Linf; Radius = radius * Threat.width threat }
                subject.Right

        {
            Single = single
            Usual = often
            Long = long
            Margin = own
            Ratio = ratio
            Scaled = scaled
            Aimed = aimed
            Curve = curve
            Half = wide 0.5
            Whole = wide 1.0
        }
