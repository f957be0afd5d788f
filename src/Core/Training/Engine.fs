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
    Frozen: Map<string, Parameters * Buffers>
}

/// The images of a step.
[<NoEquality; NoComparison>]
type Batch = {
    Ids: int64[]
    /// By source: "image", or what an earlier stage made; [n; c; h; w] in [0, 1].
    Images: Map<string, Tensor>
    /// By name: "class"; int64 [n].
    Labels: Map<string, Tensor>
}

/// Runs steps: threads buffers through the passes, computes what stays the same once, and takes gradients.
[<RequireQualifiedAccess>]
module Engine =

    // What a step has so far: the views, the buffers of the net in training, and what the passes gave.
    [<NoEquality; NoComparison>]
    type private Stage = {
        Views: Map<string, Tensor>
        Buffers: Buffers
        Outputs: Map<string * string, Output>
    }

    let private draw machine (progress: Progress) ids purpose = {
        Draw.create machine.Seed purpose ids with
            Epoch = progress.Epoch
            Step = progress.Step
    }

    let private network machine (state: State) parameters stage who =
        match who with
        | Online -> parameters, stage.Buffers
        | Average name -> state.Averages[name]
        | Frozen name -> machine.Frozen[name]

    // Runs a pass over named views as one batch and slices its outcome by view.
    let private forward machine state parameters (stage: Stage) (pass: Pass) =
        let views = pass.Views |> List.map (fun name -> stage.Views[name])
        let parameters, buffers = network machine state parameters stage pass.Who
        let images = torch.cat (ResizeArray views, 0L)

        let output, after =
            if pass.Call.Mixed && machine.Precision = Precision.BFloat16 then
                use _ = TorchEngine.Current.Autocast(machine.Device.``type``, torch.ScalarType.BFloat16)
                machine.Network.Apply pass.Call parameters buffers images
            else
                machine.Network.Apply pass.Call parameters buffers images

        let rows = views |> List.map (fun v -> v.shape[0])
        let starts = rows |> List.scan (+) 0L

        let outputs =
            (stage.Outputs, List.zip3 pass.Views starts[.. rows.Length - 1] rows)
            ||> List.fold (fun outputs (view, start, length) ->
                outputs |> Map.add (pass.Name, view) (Output.narrow start length output))

        {
            stage with
                Outputs = outputs
                Buffers = if pass.Keep && pass.Who = Online then after else stage.Buffers
        }

    let private scene (state: State) (batch: Batch) (stage: Stage) : Scene = {
        Progress = state.Progress
        Memory = state.Memory
        Ids = batch.Ids
        Labels = batch.Labels
        Output = fun pass view -> stage.Outputs[(pass, view)]
        Gather = fun x -> x.alias ()
    }

    // Adds the views that an adversary makes.
    let private raiseViews machine (state: State) batch (stage: Stage) (adversary: Adversary) =
        let made = adversary.Makes |> List.map fst
        let parameters = fst state.Online
        let isMoving (pass: Pass) = pass.Views |> List.exists (fun view -> List.contains view made)
        let isFixed (pass: Pass) = pass.Call.Mode = Eval && not (isMoving pass)

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

        let mutable buffers = prepared.Buffers
        let home = torch.CurrentDisposeScope

        let objective images =
            let stage = { prepared with Views = addTo prepared.Views images; Buffers = buffers }

            let after = moving |> List.fold (forward machine state parameters) stage
            // Statistics that a pass of the attack moves outlive this look at it.
            if not (obj.ReferenceEquals(after.Buffers, buffers)) then
                Scope.moveTo home (Map.values after.Buffers)
                buffers <- after.Buffers

            adversary.Objective(scene state batch after)

        let purpose = "adversary/" + String.concat "+" made
        let draw = Draw.copies made.Length (draw machine state.Progress batch.Ids purpose)
        let images =
            GradientAttack.ascend
                draw
                adversary.Threat
                adversary.Ascent
                objective
                (torch.cat (ResizeArray origins, 0L))

        { stage with Views = addTo stage.Views images; Buffers = buffers }

    // Views first, then every adversary in turn: all the images that the step's passes see.
    let private prepare machine (step: Step) (state: State) (batch: Batch) =
        let views =
            step.Views
            |> List.map (fun spec ->
                let draw = draw machine state.Progress batch.Ids ("view/" + spec.Name)
                spec.Name, (spec.Make state.Progress).Run draw batch.Images[spec.Source])
            |> Map.ofList

        let start = { Views = views; Buffers = snd state.Online; Outputs = Map.empty }

        step.Adversaries |> List.fold (raiseViews machine state batch) start

    let private runPasses machine (step: Step) state parameters stage =
        (stage, step.Passes)
        ||> List.fold (fun stage pass ->
            if pass.Learn then
                forward machine state parameters stage pass
            else
                use _ = torch.no_grad ()
                forward machine state parameters stage pass)

    /// What a step gave.
    [<NoEquality; NoComparison>]
    type Outcome = {
        Loss: float
        Measures: (string * float) list
        /// Gradients of the parameters that the loss depends on.
        Gradients: Parameters
        Buffers: Buffers
        Memory: Tree
    }

    /// Runs a step on a batch without changing the state: the loss, the gradients of the parameters that
    /// train, and the statistics and memory after it. The tensors belong to the caller's scope.
    let run machine (method: Method) (trains: string -> bool) (state: State) (batch: Batch) : Outcome =
        let tensors outcome =
            Seq.concat [
                Map.values outcome.Gradients :> Tensor seq
                Map.values outcome.Buffers
                Tree.tensors outcome.Memory
            ]

        Scope.keeping tensors (fun () ->
            let stage = prepare machine method.Step state batch

            let learnt =
                fst state.Online
                |> Map.map (fun name p -> if trains name then p.detach().requires_grad_ true else p)

            let stage = runPasses machine method.Step state learnt stage
            let scene = scene state batch stage
            let loss = method.Step.Loss scene
            let names = learnt |> Map.toArray |> Array.filter (fun (_, p) -> p.requires_grad)

            let gradients =
                torch.autograd.grad (
                    ResizeArray [ loss ],
                    ResizeArray(Array.map snd names),
                    allow_unused = true
                )

            use _ = torch.no_grad ()

            {
                Loss = float (loss.``to``(torch.float32).item<float32>())
                Measures = method.Step.Measures scene
                Gradients =
                    Seq.zip names gradients
                    |> Seq.filter (fun (_, g) -> not g.IsInvalid)
                    |> Seq.map (fun ((name, _), g) -> name, g)
                    |> Map.ofSeq
                Buffers = stage.Buffers
                Memory = method.Memory.After scene
            })

    /// The state after an update by the outcome's gradients; it shares what did not change.
    let update (optimizer: Transform) (method: Method) (state: State) (outcome: Outcome) : State =
        use _ = torch.no_grad ()

        Scope.keeping State.tensors (fun () ->
            let parameters = fst state.Online
            let updates, optimizerState =
                optimizer.Update state.Progress outcome.Gradients parameters state.Optimizer
            let parameters = Transform.apply updates parameters
            let progress = Progress.next state.Progress

            let follow decay (before: Map<string, Tensor>) (now: Map<string, Tensor>) =
                before |> Map.map (fun name x -> x * decay + now[name] * (1.0 - decay))

            let averages =
                (state.Averages, method.Averages)
                ||> List.fold (fun averages average ->
                    let parametersBefore, buffersBefore = averages[average.Name]
                    let decay = average.Decay.Run state.Progress

                    let buffers =
                        if average.CopiesBuffers then
                            outcome.Buffers |> Map.map (fun _ x -> x.clone ())
                        else
                            follow decay buffersBefore outcome.Buffers

                    averages |> Map.add average.Name (follow decay parametersBefore parameters, buffers))

            {
                Online = parameters, outcome.Buffers
                Averages = averages
                Optimizer = optimizerState
                Memory = outcome.Memory
                Progress = progress
            })
