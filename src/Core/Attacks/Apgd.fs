namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// How automatic projected gradient descent runs.
type Apgd = {
    Steps: int
    Restarts: int
    /// Passes through the classifier at each point, of which value and gradient are means: for classifiers
    /// that answer by chance (20 in AutoAttack's rand version).
    Passes: int
    /// A fault of the published code, for comparison with its runs: the first rise is counted where the loss
    /// is above 0, and not where it is above that of the start.
    FirstRiseFromZero: bool
}

/// Automatic projected gradient descent (APGD; Croce and Hein 2020, algorithm 1; in L1, Croce and Hein 2021):
/// ascent with momentum that sees to its own step size. It has nothing to tune but the number of steps. A
/// sample's result depends on no other sample.
[<RequireQualifiedAccess>]
module Apgd =

    /// Raised whenever the same call gives other images than before: notes of an evaluation carry it.
    let version = 1

    /// As in AutoAttack: 100 steps, one run.
    let defaults = { Steps = 100; Restarts = 1; Passes = 1; FirstRiseFromZero = false }

    let private momentum, private rho = 0.75, 0.75

    // Windows between checks of the step size, as (steps made, steps since the last check). The published code
    // counts whole steps, which for few steps is not the paper's rounding up of fractions of the run.
    let private windows steps =
        let part percent = max 1 (percent * steps / 100)

        (part 22, part 22)
        |> List.unfold (fun (made, window) ->
            if made > steps then
                None
            else
                let next = max (part 6) (window - part 3)
                Some((made, window), (made + next, next)))

    /// The numbers of completed steps at which the step size is checked (section 3, in whole steps).
    let checkpoints steps = windows steps |> List.map fst

    let private recall (memory: TensorTree) name otherwise =
        match Map.tryFind name memory with
        | Some(Leaf.Tensor x) -> x
        | _ -> otherwise ()

    let private choose (mask: Tensor) (whereTrue: Tensor) whereFalse =
        torch.where (Shape.perSample whereTrue mask, whereTrue, whereFalse)

    // The next point in Linf and L2. Memory: step, the step size; from, the point that the last step was made
    // from; value, the objective before the last step; rises since the last look; halved, whether the last
    // look halved the step; best, the best value at the last look. One row a sample.
    let private next how =
        let windows = Map.ofList (windows how.Steps)

        fun threat (now: Iterate) ->
            let zeros () = torch.zeros_like now.Value
            let yes () = torch.ones_like (now.Value, torch.``bool``)
            let wholly () = torch.full_like (now.Value, (2.0 * threat.Radius).ToScalar(), now.X.dtype)
            let recall = recall now.Memory
            let step, from = recall "step" wholly, recall "from" (fun () -> now.X)
            let halved, best = recall "halved" yes, recall "best" (fun () -> now.BestValue)
            let before = recall "value" (fun () -> now.Value)
            let before = if how.FirstRiseFromZero && now.Index = 1 then zeros () else before
            let rises = recall "rises" zeros + now.Value.gt before

            let step, x, gradient, halved, best, rises =
                match Map.tryFind now.Index windows with
                | None -> step, now.X, now.Gradient, halved, best, rises
                | Some window ->
                    let few = rises.le ((rho * float window).ToScalar())
                    let stuck = halved.logical_not().logical_and(best.ge now.BestValue)
                    let halve = few.logical_or stuck

                    torch.where (halve, step * 0.5, step),
                    choose halve now.BestX now.X,
                    choose halve now.BestGradient now.Gradient,
                    halve,
                    now.BestValue,
                    zeros ()

            let stride = Projection.steepest threat.Norm gradient * Shape.perSample gradient step
            let ahead = Projection.project threat now.Origin (x + stride)
            let share = if now.Index = 0 then 1.0 else momentum

            x + (ahead - x) * share + (x - from) * (1.0 - share),
            Map [
                "step", Leaf.Tensor step
                "from", Leaf.Tensor x
                "value", Leaf.Tensor now.Value
                "rises", Leaf.Tensor rises
                "halved", Leaf.Tensor halved
                "best", Leaf.Tensor best
            ]

    // How many coordinates have moved; what rounding leaves of a coordinate does not count.
    let private support (origin: Tensor) (x: Tensor) =
        let moved = (x - origin).abs().reshape([| x.shape[0]; -1L |]).gt(1e-9.ToScalar())
        moved.sum(1L).``to`` torch.float64

    // The next point in L1: a step along the signs of a share of the coordinates, those of steepest slope.
    // Memory: step, its length; share, of coordinates; support, of the best point at the last look.
    let private sparse given steps =
        let window = max 1 (4 * steps / 100)

        fun threat (now: Iterate) ->
            let n, d = now.X.shape[0], now.X.numel () / max 1L now.X.shape[0]
            let radius = threat.Radius
            let full value = torch.full_like (now.Value, value, torch.float64)
            let recall = recall now.Memory
            let step = recall "step" (fun () -> full (radius.ToScalar()))
            let shareOf (support: Tensor) = support / (1.5 * float d)

            let held =
                recall "support" (fun () ->
                    if given then support now.Origin now.X else full ((float d).ToScalar()))

            let share = recall "share" (fun () -> if given then shareOf held else full (0.2.ToScalar()))

            let step, share, held, x, gradient =
                if now.Index = 0 || now.Index % window <> 0 then
                    step, share, held, now.X, now.Gradient
                else
                    let found = support now.Origin now.BestX
                    let shrunk = found.lt (held * 0.95)
                    let shorter = (step / 1.5).clamp_min((radius / 10.0).ToScalar())

                    torch.where (shrunk, full (radius.ToScalar()), shorter),
                    shareOf found,
                    found,
                    choose shrunk now.BestX now.X,
                    choose shrunk now.BestGradient now.Gradient

            let flat = gradient.reshape [| n; d |]
            let size = flat.abs ()
            let struct (ascending, _) = size.sort (1L)
            let rank = ((1.0 - share) * float d).floor().clamp(0.0.ToScalar(), (float (d - 1L)).ToScalar())
            let least = ascending.gather (1L, rank.``to``(torch.int64).unsqueeze 1L)
            let direction = flat.sign () * size.ge least
            let reach =
                step.``to`` (flat.dtype) / (Projection.length L1 direction).clamp_min(1e-10.ToScalar())

            x + (direction * Shape.perSample direction reach).reshape x.shape,
            Map [ "step", Leaf.Tensor step; "share", Leaf.Tensor share; "support", Leaf.Tensor held ]

    let private text how =
        let passes = if how.Passes = 1 then "" else sprintf ", %d passes each" how.Passes
        sprintf "%d steps%s" how.Steps passes

    let private base' how next = {
        Text = sprintf "APGD, %s" (text how)
        Start = Sphere
        Steps = how.Steps
        Restarts = how.Restarts
        Passes = how.Passes
        Keep = Best
        EarlyStop = false
        After = None
        Next = next
    }

    let private stageOf how given steps = {
        base' { how with Steps = steps; Restarts = 1 } (sparse given steps) with
            Start = GaussianInside 1.0
    }

    /// One stage of the ascent in L1, in the threat's ball. given: whether it begins at a point that another
    /// found, whose sparsity it continues with, or at noise.
    let stage given steps = stageOf defaults given steps

    /// The ascent for a norm. Linf and L2: from a point on the sphere, along signs or unit gradients, with
    /// momentum; at each checkpoint a sample whose value rose in at most three quarters of the steps since
    /// the last, or whose best has not moved since one that left its step alone, halves its step and continues
    /// from its best point. Every run takes all its steps: the last success is stored.
    /// L1: AutoAttack's three stages, in balls of 3, 2 and 1 radii, of three, three and four tenths of the
    /// steps, along sparse signs.
    let ascent how norm =
        match norm with
        | Linf
        | L2 -> base' how (next how)
        | L1 ->
            let part = (3 * how.Steps + 9) / 10
            let wide = { stageOf how true part with After = Some(1.5, stageOf how false part) }

            {
                stageOf how true (max 0 (how.Steps - 2 * part)) with
                    Text = sprintf "APGD in L1, %s" (text how)
                    Restarts = how.Restarts
                    After = Some(2.0, wide)
            }

    // objectives: from the victims and the number of classes; with what a reader must know of the choice.
    let private attack name how objectives =
        Attack.planned (sprintf "APGD-%s, %s" name (text how)) (fun threat victims classes ->
            let objectives, notes = objectives victims classes

            { Ascent = ascent how threat.Norm; Objectives = objectives; Notes = Set.ofList notes })

    // Where the classes are too few for the ratio.
    let private replaced classes least = [
        if classes < least then
            sprintf
                "%d classes: the margin in place of %s"
                classes
                (if least = 3L then "DLR" else "targeted DLR")
    ]

    /// APGD on a loss of logits [n; k] and labels [n], one value a sample.
    let on name loss how = attack name how (fun _ _ -> [ Attack.against loss ], [])

    /// APGD on cross-entropy.
    let ce how = on "CE" CrossEntropy.perSample how

    /// APGD on the margin.
    let margin how = on "margin" Margin.perSample how

    // What brings a class before the label: the ratio, or the lead alone where there are too few classes for
    // it.
    let private towards classes (logits: Tensor) labels (targets: Tensor) =
        if classes >= 4L then
            Dlr.targeted logits labels targets
        else
            let at (classes: Tensor) = logits.gather(1L, classes.unsqueeze 1L).squeeze 1L
            at targets - at labels

    /// APGD on the difference of logits ratio, towards targets where there are any on the targeted one. Where
    /// there are too few classes for these, 2 or towards targets 2 or 3, on the margin, as the flags say.
    let dlr how =
        attack "DLR" how (fun victims classes ->
            let least = if victims.Targets.IsSome then 4L else 3L

            let objective logits (aim: AttackContext) =
                match aim.Targets with
                | Some targets -> towards classes logits aim.Labels targets
                | None when classes >= least -> Dlr.perSample logits aim.Labels
                | None -> Margin.perSample logits aim.Labels

            [ objective ], replaced classes least)

    // There are no more classes to run towards.
    let internal fewerTargets others targets =
        sprintf "%d classes: %d target(s), not %d" (others + 1) others targets

    /// APGD-T: run after run on the targeted difference of logits ratio, each with a random start of its own,
    /// towards the class that comes first, second, ... behind the label by the clean logits, targets of them
    /// (9 in AutoAttack) or all others where there are fewer. Any other class than the label is a success,
    /// and ends it for a sample. With 2 or 3 classes it raises the target's logit less the label's. The flags
    /// say where targets are fewer or the loss is another. Where the victims have targets, those alone are
    /// run towards, and are a success.
    let targeted targets how =
        if targets < 1 then
            invalidArg (nameof targets) (sprintf "1 target or more was expected, got %d." targets)

        attack "T" how (fun victims classes ->
            let others = int classes - 1

            let objectives =
                if victims.Targets.IsSome then
                    [
                        fun logits (aim: AttackContext) ->
                            towards classes logits aim.Labels (Option.defaultValue aim.Labels aim.Targets)
                    ]
                else
                    [
                        for place in 0L .. int64 (min targets others) - 1L ->
                            fun logits (aim: AttackContext) ->
                                (Logits.rivals aim.Clean aim.Labels).select(1L, place)
                                |> towards classes logits aim.Labels
                    ]

            objectives,
            [
                yield! replaced classes 4L
                if victims.Targets.IsNone && others < targets then fewerTargets others targets
            ])
