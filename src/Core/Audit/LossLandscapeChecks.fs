namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks

/// The loss landscape around a few images: checks 14 to 16. All of them use the margin, which rises
/// and falls with the verdict and does not saturate as cross-entropy does.
[<RequireQualifiedAccess>]
module LossLandscapeChecks =

    let private slope objective x =
        let value, gradient = GradientAttackLoop.look true objective x
        value, Option.get gradient

    let private flat (x: Tensor) = x.reshape [| x.shape[0]; -1L |]
    let private inner (a: Tensor) (b: Tensor) = (flat a * flat b).sum 1L

    // The places of some images where something holds.
    let private where (places: int64[]) holds values = [
        for place, value in Array.zip places values do
            if holds value then int place
    ]

    /// 14: whether the ground rises along the gradient for a quarter of the radius, whether the gradient
    /// points the same way at a random point that near, and how far the rise is from the linear one: the
    /// difference of both over their sum (Qin et al. 2019 hold it to the radius instead).
    let surroundings (subject: AuditTarget) =
        let places = AuditTarget.looked subject
        let near = { subject.Threat with Radius = 0.25 * subject.Threat.Radius }

        let looks =
            subject
            |> AuditTarget.measure
                (fun victims ->
                    let objective = AuditTarget.lead subject.Classifier victims
                    let value, gradient = slope objective victims.Images
                    let bring x = Projection.project near victims.Images x
                    let step = Projection.steepest near.Norm gradient * near.Radius
                    let uphill = bring (victims.Images + step)
                    let beside =
                        bring (
                            Projection.randomStart
                                near
                                (AuditTarget.draw "beside" victims.Ids subject)
                                victims.Images
                        )
                    let rise = fst (GradientAttackLoop.look false objective uphill) - value
                    let linear = inner gradient (uphill - victims.Images)
                    let _, other = slope objective beside
                    let lengths = Projection.length L2 gradient * Projection.length L2 other
                    let cosine = inner gradient other / lengths.clamp_min (1e-30.ToScalar())
                    Array.zip3
                        (TensorStats.floats rise)
                        (TensorStats.floats linear)
                        (TensorStats.floats cosine))
                places

        let uphill = looks |> TensorStats.share (fun (rise, _, _) -> rise > 0.0)
        let cosine = looks |> Array.map (fun (_, _, cosine) -> cosine) |> TensorStats.mean

        let bend =
            looks
            |> Array.map (fun (rise, linear, _) -> abs (rise - linear) / max 1e-30 (abs rise + abs linear))
            |> TensorStats.mean

        Check.create
            14
            (Check.verdict (not (uphill >= 0.75 && cosine >= 0.1)) (bend > 0.5))
            [ Check.share "uphill" uphill; Check.number "cosine" cosine; Check.number "bend" bend ]
            (where places (fun (rise, _, _) -> not (rise > 0.0)) looks)

    // The step of a difference, in widths of the box: well above what float32 loses, well below a usual
    // radius.
    let private span = 1e-3

    /// 15: whether autograd's slope along random directions is the one that differences have: else something
    /// before the logits is not differentiable, or hides that it is.
    let differences (subject: AuditTarget) =
        let places = AuditTarget.looked subject
        let span = span * Threat.width subject.Threat
        let room = subject.Threat.Box |> Option.map (fun (low, high) -> low + span, high - span)

        let off =
            subject
            |> AuditTarget.measure
                (fun victims ->
                    let objective = AuditTarget.lead subject.Classifier victims
                    let x = victims.Images |> Projection.boxed { subject.Threat with Box = room }
                    let _, gradient = slope objective x
                    let shape = List.ofArray x.shape[1..]

                    let along number =
                        let draw = AuditTarget.draw (sprintf "direction %d" number) victims.Ids subject
                        let signs = (Rng.uniform shape draw - 0.5).sign().``to``(x.device).``to``(x.dtype)
                        let at (factor: float) =
                            fst (GradientAttackLoop.look false objective (x + signs * factor))
                        TensorStats.floats ((at span - at -span) / (2.0 * span)),
                        TensorStats.floats (inner gradient signs)

                    let directions = [ for number in 1..4 -> along number ]
                    let sum (f: float -> float -> float) row =
                        directions |> List.sumBy (fun (d, g) -> f d[row] g[row])

                    Array.init victims.Ids.Length (fun row ->
                        let size = sum (fun difference slope -> abs difference + abs slope) row
                        // Where nothing moves there is no slope to agree with.
                        if size > 0.0 then
                            sum (fun difference slope -> abs (difference - slope)) row / size
                        else
                            1.0))
                places

        let mean = TensorStats.mean off

        Check.create
            15
            (Check.verdict (not (mean <= 0.3)) (not (mean <= 0.15)))
            [ Check.share "differ by" mean ]
            (where places (fun value -> not (value <= 0.3)) off)

    // The margin at each point of a long PGD, image by image.
    let private climbs (subject: AuditTarget) =
        subject
        |> AuditTarget.measure
            (fun victims ->
                let values = ResizeArray<float[]>()
                let lead = AuditTarget.lead subject.Classifier victims

                let objective x =
                    let value = lead x
                    values.Add(TensorStats.floats value)
                    value

                let usual = GradientAttackSuite.ascent subject.Threat.Norm 0.1 subject.Effort.Steps
                let ascent = { usual with Keep = Best }

                Scope.value (fun () ->
                    victims.Images
                    |> GradientAttackLoop.ascend
                        (AuditTarget.draw "climb" victims.Ids subject)
                        subject.Threat
                        ascent
                        objective
                    |> ignore)

                Array.init victims.Ids.Length (fun row -> [| for point in values -> point[row] |]))
            (AuditTarget.looked subject)

    /// 16: whether PGD climbs: how many of its steps, of a tenth of the radius, lose more than a fiftieth of
    /// all that the run has gained, and how many images never rise.
    let ascent (subject: AuditTarget) =
        let places = AuditTarget.looked subject
        let climbs = climbs subject

        let falls (values: float[]) =
            let gain = Array.max values - values[0]
            Array.pairwise values
            |> TensorStats.share (fun (before, after) -> not (after >= before - 0.02 * gain))

        let fall = climbs |> Array.map falls |> TensorStats.mean
        let stays (values: float[]) = not (Array.max values > values[0])
        let still = climbs |> TensorStats.share stays

        Check.create
            16
            (Check.verdict (fall > 0.4 || still > 0.1) false)
            [ Check.share "steps that fall" fall; Check.share "images that stay" still ]
            (where places stays climbs)
