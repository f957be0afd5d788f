namespace AdvContrast.Core

open System
open System.Diagnostics
open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp

// The rooms, in the order in which they build on one another:
//
//   Foundation   errors, random draws, ownership of tensors, trees of what outlives a step
//   Geometry     norms, threats, and the balls that adversaries move in
//   Losses       the contrastive kernel and its instances; cross-entropy
//   Networks     networks as functions of their parameters: layers, backbones, heads, batch-norm branches
//   Attacks      the gradient-attack template, its instances, and attacks on classifiers
//   Augment      random views
//   Optim        schedules and update rules
//   Methods      a training step as data, and one file a published method
//   Data         data sets
//   Training     the engine that runs a step, the run as a sequence of events, checkpoints
//   Evaluation   encoders, linear probes, accuracy under attack
//   Reporting    what a run's folder says of it

/// The verbs: pre-train an encoder, fit a classifier on it, attack that, and measure.
[<RequireQualifiedAccess>]
module Workbench =

    /// Trains from a state, writing a checkpoint and the manifest to the folder after every epoch and at the
    /// end.
    let private train
        folder
        watch
        (stop: CancellationToken)
        configuration
        (training: Training)
        (from: unit -> State)
        =
        let clock = Stopwatch.StartNew()
        let started = DateTimeOffset.Now
        let input = Dataset.input training.Dataset

        let checkpoint state = { Configuration = configuration; Input = input; State = state }

        let save (event: Event) state =
            match folder with
            | None -> Ok()
            | Some folder -> result {
                do! Checkpoint.save folder (checkpoint state)

                do!
                    Manifest.save folder {
                        Configuration = configuration
                        Environment = Platform.current ()
                        Started = started
                        Step = event.At.Step
                        Steps = event.At.Steps
                        Loss = event.Loss
                        Seconds = clock.Elapsed.TotalSeconds
                        Repeatable = true
                    }
              }

        let finish (event: Event) =
            let state = event.Snapshot()

            try
                result {
                    do! save event state

                    if event.At.IsFinished then
                        return! Encoder.ofCheckpoint (checkpoint state) |> Result.map Some
                    elif stop.IsCancellationRequested then
                        return! Error Error.Interrupted
                    else
                        return None
                }
            finally
                State.dispose state

        let advance (event: Event) =
            watch event

            if event.At.StepInEpoch = 0 || event.At.IsFinished || stop.IsCancellationRequested then
                finish event
            else
                Ok None

        Training.events training from
        |> Seq.map (Result.bind advance)
        |> Seq.tryPick (fun outcome ->
            match outcome with
            | Ok None -> None
            | Ok(Some encoder) -> Some(Ok encoder)
            | Error e -> Some(Error e))
        |> Option.defaultValue (
            Error(Error.BadOption("--epochs", "the run is finished already; there is nothing to train."))
        )
        |> Result.mapError List.singleton

    // A folder that a run can be written to and that holds none yet.
    let private fresh folder = result {
        if Checkpoint.existsIn folder then
            let advice =
                sprintf
                    "'%s' holds a run; name another folder, or go on with that run: --resume %s"
                    folder
                    folder
            return! Error(Error.BadOption("--out", advice))
        else
            return! Checkpoint.prepare folder
    }

    /// Pre-trains an encoder. folder: where checkpoints and the manifest go, None to keep nothing on disk;
    /// one that holds a run is refused. watch is called after every step. When stop is cancelled, training
    /// ends within a step with a checkpoint and Error.Interrupted. The encoder belongs to the caller.
    let pretrain folder (watch: Event -> unit) stop configuration : Result<Encoder, Error list> = result {
        let configuration = Configuration.settle configuration
        let! training = Configuration.training configuration
        use _ = training.Dataset
        do! folder |> Option.traverseResult fresh |> Result.map ignore |> Result.mapError List.singleton
        return! train folder watch stop configuration training (fun () -> Training.start training)
    }

    /// Goes on with an interrupted run from the newest good checkpoint in its folder.
    let resume folder watch stop : Result<Encoder, Error list> = result {
        let! checkpoint, _ = Checkpoint.load folder |> Result.mapError List.singleton

        try
            let! training = Configuration.training checkpoint.Configuration
            use _ = training.Dataset
            let from () = State.onDevice training.Machine.Device checkpoint.State
            return! train (Some folder) watch stop checkpoint.Configuration training from
        finally
            State.dispose checkpoint.State
    }

    /// Fits a linear layer on the frozen encoder (SLF) with a training set.
    let probe (how: LinearProbe) (encoder: Encoder) (train: Dataset) : LinearHead =
        LinearProbe.fit how ignore encoder train

    /// Attacks a few images; what it did belongs to the caller's scope.
    /// images: [n; c; h; w] in [0, 1]; labels: int64 [n]. ArgumentException where they do not fit.
    let attack
        (attack: Attack)
        seed
        threat
        (classifier: Classifier)
        (images: Tensor)
        (labels: Tensor)
        : Harm =
        Shape.rank "n;c;h;w" (nameof images) images
        Shape.rank "n" (nameof labels) labels

        if labels.shape[0] <> images.shape[0] || labels.dtype <> torch.ScalarType.Int64 then
            invalidArg
                (nameof labels)
                (sprintf "one int64 label an image was expected, %d of them." images.shape[0])

        let ids = Array.init (int images.shape[0]) int64
        let victims = { Ids = ids; Images = images; Labels = labels; Targets = None }
        attack.Run (Draw.create seed "attack" ids) threat classifier victims

    /// Fits a linear layer on the encoder, then measures clean accuracy and accuracy under attacks on a test
    /// set. report: called with the name of what is being done and the share of it done.
    let evaluate report stop (encoder: Encoder) (evaluation: Evaluation) : Result<Measured, Error list> =
        Evaluation.run report stop encoder evaluation
