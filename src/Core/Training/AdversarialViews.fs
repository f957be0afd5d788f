namespace AdvContrast.Core.Training

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods

/// Makes the views of adversaries: by an ascent over passes of their own, or carried from step to step.
[<RequireQualifiedAccess>]
module internal AdversarialViews =

    let private isMoving (adversary: Adversary) (pass: Pass) =
        pass.Views |> List.exists (fun view -> adversary.Makes |> List.exists (fst >> (=) view))

    // At its first look an attack that begins at its origins has moved nothing: a pass over its views sees
    // what one over their origins sees. That one, and the one that stands for it.
    let private twins (adversary: Adversary) (passes: Pass list) =
        let origins = Map.ofList adversary.Makes
        let isMoving = isMoving adversary
        let seen (pass: Pass) =
            pass.Views |> List.map (fun view -> Map.tryFind view origins |> Option.defaultValue view)

        match passes |> List.filter _.Keep with
        | [ a; b ] when
            adversary.Ascent.Start = AtInput
            && adversary.Ascent.After.IsNone
            && not adversary.Leaks
            && a.Who = b.Who
            && a.Call = b.Call
            && seen a = seen b
            && isMoving a <> isMoving b
            ->
            Some(if isMoving b then a, b else b, a)
        | _ -> None

    // What a pass over the same images gave, for its twin. The statistics move once more: towards the same s,
    // by m (s - r) and then by (1 - m) m (s - r).
    let private standIn
        (before: ForwardPass.PassState)
        (pass: Pass, other: Pass)
        (after: ForwardPass.PassState)
        =
        let outputs =
            (after.Outputs, List.zip pass.Views other.Views)
            ||> List.fold (fun outputs (view, seen) ->
                outputs
                |> Map.add (pass.Name, view) (Output.map _.detach() after.Outputs[(other.Name, seen)]))

        let again name (now: Tensor) =
            let was = before.Buffers[pass.Who][name]
            if obj.ReferenceEquals(was, now) then
                now
            else
                Scope.tensor (fun () -> now + (now - was) * (1.0 - pass.Call.Momentum))

        {
            after with
                Outputs = outputs
                Buffers = after.Buffers |> Map.change pass.Who (Option.map (Map.map again))
        }

    // Adds the views that an adversary makes.
    let raiseViews
        machine
        trains
        (state: State)
        batch
        draw
        (stage: ForwardPass.PassState)
        (adversary: Adversary)
        =
        let made = adversary.Makes |> List.map fst
        let parameters = fst state.Online |> if adversary.Leaks then ForwardPass.learning trains else id
        let isFixed (pass: Pass) = not (isMoving adversary pass) && not pass.Keep

        // Passes over views that the attack does not move are the same at every iteration.
        let prepared =
            use _ = torch.no_grad ()
            adversary.Passes
            |> List.filter isFixed
            |> List.fold (ForwardPass.forward machine state parameters) stage

        // Batch norms are merged into the weights, and those cast, once for all iterations; but a gradient
        // that leaks into the parameters is one of them as they are.
        let moving =
            adversary.Passes
            |> List.filter (isFixed >> not)
            |> List.map (fun pass ->
                pass,
                if adversary.Leaks then None else ForwardPass.ready machine state parameters prepared pass)

        let origins = adversary.Makes |> List.map (fun (_, from) -> stage.Views[from])
        let sizes = origins |> List.map (fun x -> x.shape[0])

        let split (x: Tensor) =
            (List.scan (+) 0L sizes, sizes)
            ||> Seq.zip
            |> Seq.map (fun (start, length) -> x.narrow (0L, start, length))
            |> List.ofSeq

        let addTo (views: Map<string, Tensor>) images =
            List.fold2 (fun views name x -> Map.add name x views) views made (split images)

        let mutable buffers, leaked = prepared.Buffers, prepared.Leaked

        let mutable twins =
            if machine.Precision = Precision.Plain then None else twins adversary (List.map fst moving)

        let home = torch.CurrentDisposeScope

        let objective images =
            let stage: ForwardPass.PassState = {
                prepared with
                    Views = addTo prepared.Views images
                    Buffers = buffers
            }

            let run = List.fold (ForwardPass.forwardBy machine state parameters) stage

            let after =
                match twins with
                | None -> run moving
                | Some(pass, other) ->
                    twins <- None

                    moving |> List.filter (fun (p, _) -> p <> pass) |> run |> standIn stage (pass, other)

            // Running statistics that a pass of the attack moves are kept.
            if not (obj.ReferenceEquals(after.Buffers, buffers)) then
                after.Buffers |> Map.values |> Seq.collect Map.values |> Scope.moveTo home
                buffers <- after.Buffers

            let value = ForwardPass.lossOf adversary.Objective (ForwardPass.scene state batch after) after

            if adversary.Leaks then
                leaked <-
                    ForwardPass.add
                        leaked
                        (ForwardPass.gradientsOf true value (ForwardPass.wanted parameters))
                Scope.moveTo home (Map.values leaked)

            value

        let images =
            GradientAttackLoop.ascend
                (Rng.copies made.Length (draw ("adversary/" + String.concat "+" made)))
                adversary.Threat
                adversary.Ascent
                objective
                (torch.cat (ResizeArray origins, 0L))

        { stage with Views = addTo stage.Views images; Buffers = buffers; Leaked = leaked }

    let carried made = "free/" + made

    // Views that carry a perturbation from the step before; their gradient will be asked for.
    let moveViews (state: State) (stage: ForwardPass.PassState) (free: Free) =
        (stage.Views, free.Makes)
        ||> List.fold (fun views (made, from) ->
            let origin = views[from]

            let x =
                match Map.tryFind (carried made) state.Memory with
                | Some(Leaf.Tensor perturbation) ->
                    origin + perturbation.narrow (0L, 0L, origin.shape[0])
                    |> Projection.project free.Threat origin
                | _ -> origin.alias ()

            Map.add made (x.detach().requires_grad_ true) views)
        |> fun views -> { stage with Views = views }

    // The perturbations after the step, by the gradients that its loss sent into the views.
    let climbed
        (state: State)
        (stage: ForwardPass.PassState)
        (gradients: Parameters)
        (free: Free)
        : TensorTree =
        free.Makes
        |> List.map (fun (made, from) ->
            let origin, x = stage.Views[from], stage.Views[made].detach()
            let value = torch.zeros ([| origin.shape[0] |], device = origin.device)
            let iterate = GradientAttackLoop.first origin x (value, gradients[carried made])
            let next, _ = GradientAttackLoop.next free.Threat free.Ascent iterate
            let perturbation = next - origin

            // A last batch that is smaller leaves the rows beyond it as they are.
            let perturbation =
                match Map.tryFind (carried made) state.Memory with
                | Some(Leaf.Tensor before) when before.shape[0] > origin.shape[0] ->
                    let rest = before.shape[0] - origin.shape[0]
                    torch.cat (ResizeArray [ perturbation; before.narrow (0L, origin.shape[0], rest) ], 0L)
                | _ -> perturbation

            carried made, Leaf.Tensor perturbation)
        |> Map.ofList
