namespace AdvContrast.Core

open FsToolkit.ErrorHandling
open TorchSharp

// The rooms, in the order in which they build on one another:
//
//   Foundation   errors, random draws, ownership of tensors, trees of what outlives a step
//   Geometry     norms, threats, and the balls that adversaries move in
//   Losses       the contrastive kernel and its instances; cross-entropy
//   Networks     networks as functions of their parameters: layers, backbones, heads, batch-norm branches
//   Optim        schedules and update rules
//   Attacks      the gradient-attack template, its instances, and attacks on classifiers
//   Augment      random views
//   Methods      a training step as data, and one file a published method
//   Data         data sets
//   Training     the engine that runs a step, the run as a sequence of events, checkpoints and manifests,
//                encoders, methods with all their stages
//   Evaluation   linear probes, accuracy under attack and audits of it, adversarial images as files, transfer
//   Reporting    pictures

/// The verbs: pre-train an encoder, fit a classifier on it, attack that, and measure.
[<RequireQualifiedAccess>]
module Workbench =

    // A folder that holds no run yet.
    let private fresh folder =
        if Manifest.existsIn folder then
            let advice =
                sprintf
                    "'%s' holds a run; name another folder, resume that run (--resume %s), or replace it (--overwrite)."
                    folder
                    folder
            Error(Error.BadOption("--out", advice))
        else
            Ok()

    // Without a folder nothing is kept, and no choice of what is kept counts.
    let private requireKept (folder: string option) (c: Configuration) =
        let unused = [
            if c.CheckpointEvery.IsSome then "--checkpoint-every"
            if c.Keep.IsSome then "--keep"
            if c.KeepBest then "--keep-best"
        ]

        if folder.IsSome || unused.IsEmpty then
            Ok()
        else
            unused
            |> List.map (fun name ->
                Error.BadOption(name, "the run has no folder, so it writes no checkpoint."))
            |> Error

    let private begin' registered existing folder watch stop configuration (method: Method) = result {
        let configuration = Configuration.settle configuration
        do! requireKept folder configuration
        do! Configuration.validate configuration method |> Result.map ignore

        if existing = Existing.Refuse then
            do! folder |> Option.traverseResult fresh |> Result.map ignore |> Result.mapError List.singleton

        let journal = {
            Folder = folder
            Watch = watch
            Stop = stop
            Existing = existing
            Registered = registered
        }

        return! Stages.run journal configuration method
    }

    /// The configuration that the run in a folder would be resumed with, after a change as <c>resumeWith</c> takes it;
    /// all changes that cannot be made are errors, by the option's name.
    let resumable (change: Configuration -> Configuration) folder : Result<Configuration, Error list> = result {
        let! before = Manifest.ofRun folder |> Result.mapError List.singleton
        let configuration = Configuration.settle (change before)
        do! Decisions.requireSame (Configuration.settle before) configuration
        return configuration
    }

    let private continued change folder watch stop method : Result<Encoder, Error list> = result {
        let! method, registered =
            match method with
            | Some method -> Ok(method, false)
            | None ->
                result {
                    do! Manifest.requireRegistered folder
                    let! before = Manifest.ofRun folder
                    let! found = Registry.find before.Method
                    return found, true
                }
                |> Result.mapError List.singleton

        let! configuration = resumable change folder

        let journal = {
            Folder = Some folder
            Watch = watch
            Stop = stop
            Existing = Existing.Resume
            Registered = registered
        }

        return! Stages.run journal configuration method
    }

    /// Pre-trains an encoder by a registered method. folder: where checkpoints and the manifest go, None to
    /// keep nothing on disk; one that holds a run is refused. watch is called after every step. When stop is
    /// cancelled, training ends within a step with a checkpoint and Error.Interrupted. The encoder belongs to
    /// the caller.
    let pretrain folder (watch: Event -> unit) stop (configuration: Configuration) = result {
        let! method = Configuration.registered configuration
        return! begin' true Existing.Refuse folder watch stop configuration method
    }

    /// The same in place of the run that a folder may hold: that is removed once the configuration, the data and the
    /// folder have been checked.
    let replace folder (watch: Event -> unit) stop (configuration: Configuration) = result {
        let! method = Configuration.registered configuration
        return! begin' true Existing.Replace (Some folder) watch stop configuration method
    }

    /// The same by a method of one's own: the configuration's Method is not looked at, its other changes are
    /// applied. The manifest has the method's printed form, and cannot repeat the run.
    let train folder (watch: Event -> unit) stop (configuration: Configuration) (method: Method) =
        let network = Option.defaultValue method.Recipe.Network configuration.Network
        let configuration = { configuration with Method = method.Name; Network = Some network }
        begin' false Existing.Refuse folder watch stop configuration method

    /// Resumes a run from the newest good checkpoint in its folder. change: what is different from now on: epochs
    /// (more than it has trained), the folder of the same data, device, threads, and when checkpoints are written and
    /// how many are kept; <c>id</c> for nothing. Any other change is refused, and so are other images, other weights
    /// in place of a stage, and a method of other parts.
    let resumeWith (change: Configuration -> Configuration) folder watch stop : Result<Encoder, Error list> =
        continued change folder watch stop None

    /// Resumes a run as it was configured.
    let resume folder watch stop : Result<Encoder, Error list> = resumeWith id folder watch stop

    /// Resumes a run of a method of one's own, with changes as <c>resumeWith</c> takes them.
    let resumeOf change folder watch stop (method: Method) : Result<Encoder, Error list> =
        continued change folder watch stop (Some method)

    /// Fits a linear layer on the frozen encoder (SLF) with a training set.
    let probe (how: LinearProbe) (encoder: Encoder) (train: Dataset) : LinearHead =
        LinearProbe.fit how ignore encoder train

    /// Attacks a few images, towards labels of one's own choice where there are targets, int64 [n]; what it
    /// did belongs to the caller's scope.
    /// images: [n; c; h; w] in float32 or float64 within the threat's box; labels: int64 [n]. What is wrong
    /// with the classifier stands among the flags. ArgumentException where they do not fit, or where the
    /// threat's radius reaches every image of the box.
    let attackTowards
        (targets: Tensor option)
        (attack: Attack)
        seed
        threat
        (classifier: Classifier)
        (images: Tensor)
        (labels: Tensor)
        : Harm =
        Shape.rank "n;c;h;w" (nameof images) images

        let fits name (labels: Tensor) =
            Shape.rank "n" name labels

            if labels.shape[0] <> images.shape[0] || labels.dtype <> torch.ScalarType.Int64 then
                invalidArg name (sprintf "one int64 label an image was expected, %d of them." images.shape[0])

        fits (nameof labels) labels
        targets |> Option.iter (fits (nameof targets))
        Ball.requireInBox (nameof images) threat images
        let n = images.shape[0]
        Threat.require (nameof threat) (if n = 0L then None else Some(images.numel () / n)) threat
        let ids = Array.init (int n) int64
        let victims = { Ids = ids; Images = images; Labels = labels; Targets = targets }

        let harm, faults =
            Soundness.during threat.Box classifier (fun classifier ->
                attack.Run (Draw.create seed "attack" ids) threat classifier victims)

        let notes =
            if n = 0L then Set.empty else Ball.notes threat (Figures.smallest images, Figures.largest images)
        { harm with Flags = harm.Flags + faults + notes }

    /// Attacks a few images, away from their labels; what it did belongs to the caller's scope.
    /// images: [n; c; h; w] in float32 or float64 within the threat's box; labels: int64 [n]. Otherwise as
    /// <c>attackTowards</c>.
    let attack
        (attack: Attack)
        seed
        threat
        (classifier: Classifier)
        (images: Tensor)
        (labels: Tensor)
        : Harm =
        attackTowards None attack seed threat classifier images labels

    /// Fits a linear layer on the encoder, then measures clean accuracy and accuracy under attacks on a test
    /// set. report: called with the name of what is being done and the share of it done.
    let evaluate report stop (encoder: Encoder) (evaluation: Evaluation) : Result<Measured, Error list> =
        Evaluation.run report stop encoder evaluation

    /// The same of any classifier on images that are given, [n; c; h; w], bytes or floating point within the
    /// threats' box, and labels, int64 [n]: of the evaluation, Attacks, Threats, Seed, Images, Threads and
    /// Notes count. ArgumentException where images, labels and logits do not fit.
    let measure report stop classifier (images: Tensor) (labels: Tensor) (evaluation: Evaluation) =
        use images = Dataset.ofTensors "images" images labels
        Evaluation.ofClassifier report stop classifier images evaluation |> Result.map _.Accuracies

    /// Fits a linear layer on the encoder and makes adversarial images of a test set, by the evaluation's one
    /// attack within its one threat; they belong to the caller.
    let craft report stop (encoder: Encoder) (evaluation: Evaluation) : Result<Adversaries, Error list> =
        Crafting.ofEncoder Map.empty report stop encoder evaluation

    /// The same of any classifier on images that are given, as <c>measure</c> takes them. targets: labels to
    /// reach, int64 [n]; None for any other than the true one.
    let craftOf targets report stop classifier (images: Tensor) (labels: Tensor) (evaluation: Evaluation) =
        use images = Dataset.ofTensors "images" images labels
        Crafting.ofClassifier (Map [ "dataset", "images" ]) report stop classifier targets images evaluation

    /// Fits a linear layer on another encoder, and measures it on adversarial images that were made against
    /// the first.
    let transfer
        report
        stop
        (encoder: Encoder)
        (evaluation: Evaluation)
        images
        : Result<Transferred, Error list> =
        Crafting.transfer report stop encoder evaluation images

    /// Fits a linear layer on the encoder, then checks whether its accuracy under attack can be trusted.
    /// surrogate: another encoder, whose adversarial images are tried too. report: called with the name of
    /// what is being done and the share of it done.
    let audit
        report
        stop
        (encoder: Encoder)
        surrogate
        (inspection: Inspection)
        : Result<Inspected, Error list> =
        Inspection.run report stop encoder surrogate inspection

    /// Checks whether the accuracy under attack of any classifier can be trusted.
    /// images: [n; c; h; w] in float32 or float64 within the threat's box; labels: int64 [n].
    /// ArgumentException where they do not fit, or where the threat's radius is 0 or reaches every image.
    let auditOf
        report
        effort
        seed
        threat
        (classifier: Classifier)
        surrogate
        (images: Tensor)
        (labels: Tensor)
        =
        Subject.create classifier surrogate images labels threat seed effort |> Audit.run report
