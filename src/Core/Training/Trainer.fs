namespace AdvContrast.Core.Training

open System
open System.Diagnostics
open AdvContrast.Engine
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods

/// A training run to be: what runs, on what, and how.
[<NoEquality; NoComparison>]
type Trainer = {
    Machine: Machine
    Method: Method
    /// Borrowed, like all tensors here; they must outlive the run.
    Dataset: Dataset
    /// Labels of every image that earlier stages made, by name: int64 [n].
    Labels: Map<string, Tensor>
    /// Every image as earlier stages made it, by name: uint8 [n; c; h; w].
    Images: Map<string, Tensor>
    /// Images a step.
    Batch: int
    Epochs: int
}

/// One step done. It carries numbers; the state itself only as a copy on demand.
[<NoEquality; NoComparison>]
type Event = {
    /// What is going on: the method's name, or that of a stage before it, <c>"deacl/teacher"</c>.
    Stage: string
    /// Where the run stands after the step.
    At: Progress
    /// NaN for a stage without training, where a step is an image.
    Loss: float
    Measures: (string * float) list
    /// What a reader of the figures must know from here on, one sentence each.
    Notes: string list
    /// Seconds that the step took, and those of them in which it waited for its images.
    Took: float
    Waited: float
    /// A deep copy of the state after the step; its caller disposes it. Only while the sequence stands here.
    Snapshot: unit -> State
}

