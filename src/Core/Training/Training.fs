namespace AdvContrast.Core

open System
open TorchSharp

/// A training run to be: what runs, on what, and how.
[<NoEquality; NoComparison>]
type Training = {
    Machine: Machine
    Method: Method
    /// Borrowed; it must outlive the run.
    Dataset: Dataset
    /// Images a step.
    Batch: int
    Epochs: int
}

/// One step done. It carries numbers; the state itself only as a copy on demand.
[<NoEquality; NoComparison>]
type Event = {
    /// Where the run stands after the step.
    At: Progress
    Loss: float
    Measures: (string * float) list
    /// A deep copy of the state after the step; its caller disposes it. Only while the sequence stands here.
    Snapshot: unit -> State
}

/// Training as a fold of the step over batches.
[<RequireQualifiedAccess>]
module Training =

    // A last batch of a single image has nothing to be contrasted with, so it is left out.
    let private stepsPerEpoch training =
        let n, batch = int training.Dataset.Count, training.Batch
        max 1 (n / batch + (if n % batch > 1 then 1 else 0))

    // The rows of a step: each epoch is a permutation of its own.
    let private rows training (progress: Progress) =
        { Draw.create training.Machine.Seed "order" [||] with Epoch = progress.Epoch }
        |> Draw.permutation (int training.Dataset.Count)
        |> Array.skip (progress.StepInEpoch * training.Batch)
        |> Array.truncate training.Batch
        |> Array.map int64

    let private onDevice (device: torch.Device) (tensors: Map<string, Tensor>) =
        tensors |> Map.map (fun _ x -> x.``to`` device)

    /// The first state of a run; it belongs to no scope.
    let start training : State =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let machine = training.Machine
        let parameters, buffers = machine.Network.Init(Draw.create machine.Seed "init" [||])
        let parameters, buffers = onDevice machine.Device parameters, onDevice machine.Device buffers

        let state = {
            Online = parameters, buffers
            Averages = Map.empty
            Optimizer = training.Method.Recipe.Optimizer.Init parameters
            Memory = training.Method.Memory.Init machine.Seed
            Progress = Progress.start (stepsPerEpoch training) training.Epochs
        }

        let copy () = onDevice machine.Device (Tree.toTensors (Tree.copy (Tree.ofTensors parameters)))
        let copyBuffers () = Tree.toTensors (Tree.copy (Tree.ofTensors buffers))

        let averages =
            training.Method.Averages |> List.map (fun a -> a.Name, (copy (), copyBuffers ())) |> Map.ofList

        let state = { state with Averages = averages }
        Scope.adopt (State.tensors state)
        state

    /// The batch that the run's next step sees; its tensors belong to the caller's scope.
    let nextBatch training (progress: Progress) : Batch =
        let ids = rows training progress

        {
            Ids = ids
            Images = Map [ "image", training.Dataset.Batch training.Machine.Device ids ]
            Labels = Map [ "class", training.Dataset.LabelsOf training.Machine.Device ids ]
        }

    // A step may spoil the weights while its own loss is still finite; such a state must reach no checkpoint.
    let private isFinite (parameters: Parameters) =
        Scope.value (fun () ->
            let largest = parameters |> Map.values |> Seq.map _.abs().max()
            torch.stack(largest).isfinite().all().item<bool>())

    // One step: the next state in place of the old one, or only the loss where that or the weights are not
    // finite.
    let private step training state =
        use _ = torch.NewDisposeScope()
        let recipe = training.Method.Recipe
        let outcome =
            Engine.run
                training.Machine
                training.Method
                recipe.Trains
                state
                (nextBatch training state.Progress)

        let next = Engine.update recipe.Optimizer training.Method state outcome

        if not (Double.IsFinite outcome.Loss) then
            Error outcome.Loss
        elif not (isFinite (fst next.Online)) then
            Error nan
        else
            Scope.adopt (State.tensors next)
            State.tensors state |> Scope.release (State.tensors next)
            Ok(next, outcome)

    /// The run as a lazy sequence, one item a step, from a state that the sequence takes over; disposing its
    /// enumerator frees everything. It ends when the epochs are done, or with Error.Diverged at a loss, or
    /// weights, that are not finite.
    let events training (from: unit -> State) : seq<Result<Event, Error>> = seq {
        let state = ref (from ())
        let mutable going = true

        try
            while going && not state.Value.Progress.IsFinished do
                match step training state.Value with
                | Ok(next, outcome) ->
                    state.Value <- next

                    Ok {
                        At = next.Progress
                        Loss = outcome.Loss
                        Measures = outcome.Measures
                        Snapshot = fun () -> State.copy state.Value
                    }
                | Error loss ->
                    going <- false
                    Error(Error.Diverged(state.Value.Progress.Step + 1L, loss))
        finally
            State.dispose state.Value
    }
