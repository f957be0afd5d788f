namespace AdvContrast.Core

open System
open System.Diagnostics
open System.Threading
open FsToolkit.ErrorHandling

/// Where a run leaves its traces, who watches it, and who may stop it.
[<NoEquality; NoComparison>]
type Journal = {
    /// For checkpoints and the manifest; None keeps nothing on disk.
    Folder: string option
    /// Called after every step.
    Watch: Event -> unit
    /// When cancelled, the run ends within a step with a checkpoint and Error.Interrupted.
    Stop: CancellationToken
    /// Go on with what the folder holds.
    Resumes: bool
    /// The method is registered, so a manifest or a checkpoint can name it.
    Registered: bool
}

/// One method trained, with a checkpoint and the manifest written after every epoch and at the end.
[<RequireQualifiedAccess>]
module Run =

    let private save journal configuration (training: Training) (started: DateTimeOffset) (clock: Stopwatch) =
        fun (event: Event) (checkpoint: Checkpoint) ->
            match journal.Folder with
            | None -> Ok()
            | Some folder -> result {
                do! Checkpoint.save folder checkpoint

                do!
                    Manifest.save folder {
                        Configuration = configuration
                        Environment = Platform.current ()
                        Started = started
                        Step = event.At.Step
                        Steps = event.At.Steps
                        Loss = event.Loss
                        Seconds = clock.Elapsed.TotalSeconds
                        Repeatable = journal.Registered
                        Composition = Card.text training.Method
                    }
              }

    /// Trains from a state to the end; the encoder belongs to the caller.
    let train journal configuration (training: Training) (from: unit -> State) : Result<Encoder, Error> =
        let input = Dataset.input training.Dataset
        let save = save journal configuration training DateTimeOffset.Now (Stopwatch.StartNew())

        let finish (event: Event) =
            let state = event.Snapshot()

            try
                result {
                    do!
                        save event {
                            Configuration = configuration
                            Input = input
                            Deployment = Deployment.ofMethod journal.Registered training.Method
                            State = state
                        }

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

        let advance (event: Event) =
            journal.Watch event

            if event.At.StepInEpoch = 0 || event.At.IsFinished || journal.Stop.IsCancellationRequested then
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