/// Training as a fold of the step over batches.
[<RequireQualifiedAccess>]
module Trainer =

    // The rows that a coreset rule keeps out of training, and those that are trained on.
    let private parted training =
        let n = int training.Dataset.Count

        match training.Method.Sampling with
        | Everything -> [||], Array.init n id
        | Chosen coreset ->
            Rng.create training.Machine.Seed "held-out" [||]
            |> Rng.permutation n
            |> Array.splitAt (min coreset.HeldOut (n / 10))
            |> fun (heldOut, rest) -> Array.map int64 heldOut, Array.sort rest

    // A last batch of a single image has nothing to be contrasted with, so it is left out.
    let private batchesPerEpoch training =
        let n, batch = (snd (parted training)).Length, training.Batch
        max 1 (n / batch + (if n % batch > 1 then 1 else 0))

    let private stepsPerEpoch training = batchesPerEpoch training * training.Method.Recipe.Replays

    /// Steps of a whole run.
    let steps training = int64 (stepsPerEpoch training) * int64 training.Epochs

    // The batches of an epoch: each is a permutation of its own.
    let private batches training epoch =
        let rows = snd (parted training)

        { Rng.create training.Machine.Seed "order" [||] with Epoch = epoch }
        |> Rng.permutation rows.Length
        |> Array.map (fun at -> int64 rows[at])
        |> Array.chunkBySize training.Batch
        |> Array.truncate (batchesPerEpoch training)

    let private chosenBatches = "coreset/batches"

    // The batches that a coreset rule chose, one a row.
    let private chosen (state: State) =
        match Map.tryFind chosenBatches state.Memory with
        | Some(Leaf.Tensor rows) ->
            Scope.value (fun () -> rows.cpu().data<int64>().ToArray())
            |> Array.chunkBySize (int rows.shape[1])
            |> Some
        | _ -> None

    // The rows of the step that a state is about to make.
    let private rows training (progress: Progress) (chosen: int64[][] option) =
        let place = progress.StepInEpoch / training.Method.Recipe.Replays

        match chosen with
        | Some chosen -> chosen[place]
        | None -> (batches training progress.Epoch)[place]

    let private onDevice (device: torch.Device) (tensors: Map<string, Tensor>) =
        tensors |> Map.map (fun _ x -> x.``to`` device)

    // A model's tensors under a method's names, where it has them in that shape: every branch starts from the
    // one that the model is used by.
    let private startingFrom (model: Model) (fresh: Map<string, Tensor>) (weights: Map<string, Tensor>) =
        fresh
        |> Map.map (fun name x ->
            let plain = Branch.stem name
            let found =
                Map.tryFind (Branch.suffix model.Branch plain) weights
                |> Option.orElse (Map.tryFind plain weights)

            match found with
            | Some given when given.shape = x.shape -> given.detach().clone()
            | _ -> x)

    // In the layout that convolutions read, which those that learn would otherwise make anew in every pass. The
    // order of sums hangs on it, so a run has it from its first state, fresh or resumed.
    let private laidOut training state =
        let next = state |> State.map (fun x -> (ForwardPass.laidOut training.Machine x).alias())
        State.dispose state
        next

    /// The first state of a run; it belongs to no scope.
    let start training : State =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let machine, method = training.Machine, training.Method
        let draw = Rng.create machine.Seed "init" [||]
        let parameters, buffers = machine.Network.Init draw

        let parameters, buffers =
            match method.From with
            | Some name ->
                let model = machine.Frozen[name]

                startingFrom model parameters (fst model.Weights),
                startingFrom model buffers (snd model.Weights)
            | None -> parameters, buffers

        let parameters, buffers = onDevice machine.Device parameters, onDevice machine.Device buffers
        let copy tensors = TensorTree.toTensors (TensorTree.copy (TensorTree.ofTensors tensors))
        let memory = method.Memory.Init (Rng.sub "memory" draw) machine.Network.EmbeddingWidth

        laidOut training {
            Online = parameters, buffers
            Averages =
                method.Averages |> List.map (fun a -> a.Name, (copy parameters, copy buffers)) |> Map.ofList
            Optimizer = method.Recipe.Optimizer.Init parameters
            Memory = memory |> TensorTree.map _.``to``(machine.Device)
            Progress = Progress.start (stepsPerEpoch training) training.Epochs
        }

    let private batchOf training (ids: int64[]) : Batch =
        let device = training.Machine.Device
        let pick (all: Tensor) =
            all.index_select (0L, torch.tensor(ids).``to`` all.device) |> Accelerator.send device

        {
            Ids = ids
            Images =
                training.Images
                |> Map.map (fun _ all -> Scope.tensor (fun () -> (pick all).``to``(torch.float32) / 255.0))
                |> Map.add "image" (training.Dataset.Batch device ids)
            Labels =
                training.Labels
                |> Map.map (fun _ all -> Scope.tensor (fun () -> pick all))
                |> if training.Dataset.IsLabelled then
                       Map.add "class" (training.Dataset.LabelsOf device ids)
                   else
                       id
        }

    /// The batch that a run's next step sees where all batches are trained on; its tensors belong to the
    /// caller's scope.
    let nextBatch training (progress: Progress) : Batch = batchOf training (rows training progress None)

    // What a step sees.
    [<NoEquality; NoComparison>]
    type private Seen = { Batch: Batch; Views: Map<string, Tensor> }

    let private tensorsOf seen =
        Seq.concat [ Map.values seen.Batch.Images; Map.values seen.Batch.Labels; Map.values seen.Views ]

    let private seeing training progress batch = {
        Batch = batch
        Views = TrainStep.views training.Machine training.Method progress batch
    }

    // What the step at some progress sees where all batches are trained on; it belongs to no scope.
    let private seenAt training progress =
        use _ = torch.NewDisposeScope()
        let seen = seeing training progress (nextBatch training progress)
        Scope.adopt (tensorsOf seen)
        seen

    let private discard seen =
        for x in tensorsOf seen do
            x.Dispose()

    // The coreset that is due at a state's epoch, as memory.
    let private choose training (state: State) (coreset: Coreset) : TensorTree =
        let whole = batches training state.Progress.Epoch |> Array.filter (fun b -> b.Length = training.Batch)
        let buffers = snd state.Online

        let gradient trains step parameters ids =
            let method = { training.Method with Step = step; Memory = Memory.none }
            let state = { state with Online = parameters, buffers }
            let batch = batchOf training ids
            (TrainStep.run training.Machine method trains state batch).Gradients

        let probe = { Parameters = fst state.Online; HeldOut = fst (parted training); Gradient = gradient }

        let places = if whole.Length = 0 then [||] else coreset.Choose probe whole

        match places with
        | [||] -> Map.empty
        | _ ->
            let rows = places |> Array.map (fun place -> whole[place]) |> Array.concat
            Map [
                chosenBatches,
                Leaf.Tensor(torch.tensor(rows).reshape([| places.LongLength; int64 training.Batch |]))
            ]

    let private withCoreset training (state: State) =
        match training.Method.Sampling with
        | Chosen coreset when state.Progress.StepInEpoch = 0 && coreset.Due state.Progress -> {
            state with
                Memory = TensorTree.join state.Memory (choose training state coreset)
          }
        | _ -> state

    // After the last of the chosen batches the epoch is over.
    let private ended training chosen (progress: Progress) =
        match chosen with
        | Some(batches: int64[][]) when progress.StepInEpoch = batches.Length * training.Method.Recipe.Replays ->
            Progress.atEpoch (progress.Epoch + 1) progress
        | _ -> progress

    // One step: the next state in place of the old one, or an error that leaves the old one.
    let private step
        training
        looksAhead
        (ahead: Prefetch<Progress, Seen>)
        (waiting: Stopwatch)
        (state: State)
        =
        use scope = torch.NewDisposeScope()
        let before = state
        let recipe = training.Method.Recipe
        let diverged problem = Error(Error.Diverged(before.Progress.Step + 1L, problem))

        try
            let state = withCoreset training state
            let chosen = chosen state
            waiting.Start()

            let seen =
                match training.Method.Sampling with
                | Everything ->
                    let seen = ahead.Take state.Progress
                    tensorsOf seen |> Seq.iter scope.Attach
                    seen
                | Chosen _ ->
                    batchOf training (rows training state.Progress chosen) |> seeing training state.Progress

            waiting.Stop()
            let following = Progress.next state.Progress

            if looksAhead && training.Method.Sampling.IsEverything && not following.IsFinished then
                ahead.Ask following

            let outcome =
                TrainStep.runOn
                    (fun () -> seen.Views)
                    training.Machine
                    training.Method
                    recipe.Trains.Run
                    state
                    seen.Batch
            let next = TrainStep.update recipe.Optimizer training.Method state outcome
            let next = { next with Progress = ended training chosen next.Progress }

            // A step may spoil the weights or statistics while its own loss is finite.
            match
                FiniteCheck.ofTree
                    (TensorTree.under "gradient" (TensorTree.ofTensors outcome.Gradients))
                    (State.toTree next)
            with
            | Some problem -> diverged problem
            | None ->
                Scope.adopt (State.tensors next)
                State.tensors before |> Scope.release (State.tensors next)
                Ok(next, outcome)
        with
        | DivergedException problem -> diverged problem
        | :? EmbeddingException as e -> diverged e.Message
        | UnknownNameException error -> Error error

    /// The run as events gives it, with the images of a step made on a second thread while the step before it
    /// runs, or on the caller's when they are due. The results are the same, bit for bit.
    let eventsLooking isAhead training (from: unit -> State) : seq<Result<Event, Error>> = seq {
        let state = ref (laidOut training (from ()))
        let mutable going = true
        use ahead = new Prefetch<Progress, Seen>(seenAt training, discard)

        try
            while going && not state.Value.Progress.IsFinished do
                let clock, waiting = Stopwatch.StartNew(), Stopwatch()

                match step training isAhead ahead waiting state.Value with
                | Ok(next, outcome) ->
                    state.Value <- next
                    // No background work runs while the event is handled.
                    waiting.Start()
                    ahead.Settle()
                    waiting.Stop()

                    Ok {
                        Stage = training.Method.Name
                        At = next.Progress
                        Loss = outcome.Loss
                        Measures = outcome.Measures
                        Notes = []
                        Took = clock.Elapsed.TotalSeconds
                        Waited = waiting.Elapsed.TotalSeconds
                        Snapshot = fun () -> State.copy state.Value
                    }
                | Error error ->
                    going <- false
                    Error error
        finally
            State.dispose state.Value
    }

    // A second thread on a processor that computes already would only be in its way.
    let private hasRoom training =
        training.Machine.Device.``type`` <> DeviceType.CPU
        || Environment.ProcessorCount > torch.get_num_threads ()

    /// The run as a lazy sequence, one item a step, from a state that the sequence takes over; disposing its
    /// enumerator frees everything. It ends when the epochs are done, with Error.Diverged where a loss, an
    /// embedding, a weight or a statistic is not finite, or with Error.UnknownName where the loss asks for a
    /// name that is not there. Where a processor is free, images are made ahead of their step.
    let events training from = eventsLooking (hasRoom training) training from
