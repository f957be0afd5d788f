namespace AdvContrast.Core

open System
open System.IO
open AdvContrast.Engine
open FsToolkit.ErrorHandling
open TorchSharp

/// A method with all that comes first: every stage in turn, each in a folder of its own below the run's.
[<RequireQualifiedAccess>]
module Stages =

    /// What all stages of a run share.
    [<NoEquality; NoComparison>]
    type private Plan = {
        Configuration: Configuration
        Method: Method
        Precision: Precision
        Device: torch.Device
        Dataset: Dataset
        Journal: Journal
    }

    // --- what is made without training, on disk

    let private ofArtifact artifact : Tree =
        match artifact with
        | Labels labels -> Tree.under "labels" (Tree.ofTensors labels)
        | Images images -> Map [ "images", Value images ]
        | Trained model -> Tree.ofTensors (fst model.Weights)

    let private toArtifact (tree: Tree) =
        match Map.tryFind "images" tree with
        | Some(Value images) -> Images images
        | _ -> Labels(Tree.toTensors (Tree.within "labels" tree))

    let private fileOf plan name =
        plan.Journal.Folder |> Option.map (fun folder -> Path.Combine(folder, name + ".safetensors"))

    let private store plan name artifact =
        match fileOf plan name with
        | Some path ->
            try
                Safetensors.write path Map.empty (ofArtifact artifact)
            with
            | :? IOException
            | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))
        | None -> Ok()

    // Takes the tensors out of all scopes; the run disposes them at its end.
    let private make plan name (work: Named<Workshop -> Artifact>) made = result {
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

                Tree.tensors (ofArtifact artifact) |> Seq.filter scope.Contains |> List.ofSeq |> Scope.adopt
                artifact

            do! store plan name artifact
            return artifact
        with :? OperationCanceledException ->
            return! Error Error.Interrupted
    }

    let private making plan name work made =
        match fileOf plan name with
        | Some path when plan.Journal.Resumes && File.Exists path ->
            Safetensors.read path |> Result.map (snd >> toArtifact)
        | _ -> make plan name work made

    // --- what is trained

    let private share plan stage = Configuration.share plan.Configuration plan.Method stage

    let private fit plan journal (configuration: Configuration) (method: Method) made = result {
        let training epochs =
            let c = { configuration with Epochs = epochs }
            Preparation.training c method plan.Precision plan.Device plan.Dataset made

        match journal.Folder with
        | Some folder when journal.Resumes && Checkpoint.existsIn folder ->
            let! checkpoint, _ = Checkpoint.load folder

            try
                if checkpoint.State.Progress.IsFinished && method.Name <> plan.Method.Name then
                    let c, input = checkpoint.Configuration, checkpoint.Input
                    return! Encoder.ofState c input method plan.Device checkpoint.State
                else
                    let! training = training (Some checkpoint.State.Progress.Epochs)
                    let from () = State.onDevice plan.Device checkpoint.State
                    return! Run.train journal configuration training from
            finally
                State.dispose checkpoint.State
        | _ ->
            let! training = training (share plan method)
            return! Run.train journal configuration training (fun () -> Training.start training)
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
            return! fit plan { plan.Journal with Folder = folder } configuration method made
        }

    let private namedRun plan name = plan.Configuration.Given |> Option.bind (Map.tryFind name)

    // A run, or NETWORK:FILE for weights of another program. Where programs differ in what they normalise by,
    // it is taken to be what the run normalises by.
    let private open' plan (named: string) : Result<Encoder, Error> =
        let run () = Encoder.load named |> Result.map fst

        match named.IndexOf ':' with
        | at when at > 0 ->
            match Zoo.named named[.. at - 1] with
            | Ok architecture ->
                let own = plan.Dataset.Mean, plan.Dataset.Std
                let normalise = Pretrained.usual architecture.Name |> Result.defaultValue own
                Pretrained.load architecture.Name normalise plan.Device named[at + 1 ..]
            | Error _ -> run ()
        | _ -> run ()

    let private load plan path = result {
        let! encoder = open' plan path

        if encoder.Input.Channels = plan.Dataset.Images.shape[1] then
            return encoder
        else
            (encoder :> IDisposable).Dispose()

            return!
                Error(
                    Error.BadOption(
                        "--given",
                        sprintf "'%s' takes images of %d channel(s)." path encoder.Input.Channels
                    )
                )
    }

    // --- all of it

    let private tensors artifact =
        match artifact with
        | Trained model -> Seq.append (Map.values (fst model.Weights)) (Map.values (snd model.Weights))
        | other -> Tree.tensors (ofArtifact other)

    let private bring plan made stage : Result<string * Artifact, Error> = result {
        let name = Stage.name stage

        match stage, namedRun plan name with
        | Make(_, work), _ ->
            let! artifact = making plan name work made
            return name, artifact
        | _, Some path ->
            let! encoder = load plan path
            return name, Trained(Encoder.model encoder)
        | Fit(_, method), None ->
            let! encoder = fitStage plan name method made
            return name, Trained(Encoder.model encoder)
        | Given(_, advice), None -> return! Error(Error.BadOption("--given", advice))
    }

    // The manifest of a run that trains something else first, so that it can go on from there.
    let private announce plan =
        match plan.Journal.Folder with
        | Some folder when not plan.Method.Before.IsEmpty && not (Manifest.existsIn folder) ->
            Manifest.save folder {
                Configuration = plan.Configuration
                Environment = Platform.current ()
                Started = DateTimeOffset.Now
                Step = 0L
                Steps = 0L
                Loss = 0.0
                Seconds = 0.0
                Repeatable = plan.Journal.Registered
                Composition = Card.text plan.Method
            }
        | _ -> Ok()

    let private all plan : Result<Encoder, Error> =
        let mutable made = Map.empty

        try
            let bringAll (stages: Stage list) : Result<unit, Error> = result {
                for stage in stages do
                    let! name, artifact = bring plan made stage
                    made <- Map.add name artifact made
            }

            // Runs that the user named are looked at before anything is written.
            let named, others =
                plan.Method.Before |> List.partition (Stage.name >> namedRun plan >> Option.isSome)

            result {
                do! bringAll named
                do! plan.Journal.Folder |> Option.traverseResult Checkpoint.prepare |> Result.map ignore
                do! announce plan
                do! bringAll others
                return! fit plan plan.Journal plan.Configuration plan.Method made
            }
        finally
            for x in made |> Map.values |> Seq.collect tensors do
                x.Dispose()

    /// Trains a method with all its stages, as a configuration describes them. The encoder belongs to the
    /// caller.
    let run journal (configuration: Configuration) (method: Method) : Result<Encoder, Error list> = result {
        let! method, precision, device = Configuration.validate configuration method
        let! dataset = Preparation.dataset configuration |> Result.mapError List.singleton
        use dataset = dataset
        configuration.Threads |> Option.iter torch.set_num_threads
        Accelerator.convolveInTf32 device (precision = Precision.Tf32)

        let plan = {
            Configuration = configuration
            Method = method
            Precision = precision
            Device = device
            Dataset = dataset
            Journal = journal
        }

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
