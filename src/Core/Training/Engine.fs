namespace AdvContrast.Core

open AdvContrast.Torch.Engine
open TorchSharp

/// The number format of passes that may run in a lower precision.
[<RequireQualifiedAccess>]
type Precision =
    | Float32
    | BFloat16

/// What a step runs on.
[<NoEquality; NoComparison>]
type Machine = {
    Network: Network
    Device: torch.Device
    Precision: Precision
    Seed: uint64
    /// Networks that earlier stages made.
    Frozen: Map<string, Model>
}

/// The images of a step.
[<NoEquality; NoComparison>]
type Batch = {
    Ids: int64[]
    /// By source: "image", or what an earlier stage made; [n; c; h; w] in [0, 1].
    Images: Map<string, Tensor>
    /// By name: "class", or labels that an earlier stage made; int64 [n].
    Labels: Map<string, Tensor>
}

/// Runs steps: threads buffers through the passes, computes what stays the same once, and takes gradients.
[<RequireQualifiedAccess>]
module Engine =

    // What a step has so far: the views, the buffers of whoever computes, what the passes gave, and gradients
    // that attacks left behind.
    [<NoEquality; NoComparison>]
    type private Stage = {
        Views: Map<string, Tensor>
        Buffers: Map<Who, Buffers>
        Outputs: Map<string * string, Output>
        Leaked: Parameters
    }

    let private draw machine (progress: Progress) ids purpose = {
        Draw.create machine.Seed purpose ids with
            Epoch = progress.Epoch
            Step = progress.Step
    }

    // The network of a pass, and the call as that network understands it.
    let private computing machine (state: State) parameters stage (pass: Pass) =
        match pass.Who with
        | Online -> machine.Network, pass.Call, parameters, stage.Buffers[Online]
        | Average name -> machine.Network, pass.Call, fst state.Averages[name], stage.Buffers[pass.Who]
        | Frozen name ->
            let model = machine.Frozen[name]
            model.Network, { pass.Call with Branch = model.Branch }, fst model.Weights, snd model.Weights

    // Runs a pass over named views as one batch and slices its outcome by view.
    let private forward machine state parameters (stage: Stage) (pass: Pass) =
        let views = pass.Views |> List.map (fun name -> stage.Views[name])
        let network, call, parameters, buffers = computing machine state parameters stage pass
        let images = torch.cat (ResizeArray views, 0L)

        let output, after =
            if pass.Call.Mixed && machine.Precision = Precision.BFloat16 then
                use _ = TorchEngine.Current.Autocast(machine.Device.``type``, torch.ScalarType.BFloat16)
                network.Apply call parameters buffers images
            else
                network.Apply call parameters buffers images

        let rows = views |> List.map (fun v -> v.shape[0])
        let starts = rows |> List.scan (+) 0L

        let outputs =
            (stage.Outputs, List.zip3 pass.Views starts[.. rows.Length - 1] rows)
            ||> List.fold (fun outputs (view, start, length) ->
                outputs |> Map.add (pass.Name, view) (Output.narrow start length output))

        let keeps =
            match pass.Who with
            | Frozen _ -> false
            | _ -> pass.Keep

        {
            stage with
                Outputs = outputs
                Buffers = if keeps then Map.add pass.Who after stage.Buffers else stage.Buffers
        }

    let private scene (state: State) (batch: Batch) (stage: Stage) : Scene = {
        Progress = state.Progress
        Memory = state.Memory
        Ids = batch.Ids
        Labels = batch.Labels
        Output = fun pass view -> stage.Outputs[(pass, view)]
        Gather = fun x -> x.alias ()
    }

    // The gradients of a value with respect to named tensors; those that it does not depend on are left out.
    let private gradientsOf keepGraph (value: Tensor) (wanted: Parameters) : Parameters =
        if wanted.IsEmpty then
            Map.empty
        else
            torch.autograd.grad (
                ResizeArray [ value ],
                ResizeArray(Map.values wanted),
                retain_graph = keepGraph,
                allow_unused = true
            )
            |> Seq.zip (Map.keys wanted)
            |> Seq.filter (fun (_, g) -> not g.IsInvalid)
            |> Map.ofSeq

    let private add (a: Parameters) (b: Parameters) : Parameters =
        (a, b)
        ||> Map.fold (fun sums name x ->
            sums
            |> Map.change name (fun sum ->
                match sum with
                | Some sum -> Some(sum + x)
                | None -> Some x))

    let private learning trains (parameters: Parameters) : Parameters =
        parameters |> Map.map (fun name p -> if trains name then p.detach().requires_grad_ true else p)

    let private wanted (parameters: Parameters) : Parameters =
        parameters |> Map.filter (fun _ p -> p.requires_grad)

    // Adds the views that an adversary makes.
    let private raiseViews machine trains (state: State) batch draw (stage: Stage) (adversary: Adversary) =
        let made = adversary.Makes |> List.map fst
        let parameters = fst state.Online |> if adversary.Leaks then learning trains else id
        let isMoving (pass: Pass) = pass.Views |> List.exists (fun view -> List.contains view made)
        let isFixed (pass: Pass) = not (isMoving pass) && not pass.Keep

        // Passes over views that the attack does not move are the same at every iteration.
        let prepared =
            use _ = torch.no_grad ()
            adversary.Passes |> List.filter isFixed |> List.fold (forward machine state parameters) stage

        let moving = adversary.Passes |> List.filter (isFixed >> not)
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
        let home = torch.CurrentDisposeScope

        let objective images =
            let stage = { prepared with Views = addTo prepared.Views images; Buffers = buffers }
            let after = moving |> List.fold (forward machine state parameters) stage

            // Statistics that a pass of the attack moves outlive this look at it.
            if not (obj.ReferenceEquals(after.Buffers, buffers)) then
                after.Buffers |> Map.values |> Seq.collect Map.values |> Scope.moveTo home
                buffers <- after.Buffers

            let value = adversary.Objective(scene state batch after)

            if adversary.Leaks then
                leaked <- add leaked (gradientsOf true value (wanted parameters))
                Scope.moveTo home (Map.values leaked)

            value

        let images =
            GradientAttack.ascend
                (Draw.copies made.Length (draw ("adversary/" + String.concat "+" made)))
                adversary.Threat
                adversary.Ascent
                objective
                (torch.cat (ResizeArray origins, 0L))

        { stage with Views = addTo stage.Views images; Buffers = buffers; Leaked = leaked }

    let private carried made = "free/" + made

    // Views that carry a perturbation from the step before; their gradient will be asked for.
    let private moveViews (state: State) (stage: Stage) (free: Free) =
        (stage.Views, free.Makes)
        ||> List.fold (fun views (made, from) ->
            let origin = views[from]

            let x =
                match Map.tryFind (carried made) state.Memory with
                | Some(Value perturbation) ->
                    origin + perturbation.narrow (0L, 0L, origin.shape[0]) |> Ball.project free.Threat origin
                | _ -> origin.alias ()

            Map.add made (x.detach().requires_grad_ true) views)
        |> fun views -> { stage with Views = views }

    // The perturbations after the step, by the gradients that its loss sent into the views.
    let private climbed (state: State) (stage: Stage) (gradients: Parameters) (free: Free) : Tree =
        free.Makes
        |> List.map (fun (made, from) ->
            let origin, x = stage.Views[from], stage.Views[made].detach ()
            let value = torch.zeros ([| origin.shape[0] |], device = origin.device)
            let iterate = GradientAttack.first origin x (value, gradients[carried made])
            let next, _ = GradientAttack.next free.Threat free.Ascent iterate
            let perturbation = next - origin

            // A last batch that is smaller leaves the rows beyond it as they are.
            let perturbation =
                match Map.tryFind (carried made) state.Memory with
                | Some(Value before) when before.shape[0] > origin.shape[0] ->
                    let rest = before.shape[0] - origin.shape[0]
                    torch.cat (ResizeArray [ perturbation; before.narrow (0L, origin.shape[0], rest) ], 0L)
                | _ -> perturbation

            carried made, Value perturbation)
        |> Map.ofList

    let private statistics (state: State) =
        state.Averages
        |> Map.toSeq
        |> Seq.map (fun (name, (_, buffers)) -> Average name, buffers)
        |> Map.ofSeq
        |> Map.add Online (snd state.Online)

    // Views first, then every adversary in turn: all the images that the step's passes see.
    let private prepare machine (method: Method) trains (state: State) (batch: Batch) =
        // Every step on one batch meets the same draws.
        let replays = int64 method.Recipe.Replays
        let drawn = { state.Progress with Step = state.Progress.Step / replays * replays }
        let draw = draw machine drawn batch.Ids

        let views =
            (Map.empty, method.Step.Views)
            ||> List.fold (fun views spec ->
                let source =
                    Map.tryFind spec.Source views
                    |> Option.defaultWith (fun () -> batch.Images[spec.Source])
                views
                |> Map.add spec.Name ((spec.Make state.Progress).Run (draw ("view/" + spec.Name)) source))

        let start = {
            Views = views
            Buffers = statistics state
            Outputs = Map.empty
            Leaked = Map.empty
        }

        let start = method.Step.Free |> Option.fold (moveViews state) start

        method.Step.Adversaries |> List.fold (raiseViews machine trains state batch draw) start

    let private runPasses machine (step: Step) state parameters stage =
        (stage, step.Passes)
        ||> List.fold (fun stage pass ->
            if pass.Learn then
                forward machine state parameters stage pass
            else
                use _ = torch.no_grad ()
                forward machine state parameters stage pass)

    // The loss at some parameters, and its gradients in them and in the views that are free.
    let private attempt machine (step: Step) trains state batch stage parameters =
        let learnt = learning trains parameters
        let after = runPasses machine step state learnt stage
        let scene = scene state batch after
        let loss = step.Loss scene
        let makes = step.Free |> Option.map _.Makes |> Option.defaultValue []
        let free = makes |> List.map (fun (made, _) -> carried made, stage.Views[made]) |> Map.ofList
        after, scene, loss, gradientsOf false loss (Map.foldBack Map.add free (wanted learnt))

    // The parameters moved to raise the loss, each matrix or kernel by a part of its own length.
    let private perturbed size (gradients: Parameters) (parameters: Parameters) : Parameters =
        use _ = torch.no_grad ()

        parameters
        |> Map.map (fun name p ->
            match Map.tryFind name gradients with
            | Some g when p.shape.Length > 1 ->
                let norm (x: Tensor) = x.square().sum().sqrt()
                p + g * (norm p * size / (norm g).clamp_min(1e-12.ToScalar()))
            | _ -> p)

    /// What a step gave.
    [<NoEquality; NoComparison>]
    type Outcome = {
        Loss: float
        Measures: (string * float) list
        /// Gradients of the parameters that the loss depends on.
        Gradients: Parameters
        /// Running statistics after the step, of the network in training and of every average.
        Buffers: Buffers
        AverageBuffers: Map<string, Buffers>
        Memory: Tree
    }

    /// Runs a step on a batch without changing the state: the loss, the gradients of the parameters that
    /// train, and the statistics and memory after it. The tensors belong to the caller's scope.
    let run machine (method: Method) (trains: string -> bool) (state: State) (batch: Batch) : Outcome =
        let tensors outcome =
            Seq.concat [
                Map.values outcome.Gradients :> Tensor seq
                Map.values outcome.Buffers
                outcome.AverageBuffers |> Map.values |> Seq.collect Map.values
                Tree.tensors outcome.Memory
            ]

        Scope.keeping tensors (fun () ->
            let step, parameters = method.Step, fst state.Online
            let stage = prepare machine method trains state batch
            let attempt = attempt machine step trains state batch stage
            let size = step.WeightStep.Run state.Progress

            let parameters =
                if size > 0.0 then
                    let _, _, _, gradients = attempt parameters
                    perturbed size gradients parameters
                else
                    parameters

            let after, scene, loss, gradients = attempt parameters
            use _ = torch.no_grad ()
            let memory = method.Memory.After scene

            let memory =
                match step.Free with
                | Some free -> Tree.join memory (climbed state stage gradients free)
                | None -> memory

            {
                Loss = float (loss.``to``(torch.float32).item<float32>())
                Measures = step.Measures scene
                Gradients =
                    gradients
                    |> Map.filter (fun name _ -> parameters.ContainsKey name)
                    |> add after.Leaked
                Buffers = after.Buffers[Online]
                AverageBuffers = state.Averages |> Map.map (fun name _ -> after.Buffers[Average name])
                Memory = memory
            })

    // An average after the step.
    let private follow (state: State) (parameters: Parameters) outcome (average: Average) =
        let decay = average.Decay.Run state.Progress
        let parametersBefore, buffersBefore = state.Averages[average.Name]

        let towards (now: Map<string, Tensor>) (before: Map<string, Tensor>) =
            before |> Map.map (fun name x -> x * decay + now[name] * (1.0 - decay))

        let buffers =
            match average.Statistics with
            | Copied -> outcome.Buffers |> Map.map (fun _ x -> x.clone ())
            | Averaged -> towards outcome.Buffers buffersBefore
            | Own -> outcome.AverageBuffers[average.Name]

        towards (if average.Lags then fst state.Online else parameters) parametersBefore, buffers

    /// The state after an update by the outcome's gradients; it shares what did not change.
    let update (optimizer: Transform) (method: Method) (state: State) (outcome: Outcome) : State =
        use _ = torch.no_grad ()

        Scope.keeping State.tensors (fun () ->
            let parameters = fst state.Online
            let updates, optimizerState =
                optimizer.Update state.Progress outcome.Gradients parameters state.Optimizer
            let parameters = Transform.apply updates parameters

            {
                Online = parameters, outcome.Buffers
                Averages =
                    method.Averages
                    |> List.map (fun average -> average.Name, follow state parameters outcome average)
                    |> Map.ofList
                Optimizer = optimizerState
                Memory = outcome.Memory
                Progress = Progress.next state.Progress
            })
