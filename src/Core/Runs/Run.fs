namespace AdvContrast.Core.Runs

open System
open System.Diagnostics
open System.Threading
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// What happens where a run's folder holds a run already.
[<RequireQualifiedAccess>]
type Existing =
    | Refuse
    /// It is removed, once all that can be checked of the new one is.
    | Replace
    | Resume

/// Output folder, progress callback and cancellation token of a run.
[<NoEquality; NoComparison>]
type RunContext = {
    /// For checkpoints and the manifest; None keeps nothing on disk.
    Folder: string option
    /// Called after every step.
    Watch: Event -> unit
    /// When cancelled, the run ends within a step with a checkpoint and Error.Interrupted.
    Stop: CancellationToken
    Existing: Existing
    /// The method is registered, so a manifest or a checkpoint can name it.
    Registered: bool
}

/// Time since a run's first start, over all processes that trained it.
[<NoEquality; NoComparison>]
type RunClock = {
    Started: DateTimeOffset
    Seconds: unit -> float
    /// Notes of the manifest so far.
    Notes: string list
}

[<RequireQualifiedAccess>]
module RunClock =

    /// That of the run of a journal, from now on: a resumed one continues where its manifest says that it was.
    let start journal : RunClock =
        let started, before, notes =
            match journal.Folder with
            | Some folder when journal.Existing = Existing.Resume -> Manifest.sofar folder
            | _ -> DateTimeOffset.Now, 0.0, []

        let watch = Stopwatch.StartNew()

        {
            Started = started
            Seconds = fun () -> before + watch.Elapsed.TotalSeconds
            Notes = notes
        }

/// A training that is ready to run, and what its manifest says of it.
[<NoEquality; NoComparison>]
type Prepared = {
    Configuration: PretrainConfig
    Training: Trainer
    Provenance: Provenance
    Clock: RunClock
    /// Sentences for a reader of the figures, besides those of the manifest.
    Notes: string list
    /// Steps done, and the state after them.
    Step: int64
    From: unit -> State
}

/// One method trained, with a checkpoint and the manifest written in the configuration's rhythm and at the end.
[<RequireQualifiedAccess>]
module Run =

    // The lowest mean loss of an epoch, over the steps that this process made of it.
    type private Best(sofar: float option) =
        let mutable best = Option.defaultValue infinity sofar
        let mutable sum, steps = 0.0, 0

        // Whether the epoch that ends with this step is better than all before it, and its mean loss.
        member _.After(event: Event) =
            sum <- sum + event.Loss
            steps <- steps + 1

            if event.At.StepInEpoch = 0 then
                let mean = sum / float steps
                let isBest = mean < best
                best <- min best mean
                sum <- 0.0
                steps <- 0
                if isBest then Some mean else None
            else
                None

    let private manifest (journal: RunContext) (p: Prepared) step loss : Manifest = {
        Configuration = p.Configuration
        Environment = Platform.current ()
        Started = p.Clock.Started
        Step = step
        Steps = Trainer.steps p.Training
        Loss = loss
        Seconds = p.Clock.Seconds()
        Images = p.Training.Dataset.Count
        Provenance = Some p.Provenance
        Repeatable = journal.Registered
        Notes = List.distinct (p.Clock.Notes @ p.Notes)
        Composition = MethodCard.text p.Training.Method
    }

    let private save journal (p: Prepared) (event: Event) best (checkpoint: Checkpoint) =
        match journal.Folder with
        | None -> Ok()
        | Some folder -> result {
            do! Checkpoint.save folder (Option.defaultValue 2 p.Configuration.Keep) checkpoint

            match best with
            | Some loss -> do! Checkpoint.saveBest folder loss checkpoint
            | None -> ()

            do! manifest journal p event.At.Step (Some event.Loss) |> Manifest.save folder
          }

    /// Trains from a state to the end; the encoder belongs to the caller.
    let train journal (p: Prepared) : Result<Encoder, Error> =
        let configuration, training = p.Configuration, p.Training
        let input = Dataset.input training.Dataset
        let since = Stopwatch.StartNew()
        let sofar =
            journal.Folder
            |> Option.filter (fun _ -> journal.Existing = Existing.Resume)
            |> Option.bind Checkpoint.bestLoss
        let best = Best sofar
        let notes = ref p.Notes

        let finish (event: Event) best =
            let state = event.Snapshot()

            try
                result {
                    do!
                        save journal p event best {
                            Configuration = configuration
                            Input = input
                            Deployment = Deployment.ofMethod journal.Registered training.Method
                            Provenance = Some p.Provenance
                            State = state
                        }

                    since.Restart()

                    if event.At.IsFinished then
                        let device = training.Machine.Device
                        let! encoder = Encoder.ofState configuration input training.Method device state
                        return Some encoder
                    elif journal.Stop.IsCancellationRequested then
                        return! Error Error.Interrupted
                    else
                        return None
                }
            finally
                State.dispose state

        let advance rhythm (event: Event) =
            journal.Watch { event with Notes = notes.Value }
            notes.Value <- []
            let best = if configuration.KeepBest then best.After event else None
            let isLast = event.At.IsFinished || journal.Stop.IsCancellationRequested

            if isLast || best.IsSome || CheckpointInterval.isDue rhythm event.At since.Elapsed then
                finish event best
            else
                Ok None

        result {
            let! rhythm = PretrainConfig.rhythm configuration
            do!
                ForwardPass.checkKernels
                    training.Machine
                    (snd training.Method.Deploy)
                    training.Dataset.Images.shape

            // Before the first step, so that a run that is killed says what it was.
            do!
                journal.Folder
                |> Option.traverseResult (fun folder ->
                    manifest journal p p.Step None |> Manifest.save folder)
                |> Result.map ignore

            let outcome =
                Trainer.events training p.From
                |> Seq.map (Result.bind (advance rhythm))
                |> Seq.tryPick (fun outcome ->
                    match outcome with
                    | Ok None -> None
                    | Ok(Some encoder) -> Some(Ok encoder)
                    | Error e -> Some(Error e))

            return!
                outcome
                |> Option.defaultWith (fun () ->
                    Error(
                        Error.BadOption(
                            "--epochs",
                            "the run is finished already; there is nothing to train."
                        )
                    ))
        }
