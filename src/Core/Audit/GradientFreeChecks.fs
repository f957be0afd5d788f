namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks

/// Attacks without the classifier's gradients: checks 10 to 12. Where one of them breaks what the
/// gradients left, the gradients do not lead where they should (Athalye et al. 2018).
[<RequireQualifiedAccess>]
module GradientFreeChecks =

    let private verdict (extra: int list) (subject: AuditTarget) =
        Check.verdict (extra.Length > Check.allowed 0.005 subject.Count) (not extra.IsEmpty)

    let private share (images: 'a seq) (subject: AuditTarget) =
        float (Seq.length images) / float subject.Count

    let private stand (campaign: GradientAttackSuite) (subject: AuditTarget) =
        AttackOutcome.survivors campaign.White subject

    // The places of some images where something holds.
    let private where (places: int64[]) (holds: bool[]) = [
        for place, holds in Array.zip places holds do
            if holds then int place
    ]

    let private extra
        number
        what
        (campaign: GradientAttackSuite)
        measures
        (broken: int list)
        (subject: AuditTarget)
        =
        let left = stand campaign subject |> Array.map int |> Set.ofArray
        let extra = broken |> List.filter left.Contains

        let measures = [
            Check.share "gradients leave" (share left subject)
            yield! measures
            Check.share what (share extra subject)
        ]

        extra, Check.create number (verdict extra subject) measures extra

    /// 10: whether random search, which asks for logits alone, breaks what gradients left (Croce and Hein
    /// 2020; Andriushchenko et al. 2020).
    let square (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let left = stand campaign subject
        let attack = Square.attack { Square.standard with Queries = subject.Effort.Queries }
        let strike = AttackOutcome.run "Square" "Square" attack subject.Threat left subject
        extra
            10
            "more by Square"
            campaign
            []
            (where left (left |> Array.map (fun p -> strike.Broken[int p])))
            subject

    /// 11: whether what fools another classifier, as surely as the threat lets it, fools this one more often
    /// than its own gradients do (Papernot et al. 2017).
    let transfer (campaign: GradientAttackSuite) (subject: AuditTarget) =
        match subject.Surrogate with
        | None -> [], Check.notRun 11 "no surrogate was given"
        | Some surrogate ->
            let fooled =
                subject
                |> AuditTarget.measure
                    (fun victims ->
                        let draw = AuditTarget.draw "transfer" victims.Ids subject
                        let steps = subject.Effort.Steps

                        let ascent = {
                            GradientAttack.momentum 1.0 (2.0 / float steps) steps with
                                Keep = Best
                        }

                        let images =
                            victims.Images
                            |> GradientAttackLoop.ascend
                                draw
                                subject.Threat
                                ascent
                                (AuditTarget.lead surrogate victims)

                        use _ = torch.no_grad ()
                        AttackLog.bools (((subject.Classifier images).argmax 1L).ne victims.Labels))
                    subject.Right

            let broken = where subject.Right fooled
            extra
                11
                "more by transfer"
                campaign
                [ Check.share "transfer breaks" (share broken subject) ]
                broken
                subject

    // For each image the number of the first random point of its ball that is misclassified, from 1; 0 for
    // none.
    let private shaken (subject: AuditTarget) =
        let first = Array.zeroCreate<int> subject.Count

        for number in 1 .. subject.Effort.Draws do
            let left = subject.Right |> Array.filter (fun place -> first[int place] = 0)

            subject
            |> AuditTarget.measure
                (fun victims ->
                    use _ = torch.no_grad ()
                    let draw = { AuditTarget.draw "noise" victims.Ids subject with Step = int64 number }

                    let images =
                        Projection.randomStart subject.Threat draw victims.Images
                        |> Projection.project subject.Threat victims.Images

                    let broken = AttackLog.bools (((subject.Classifier images).argmax 1L).ne victims.Labels)
                    Array.zip victims.Ids broken)
                left
            |> Array.iter (fun (place, broken) -> if broken then first[int place] <- number)

        first

    /// 12: whether the best of many random points of the ball breaks what gradients left.
    let noise (campaign: GradientAttackSuite) (subject: AuditTarget) =
        let first = shaken subject
        let broken = where subject.Right (subject.Right |> Array.map (fun place -> first[int place] > 0))

        let curve = [
            for draws in [ 1; 10; 100; subject.Effort.Draws ] |> List.distinct do
                if draws <= subject.Effort.Draws then
                    let fallen = broken |> List.filter (fun place -> first[place] <= draws)
                    let left = float (subject.Right.Length - fallen.Length) / float subject.Count
                    Check.share (sprintf "best of %d" draws) left
        ]

        extra 12 "more by noise" campaign curve broken subject
