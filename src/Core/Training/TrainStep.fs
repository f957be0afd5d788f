namespace AdvContrast.Core.Training

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods

/// Runs steps: views, adversaries and passes, then gradients, and the state after an update by them.
[<RequireQualifiedAccess>]
module TrainStep =

    let private statistics (state: State) =
        state.Averages
        |> Map.toSeq
        |> Seq.map (fun (name, (_, buffers)) -> Average name, buffers)
        |> Map.ofSeq
        |> Map.add Online (snd state.Online)

    let private drawOf machine (method: Method) (progress: Progress) (batch: Batch) =
        // Every step on one batch meets the same draws.
        let replays = int64 method.Recipe.Replays
        ForwardPass.draw machine { progress with Step = progress.Step / replays * replays } batch.Ids

    /// The views that a method's step draws of its batch. They depend on where the run stands and on nothing
    /// that it has learnt, so they can be made ahead. They belong to the caller's scope.
    let views machine (method: Method) (progress: Progress) (batch: Batch) : Map<string, Tensor> =
        let draw = drawOf machine method progress batch

        (Map.empty, method.Step.Views)
        ||> List.fold (fun views spec ->
            let source =
                Map.tryFind spec.Source views |> Option.defaultWith (fun () -> batch.Images[spec.Source])
            views |> Map.add spec.Name ((spec.Make progress).Run (draw ("view/" + spec.Name)) source))

    // Every adversary in turn: all the images that the step's passes see.
    let private prepare machine (method: Method) trains (state: State) (batch: Batch) views =
        let draw = drawOf machine method state.Progress batch

        let start: ForwardPass.PassState = {
            Views = views
            Buffers = statistics state
            Outputs = Map.empty
            Leaked = Map.empty
        }

        let start = method.Step.Free |> Option.fold (AdversarialViews.moveViews state) start

        method.Step.Adversaries
        |> List.fold (AdversarialViews.raiseViews machine trains state batch draw) start

    let private runPasses machine (step: Step) state parameters (stage: ForwardPass.PassState) =
        (stage, step.Passes)
        ||> List.fold (fun stage pass ->
            if pass.Learn then
                ForwardPass.forward machine state parameters stage pass
            else
                use _ = torch.no_grad ()
                ForwardPass.forward machine state parameters stage pass)

    // The loss at some parameters, and its gradients in them and in the views that are free.
    let private attempt machine (step: Step) trains state batch (stage: ForwardPass.PassState) parameters =
        let learnt = ForwardPass.learning trains parameters
        let after = runPasses machine step state learnt stage
        let scene = ForwardPass.scene state batch after
        let loss = ForwardPass.lossOf step.Loss scene after
        let makes = step.Free |> Option.map _.Makes |> Option.defaultValue []
        let free =
            makes
            |> List.map (fun (made, _) -> AdversarialViews.carried made, stage.Views[made])
            |> Map.ofList
        after,
        scene,
        loss,
        ForwardPass.gradientsOf false loss (Map.foldBack Map.add free (ForwardPass.wanted learnt))

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
        Memory: TensorTree
    }

    /// Runs a step on views of a batch without changing the state: the loss, the gradients of the parameters
    /// that train, and the statistics and memory after it. The tensors belong to the caller's scope.
    /// DivergedException where the loss, or an embedding that it needs, is not finite.
    let runOn
        views
        machine
        (method: Method)
        (trains: string -> bool)
        (state: State)
        (batch: Batch)
        : Outcome =
        let tensors outcome =
            Seq.concat [
                Map.values outcome.Gradients :> Tensor seq
                Map.values outcome.Buffers
                outcome.AverageBuffers |> Map.values |> Seq.collect Map.values
                TensorTree.tensors outcome.Memory
            ]

        Scope.keeping tensors (fun () ->
            let step, parameters = method.Step, fst state.Online
            let stage = prepare machine method trains state batch (views ())
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
            let value = float (loss.``to``(torch.float32).item<float32>())

            if not (Double.IsFinite value) then
                FiniteCheck.stop
                    (FiniteCheck.ofOutputs batch.Ids after.Outputs)
                    (sprintf "the loss is %g." value)

            let memory = method.Memory.After scene

            let memory =
                match step.Free with
                | Some free -> TensorTree.join memory (AdversarialViews.climbed state stage gradients free)
                | None -> memory

            {
                Loss = value
                Measures = step.Measures scene
                Gradients =
                    gradients
                    |> Map.filter (fun name _ -> parameters.ContainsKey name)
                    |> ForwardPass.add after.Leaked
                Buffers = after.Buffers[Online]
                AverageBuffers = state.Averages |> Map.map (fun name _ -> after.Buffers[Average name])
                Memory = memory
            })

    /// The same on views drawn now.
    let run machine (method: Method) trains (state: State) (batch: Batch) : Outcome =
        runOn (fun () -> views machine method state.Progress batch) machine method trains state batch

    // An average after the step.
    let private follow (state: State) (parameters: Parameters) outcome (average: Average) =
        let decay = average.Decay.Run state.Progress
        let parametersBefore, buffersBefore = state.Averages[average.Name]

        let towards (now: Map<string, Tensor>) (before: Map<string, Tensor>) =
            before
            |> Map.map (fun name x ->
                Scope.tensor (fun () -> (x * decay).add_(now[name], (1.0 - decay).ToScalar())))

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
