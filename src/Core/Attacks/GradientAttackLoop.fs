namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// The one template behind every gradient attack, in training and in evaluation. It takes gradients with
/// respect to images alone; the parameters' gradients are neither computed nor touched.
[<RequireQualifiedAccess>]
module GradientAttackLoop =

    // The threat of the warm start, `radii` times as wide.
    let internal widened radii threat = { threat with Radius = radii * threat.Radius }

    // The first point without a warm start.
    let private own threat (ascent: GradientAttack) draw (origin: Tensor) =
        Scope.tensor (fun () ->
            let noise (make: int64 list -> Rng -> Tensor) =
                (make (List.ofArray origin.shape[1..]) draw).``to``(origin.device).``to``(origin.dtype)

            match ascent.Start with
            | AtInput -> origin.alias ()
            | Uniform clipped ->
                let x = Projection.randomStart threat draw origin
                if clipped then Projection.project threat origin x else x
            | Sphere ->
                let direction =
                    match threat.Norm with
                    | Linf -> noise Rng.uniform * 2.0 - 1.0
                    | L2
                    | L1 -> noise Rng.normal

                let length = (Projection.length threat.Norm direction).clamp_min(1e-12.ToScalar())

                origin + direction * Shape.perSample direction (threat.Radius / length)
                |> Projection.project threat origin
            | Gaussian deviation -> origin + noise Rng.normal * deviation
            | GaussianInside deviation ->
                origin + noise Rng.normal * deviation |> Projection.project threat origin)

    /// The first point for each image, as the attack's start says; with a warm start, that
    /// other's, in its wider ball.
    let rec start threat (ascent: GradientAttack) draw (origin: Tensor) =
        match ascent.After with
        | None -> own threat ascent draw origin
        | Some(radii, earlier) -> start (widened radii threat) earlier draw origin

    // Whether the first point may lie where the threat does not allow it: a place to take a gradient at, not
    // a result.
    let internal strays ascent =
        match ascent.After, ascent.Start with
        | None, (Uniform false | Gaussian _) -> true
        | _ -> false

    /// The gradient of a sum of values at a leaf of their graph; zeros where no graph leads there, as with a
    /// classifier that detaches its answers: attacks then see a zero gradient, and say so.
    let internal slope keepGraph (values: Tensor) (leaf: Tensor) : Tensor =
        Scope.tensor (fun () ->
            let total = values.sum ()

            if total.requires_grad then Autograd.grad keepGraph total [ leaf ] else [ None ]
            |> List.head
            |> Option.defaultWith (fun () -> torch.zeros_like leaf))

    /// A gradient whose entries that are not finite are 0, so that a step does not go along them.
    let internal calm (gradient: Tensor) = gradient.nan_to_num (0.0, 0.0, 0.0)

    /// The objective at x and, where asked for, its gradient there, zero where the objective does not depend
    /// on x. A value without dimension counts for every sample: they rise together.
    let look wantGradient (objective: Objective) (x: Tensor) : Tensor * Tensor option =
        use scope = torch.NewDisposeScope()

        if wantGradient then
            use _ = torch.enable_grad ()
            let leaf = x.detach().requires_grad_ true
            let value = objective leaf
            let gradient = slope false value leaf
            let value = value.detach().expand [| x.shape[0] |]
            scope.MoveToOuter<Tensor> value, Some(scope.MoveToOuter<Tensor> gradient)
        else
            use _ = torch.no_grad ()
            scope.MoveToOuter<Tensor>((objective x).expand [| x.shape[0] |]), None

    /// The means of value and gradient over several passes at the same point, for a randomised objective, by
    /// chance. ArgumentException where passes is below 1.
    let averaged passes wantGradient objective x =
        if passes < 1 then
            invalidArg (nameof passes) (sprintf "1 pass or more was expected, got %d." passes)

        let both (value: Tensor, gradient: Tensor option) = seq {
            value
            yield! Option.toList gradient
        }

        let add (value: Tensor, gradient: Tensor option) _ =
            let sum =
                Scope.keeping both (fun () ->
                    let value', gradient' = look wantGradient objective x
                    value + value', Option.map2 (fun (g: Tensor) (g': Tensor) -> g + g') gradient gradient')

            both (value, gradient) |> Scope.release (both sum)
            sum

        let one = look wantGradient objective x

        if passes = 1 then
            one
        else
            let value, gradient = List.fold add one [ 2..passes ]
            let mean (sum: Tensor) = sum.div_ ((float passes).ToScalar())
            mean value, Option.map mean gradient

    /// The tensors of an iterate.
    let tensors iterate = seq {
        iterate.Origin
        iterate.X
        iterate.Previous
        iterate.Value
        iterate.Gradient
        iterate.BestX
        iterate.BestValue
        iterate.BestGradient
        yield! TensorTree.tensors iterate.Memory
    }

    /// The state of an attack after its first point. Any number is better than a value that is
    /// none.
    let first (origin: Tensor) x (value: Tensor, gradient) = {
        Index = 0
        Origin = origin
        X = x
        Previous = x
        Value = value
        Gradient = gradient
        BestX = x
        BestValue = value.masked_fill (value.isnan (), System.Double.NegativeInfinity.ToScalar())
        BestGradient = gradient
        Memory = Map.empty
    }

    /// The next point, projected about the original, with the rule's memory after it.
    let next threat (ascent: GradientAttack) iterate =
        let x, memory = ascent.Next threat iterate
        Projection.project threat iterate.Origin x, memory

    /// The state after looking at the next point; for each sample the better of the two stays best.
    let advance iterate x memory (value: Tensor, gradient: Tensor) =
        let better = value.gt iterate.BestValue
        let pick (now: Tensor) (before: Tensor) = torch.where (Shape.perSample now better, now, before)

        {
            iterate with
                Index = iterate.Index + 1
                X = x
                Previous = iterate.X
                Value = value
                Gradient = gradient
                BestX = pick x iterate.BestX
                BestValue = torch.where (better, value, iterate.BestValue)
                BestGradient = pick gradient iterate.BestGradient
                Memory = memory
        }

    /// Some of the samples, by row.
    let select (rows: Tensor) iterate =
        let take (x: Tensor) = x.index_select (0L, rows)

        {
            iterate with
                Origin = take iterate.Origin
                X = take iterate.X
                Previous = take iterate.Previous
                Value = take iterate.Value
                Gradient = take iterate.Gradient
                BestX = take iterate.BestX
                BestValue = take iterate.BestValue
                BestGradient = take iterate.BestGradient
                Memory = iterate.Memory |> TensorTree.map take
        }

    // Replaces a state by a later one and frees what only the earlier one held.
    let internal step (change: Iterate -> Iterate) iterate =
        let later = Scope.keeping tensors (fun () -> change iterate)
        tensors iterate |> Scope.release (tensors later)
        later

    /// Raises an objective over images jointly, for training: one run, no early stop, every step made, those
    /// of the warm start too. Entries of a gradient that are not finite are 0 in its step.
    /// origin: [n; c; h; w] within the box. Result: new images, the same shape and dtype, no gradient
    /// attached.
    let rec ascend draw threat (ascent: GradientAttack) (objective: Objective) (origin: Tensor) : Tensor =
        Scope.tensor (fun () ->
            let origin = origin.detach ()

            let x =
                match ascent.After with
                | None -> own threat ascent draw origin
                | Some(radii, earlier) ->
                    origin
                    |> ascend draw (widened radii threat) { earlier with Keep = Best } objective
                    |> Projection.project threat origin

            let look x =
                let value, gradient = averaged ascent.Passes true objective x
                value, calm (Option.get gradient)

            let climbed =
                let rec climb iterate =
                    if iterate.Index = ascent.Steps - 1 then
                        iterate
                    else
                        iterate
                        |> step (fun now ->
                            let x, memory = next threat ascent now
                            advance now x memory (look x))
                        |> climb

                if ascent.Steps = 0 then
                    None
                else
                    let begun = first origin x (look x)

                    if strays ascent then
                        let least = torch.full_like (begun.Value, System.Double.NegativeInfinity.ToScalar())

                        Some(climb { begun with BestValue = least })
                    else
                        Some(climb begun)

            match climbed with
            | None -> Projection.project threat origin x
            | Some iterate ->
                let last, _ = next threat ascent iterate

                match ascent.Keep with
                | Last -> last
                | Best ->
                    let value, _ = averaged ascent.Passes false objective last
                    let better = Shape.perSample last (value.gt iterate.BestValue)
                    torch.where (better, last, iterate.BestX))
