namespace AdvContrast.Core.Runs

open System
open System.IO
open AdvContrast.Engine
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// A method with all that comes first: every stage in turn, each in a folder of its own below the run's.
[<RequireQualifiedAccess>]
module Pipeline =

    /// What all stages of a run share.
    [<NoEquality; NoComparison>]
    type private PipelineRun = {
        Configuration: PretrainConfig
        Method: Method
        Precision: Precision
        Device: torch.Device
        Dataset: Dataset
        /// SHA-256 of the data set.
        Data: string
        Journal: RunContext
        Clock: RunClock
        /// Notes that the next event carries.
        Notes: ResizeArray<string>
    }

    let private isResumed journal = journal.Existing = Existing.Resume

    let private takeNotes plan =
        let notes = List.ofSeq plan.Notes
        plan.Notes.Clear()
        notes

    // --- what is made without training

    let private fileOf plan name =
        plan.Journal.Folder |> Option.map (fun folder -> Path.Combine(folder, name + ".safetensors"))

    let private keyOf plan (work: Named<StageContext -> Artifact>) made =
        Provenance.create plan.Data plan.Configuration plan.Method made
        |> Provenance.ofStage work.Text plan.Configuration.Seed

    // Takes the tensors out of all scopes; the run disposes them at its end.
    let private make plan name (work: Named<StageContext -> Artifact>) key made = result {
        let title = plan.Configuration.Method + "/" + name
        let count = int plan.Dataset.Count

        let report (share: float) =
            plan.Journal.Stop.ThrowIfCancellationRequested()
            let start = Progress.start count 1

            plan.Journal.Watch {
                Stage = title
                At = {
                    start with
                        Step = int64 (share * float count)
                        StepInEpoch = int (share * float count)
                }
                Loss = nan
                Measures = []
                Notes = takeNotes plan
                Took = 0.0
                Waited = 0.0
                Snapshot = fun () -> invalidOp "a stage without training has no state."
            }

        try
            let artifact =
                use scope = torch.NewDisposeScope()

                let artifact =
                    work.Run {
                        Count = count
                        Device = plan.Device
                        Images = plan.Dataset.Batch plan.Device
                        Classes = plan.Dataset.LabelsOf plan.Device
                        Seed = plan.Configuration.Seed
                        Made = made
                        Report = report
                    }

                ArtifactFile.tensors artifact |> Seq.filter scope.Contains |> List.ofSeq |> Scope.adopt
                artifact


            do!
                fileOf plan name
                |> Option.traverseResult (fun path -> ArtifactFile.write path key artifact)
                |> Result.map ignore
            return artifact
        with :? OperationCanceledException ->
            return! Error Error.Interrupted
    }

    let private making plan name work made =
        let key = keyOf plan work made

        match fileOf plan name with
        | Some path when isResumed plan.Journal && File.Exists path ->
            ArtifactFile.read path key
            |> Result.bind (fun found ->
                match found with
                | Some artifact -> Ok artifact
                | None ->
                    let note = sprintf "'%s' was made from other data or settings and is made again." path
                    plan.Notes.Add note
                    make plan name work key made)
        | _ -> make plan name work key made

    // --- what is trained

    let private share plan stage = PretrainConfig.share plan.Configuration plan.Method stage

    let private bad option problem = Error(Error.BadOption(option, problem))

    // Trains from the start, or from a checkpoint that is of this very run.
    let private fit plan (journal: RunContext) clock (configuration: PretrainConfig) (method: Method) made =
        result {
            let epochs = share plan method |> Option.defaultValue method.Recipe.Epochs
            let provenance = Provenance.create plan.Data configuration method made

            let prepared step from = result {
                let c = { configuration with Epochs = Some epochs }
                let! training = TrainingSetup.training c method plan.Precision plan.Device plan.Dataset made
                Epochs.warmUpNote method (Trainer.steps training) epochs |> Option.iter plan.Notes.Add
                Epochs.batchNote training.Batch training.Dataset.Count |> Option.iter plan.Notes.Add

                return {
                    Configuration = configuration
                    Training = training
                    Provenance = provenance
                    Clock = clock
                    Notes = takeNotes plan
                    Step = step
                    From = from training
                }
            }

            match journal.Folder with
            | Some folder when isResumed journal && Checkpoint.existsIn folder ->
                let! checkpoint, warning = Checkpoint.load folder

                try
                    warning |> Option.iter plan.Notes.Add
                    do!
                        Decisions.requireSame checkpoint.Configuration configuration
                        |> Result.mapError List.head

                    match checkpoint.Provenance with
                    | Some before -> do! Provenance.requireSame folder before provenance
                    | None ->
                        return!
                            Error(
                                Error.Damaged(folder, "its checkpoint does not say what it was trained from.")
                            )

                    let at = checkpoint.State.Progress

                    if at.IsFinished && method.Name <> plan.Method.Name then
                        let c, input = checkpoint.Configuration, checkpoint.Input
                        return! Encoder.ofState c input method plan.Device checkpoint.State
                    elif at.IsFinished && epochs = at.Epochs then
                        return!
                            bad
                                "--epochs"
                                (sprintf
                                    "the run is finished: it has trained its %d epochs; give more to train it further."
                                    epochs)
                    else
                        let! at, note = Epochs.extend epochs at
                        Option.iter plan.Notes.Add note
                        let state = { checkpoint.State with Progress = at }
                        let! prepared = prepared at.Step (fun _ () -> State.onDevice plan.Device state)
                        return! Run.train journal prepared
                finally
                    State.dispose checkpoint.State
            | _ ->
                let! prepared = prepared 0L (fun training () -> Trainer.start training)
                return! Run.train journal prepared
        }

    // A stage's own run: in a folder below, and named so that it can be found and evaluated by itself.
    let private fitStage plan name (method: Method) made =
        let method = { method with Name = plan.Method.Name + "/" + name }

        let configuration = {
            plan.Configuration with
                Method = plan.Configuration.Method + "/" + name
                Given = None
                Epochs = share plan method
        }

        let folder = plan.Journal.Folder |> Option.map (fun folder -> Path.Combine(folder, name))

        result {
            do! folder |> Option.traverseResult Checkpoint.prepare |> Result.map ignore
            let journal = { plan.Journal with Folder = folder }
            return! fit plan journal (RunClock.start journal) configuration method made
        }

    let private namedRun plan name = plan.Configuration.Given |> Option.bind (Map.tryFind name)

    // A run, or NETWORK@NORMALISE:FILE for weights of another program.
    let private open' plan (named: string) : Result<Encoder, Error> =
        match ExternalWeights.parse named with
        | Some external ->
            ExternalWeights.load plan.Device external
            |> Result.tee (fun encoder -> plan.Notes.AddRange encoder.Notes)
        | None -> Encoder.loadOn (Some plan.Device) named |> Result.map fst

    let private load plan path = result {
        let! encoder = open' plan path

        if encoder.Input.Channels = plan.Dataset.Images.shape[1] then
            return encoder
        else
            (encoder :> IDisposable).Dispose()

            return! bad "--given" (sprintf "'%s' takes images of %d channel(s)." path encoder.Input.Channels)
    }

    // --- all of it

    let private tensors artifact =
        match artifact with
        | Trained model -> Seq.append (Map.values (fst model.Weights)) (Map.values (snd model.Weights))
        | other -> ArtifactFile.tensors other

    let private bring plan made stage : Result<string * Artifact, Error> = result {
        let name = Stage.name stage

        match stage, namedRun plan name with
        | Stage.Compute(_, work), _ ->
            let! artifact = making plan name work made
            return name, artifact
        | _, Some path ->
            let! encoder = load plan path
            return name, Trained(Encoder.model encoder)
        | Stage.Train(_, method), None ->
            let! encoder = fitStage plan name method made
            return name, Trained(Encoder.model encoder)
        | Stage.External(_, advice), None -> return! Error(Error.BadOption("--given", advice))
    }

    // The manifest of a run that trains something else first, so that it can be resumed there, and the time that
    // its stages took.
    let private announce plan =
        match plan.Journal.Folder with
        | Some folder when not plan.Method.Before.IsEmpty && not (Checkpoint.existsIn folder) ->
            Manifest.save folder {
                Configuration = plan.Configuration
                Environment = Platform.current ()
                Started = plan.Clock.Started
                Step = 0L
                Steps = 0L
                Loss = None
                Seconds = plan.Clock.Seconds()
                Images = plan.Dataset.Count
                Provenance = None
                Repeatable = plan.Journal.Registered
                Notes = List.distinct (plan.Clock.Notes @ List.ofSeq plan.Notes)
                Composition = MethodCard.text plan.Method
            }
        | _ -> Ok()

    // The run that stands in the folder gives way, with what its stages left.
    let private replace plan =
        match plan.Journal.Folder with
        | Some folder when plan.Journal.Existing = Existing.Replace ->
            let before =
                Manifest.ofRun folder
                |> Result.bind (fun c -> MethodRegistry.find c.Method)
                |> Result.map _.Before
                |> Result.defaultValue []

            Manifest.remove folder (List.distinct (List.map Stage.name (before @ plan.Method.Before)))
        | _ -> Ok()

    let private all plan : Result<Encoder, Error> =
        let mutable made = Map.empty

        try
            let bringAll (stages: Stage list) : Result<unit, Error> = result {
                for stage in stages do
                    let! name, artifact = bring plan made stage
                    made <- Map.add name artifact made
            }

            // Runs that the user named are loaded before anything is written.
            let named, others =
                plan.Method.Before |> List.partition (Stage.name >> namedRun plan >> Option.isSome)

            result {
                do! bringAll named
                if plan.Journal.Stop.IsCancellationRequested then return! Error Error.Interrupted
                do! plan.Journal.Folder |> Option.traverseResult Checkpoint.prepare |> Result.map ignore
                do! replace plan
                do! announce plan
                // Told whether a stage ends or is stopped.
                let brought = bringAll others
                do! announce plan
                do! brought
                return! fit plan plan.Journal plan.Clock plan.Configuration plan.Method made
            }
        finally
            for x in made |> Map.values |> Seq.collect tensors do
                x.Dispose()

    /// Trains a method with all its stages, as a configuration describes them. The encoder belongs to the
    /// caller.
    let run journal (configuration: PretrainConfig) (method: Method) : Result<Encoder, Error list> = result {
        let! method, precision, device = PretrainConfig.validate configuration method
        let! dataset = TrainingSetup.dataset configuration |> Result.mapError List.singleton
        use dataset = dataset
        configuration.Threads |> Option.iter torch.set_num_threads
        Accelerator.convolveInTf32 device (precision = Precision.Tf32)

        let plan = {
            Configuration = configuration
            Method = method
            Precision = precision
            Device = device
            Dataset = dataset
            Data = Provenance.ofDataset dataset
            Journal = journal
            Clock = RunClock.start journal
            Notes = ResizeArray()
        }

        // What training passed over.
        match Coverage.ofDataset dataset |> Coverage.notes with
        | [] -> ()
        | notes ->
            let images = Coverage.text dataset.Name (Coverage.ofDataset dataset)
            plan.Notes.Add(sprintf "Trained on %s. %s" images (String.concat " " notes))

        return!
            try
                all plan |> Result.mapError List.singleton
            with UnlabelledException ->
                let text =
                    sprintf
                        "'%s' trains with labels, and the images of '%s' have none."
                        configuration.Method
                        configuration.Dataset

                Error [ Error.BadOption("--dataset", text) ]
    }
