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

    let private save journal (configuration: Configuration) (training: Training) started (clock: Stopwatch) =
        fun (event: Event) best (checkpoint: Checkpoint) ->
            match journal.Folder with
            | None -> Ok()
            | Some folder -> result {
                do! Checkpoint.save folder (Option.defaultValue 2 configuration.Keep) checkpoint

                match best with
                | Some loss -> do! Checkpoint.saveBest folder loss checkpoint
                | None -> ()

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
    let train journal (configuration: Configuration) (training: Training) from : Result<Encoder, Error> =
        let input = Dataset.input training.Dataset
        let save = save journal configuration training DateTimeOffset.Now (Stopwatch.StartNew())
        let since = Stopwatch.StartNew()
        let sofar =
            journal.Folder |> Option.filter (fun _ -> journal.Resumes) |> Option.bind Checkpoint.bestLoss
        let best = Best sofar

        let finish (event: Event) best =
            let state = event.Snapshot()

            try
                result {
                    do!
                        save event best {
                            Configuration = configuration
                            Input = input
                            Deployment = Deployment.ofMethod journal.Registered training.Method
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
            journal.Watch event
            let best = if configuration.KeepBest then best.After event else None
            let isLast = event.At.IsFinished || journal.Stop.IsCancellationRequested

            if isLast || best.IsSome || Rhythm.isDue rhythm event.At since.Elapsed then
                finish event best
            else
                Ok None

        result {
            let! rhythm = Configuration.rhythm configuration
            do!
                Forward.checkKernels
                    training.Machine
                    (snd training.Method.Deploy)
                    training.Dataset.Images.shape

            let outcome =
                Training.events training from
                |> Seq.map (Result.bind (advance rhythm))
                |> Seq.tryPick (fun outcome ->
                    match outcome with
                    | Ok None -> None
                    | Ok(Some encoder) -> Some(Ok encoder)
                    | Error e -> Some(Error e))

            return!
                outcome
                |> Option.defaultValue (
                    Error(
                        Error.BadOption("--epochs", "the run is finished already; there is nothing to train.")
                    )
                )
        }
