namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// Where a gradient attack begins.
type Start =
    /// The image itself.
    | AtInput
    /// Uniform in the ball; clipped says whether the first gradient is taken inside the pixel box.
    | Uniform of clipped: bool
    /// On the sphere of the threat's radius, then clipped to the box: along a direction drawn uniformly in
    /// the cube (Linf) or from a normal distribution (L2, L1).
    | Sphere
    /// The image plus normal noise of this standard deviation, in pixel units. The first gradient is taken
    /// there, in ball and box or not.
    | Gaussian of float
    /// The same, projected into ball and box.
    | GaussianInside of float

/// Which of the visited points is the result: the last, or for each sample the one of the highest objective.
type Keep =
    | Last
    | Best

/// Objective to maximise: images to one value a sample [n], or 0-dim where the samples act together.
type Objective = Tensor -> Tensor

/// The state of a gradient attack that a step rule sees; everything is per sample, as [n] or [n; c; h; w].
[<NoEquality; NoComparison>]
type Iterate = {
    /// Steps made so far.
    Index: int
    Origin: Tensor
    X: Tensor
    Previous: Tensor
    /// The objective at X and its gradient there.
    Value: Tensor
    Gradient: Tensor
    BestX: Tensor
    BestValue: Tensor
    BestGradient: Tensor
    /// State of the step rule itself, one row a sample.
    Memory: TensorTree
}

/// A gradient attack as a value: start, next iterate, steps, restarts, what to keep. The template projects.
[<NoEquality; NoComparison>]
type GradientAttack = {
    Text: string
    Start: Start
    Steps: int
    Restarts: int
    /// Passes at each point, whose values and gradients are averaged (expectation
    /// over transformation; Athalye et al. 2018). 1, unless the objective answers by chance.
    Passes: int
    Keep: Keep
    /// In an evaluation, whether a sample leaves a run at its first success; else it runs to the end, and
    /// its last success is stored. In training no run stops early.
    EarlyStop: bool
    /// Optional warm start: run this attack first in a ball `factor` times larger and start from its best point,
    /// projected into this attack's ball.
    After: (float * GradientAttack) option
    /// The next point before projection, and the rule's memory after it.
    Next: Threat -> Iterate -> Tensor * TensorTree
}

[<RequireQualifiedAccess>]
module GradientAttack =

    // One step of `fraction` radii along the steepest direction of the norm.
    let private climb fraction threat iterate =
        iterate.X + Projection.steepest threat.Norm iterate.Gradient * (fraction * threat.Radius),
        iterate.Memory

    /// Projected gradient ascent (Madry et al. 2018). step: in radii, so that a recipe fits every threat (the
    /// usual 2/255 at radius 8/255 is 0.25); from a uniform start, last iterate.
    let pgd step steps =
        Shape.nonNegative (nameof step) step

        {
            Text = sprintf "PGD-%d, step %g radii" steps step
            Start = Uniform true
            Steps = steps
            Restarts = 1
            Passes = 1
            Keep = Last
            EarlyStop = true
            After = None
            Next = climb step
        }

    /// The fast gradient method (Goodfellow et al. 2015): one step of a whole radius from the image itself.
    let fgsm = { pgd 1.0 1 with Text = "FGSM"; Start = AtInput }

    /// The inner attack of TRADES (Zhang et al. 2019) and MART (Wang et al. 2020): projected gradient ascent
    /// from normal noise of 0.001 about the image, last iterate; published with 10 steps. TRADES raises
    /// <c>Trades.divergence</c> from the clean prediction, MART cross-entropy. step: in radii.
    let trades step steps = {
        pgd step steps with
            Text = sprintf "PGD-%d from noise of 0.001, step %g radii" steps step
            Start = Gaussian 0.001
    }

    /// The fast gradient method with momentum (Dong et al. 2018, algorithm 1): steps along the sum of all
    /// gradients so far, each over its L1 length, older ones worth less by decay a step; from the image
    /// itself, last iterate. Published with decay 1, 10 steps and a step of one radius over their number.
    /// decay: 0 or more; step: in radii.
    let momentum decay step steps =
        Shape.nonNegative (nameof decay) decay

        let next threat iterate =
            let lengths = (Projection.length L1 iterate.Gradient).clamp_min(1e-12.ToScalar())
            let pull = iterate.Gradient / Shape.perSample iterate.Gradient lengths

            let velocity =
                match Map.tryFind "velocity" iterate.Memory with
                | Some(Leaf.Tensor before) -> before * decay + pull
                | _ -> pull

            let x = iterate.X + Projection.steepest threat.Norm velocity * (step * threat.Radius)
            x, Map [ "velocity", Leaf.Tensor velocity ]

        {
            pgd step steps with
                Text = sprintf "MI-FGSM-%d, decay %g, step %g radii" steps decay step
                Start = AtInput
                Next = next
        }
