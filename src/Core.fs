namespace AdvContrast.Core

open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Audit
open FsToolkit.ErrorHandling
open TorchSharp

// The rooms, in the order in which they build on one another; each is a namespace below AdvContrast.Core. A file uses
// only files above it. docs/architecture.md follows a batch and an image through them.
//
//   Foundation   errors, random numbers, ownership of tensors, trees of named values, safetensors
//   ThreatModel  norms, threats, projections onto their balls
//   Data         data sets: readers, images, downloads, the registry
//   Networks     networks as functions of their parameters: layers, backbones, heads, the registry
//   Augment      random views
//   Optim        learning-rate schedules, update rules, the registry
//   Losses       contrastive, non-contrastive and classification losses
//   Attacks      the gradient-attack template, its instances, and attacks on classifiers
//   Methods      a training step as data, one file a published method, the registry
//   Training     one training step, and a run as a sequence of events
//   Runs         configuration, checkpoints, manifests, encoders, weights of other programs, methods of several stages
//   Evaluation   linear probe, k-NN, accuracy under attack, AutoAttack, adversarial images as files
//   Audit        checks of an accuracy under attack
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
    let private requireKept (folder: string option) (c: PretrainConfig) =
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
        let configuration = PretrainConfig.settle configuration
        do! requireKept folder configuration
        do! PretrainConfig.validate configuration method |> Result.map ignore

        if existing = Existing.Refuse then
            do! folder |> Option.traverseResult fresh |> Result.map ignore |> Result.mapError List.singleton

        let journal = {
            Folder = folder
            Watch = watch
            Stop = stop
            Existing = existing
            Registered = registered
        }

        return! Pipeline.run journal configuration method
    }

    /// The configuration that the run in a folder would be resumed with, after a change as <c>resumeWith</c> takes it;
    /// all changes that cannot be made are errors, by the option's name.
    let resumable (change: PretrainConfig -> PretrainConfig) folder : Result<PretrainConfig, Error list> =
        result {
            let! before = Manifest.ofRun folder |> Result.mapError List.singleton
            let configuration = PretrainConfig.settle (change before)
            do! Decisions.requireSame (PretrainConfig.settle before) configuration
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
                    let! found = MethodRegistry.find before.Method
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

        return! Pipeline.run journal configuration method
    }

    /// Pre-trains an encoder by a registered method. folder: where checkpoints and the manifest go, None to
    /// keep nothing on disk; one that holds a run is refused. watch is called after every step. When stop is
    /// cancelled, training ends within a step with a checkpoint and Error.Interrupted. The encoder belongs to
    /// the caller.
    let pretrain folder (watch: Event -> unit) stop (configuration: PretrainConfig) = result {
        let! method = PretrainConfig.registered configuration
        return! begin' true Existing.Refuse folder watch stop configuration method
    }

    /// The same in place of the run that a folder may hold: that is removed once the configuration, the data and the
    /// folder have been checked.
    let replace folder (watch: Event -> unit) stop (configuration: PretrainConfig) = result {
        let! method = PretrainConfig.registered configuration
        return! begin' true Existing.Replace (Some folder) watch stop configuration method
    }

    /// The same by a user-defined method: the configuration's Method is ignored, its other changes are
    /// applied. The manifest has the method's printed form, and cannot repeat the run.
    let train folder (watch: Event -> unit) stop (configuration: PretrainConfig) (method: Method) =
        let network = Option.defaultValue method.Recipe.Network configuration.Network
        let configuration = { configuration with Method = method.Name; Network = Some network }
        begin' false Existing.Refuse folder watch stop configuration method

    /// Resumes a run from the newest good checkpoint in its folder. change: what is different from now on: epochs
    /// (more than it has trained), the folder of the same data, device, threads, and when checkpoints are written and
    /// how many are kept; <c>id</c> for nothing. Any other change is refused, and so are other images, other weights
    /// in place of a stage, and a method of other parts.
    let resumeWith
        (change: PretrainConfig -> PretrainConfig)
        folder
        watch
        stop
        : Result<Encoder, Error list> =
        continued change folder watch stop None

    /// Resumes a run as it was configured.
    let resume folder watch stop : Result<Encoder, Error list> = resumeWith id folder watch stop

    /// Resumes a run of a user-defined method, with changes as <c>resumeWith</c> takes them.
    let resumeOf change folder watch stop (method: Method) : Result<Encoder, Error list> =
        continued change folder watch stop (Some method)

    /// Fits a linear layer on the frozen encoder (SLF) with a training set.
    let probe (how: LinearProbe) (encoder: Encoder) (train: Dataset) : LinearHead =
        LinearProbe.fit how ignore encoder train

    /// Attacks a few images, towards target labels where they are given, int64 [n]; what it
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
        : AttackResult =
        Shape.rank "n;c;h;w" (nameof images) images

        let fits name (labels: Tensor) =
            Shape.rank "n" name labels

            if labels.shape[0] <> images.shape[0] || labels.dtype <> torch.ScalarType.Int64 then
                invalidArg name (sprintf "one int64 label an image was expected, %d of them." images.shape[0])

        fits (nameof labels) labels
        targets |> Option.iter (fits (nameof targets))
        Projection.requireInBox (nameof images) threat images
        let n = images.shape[0]
        Threat.require (nameof threat) (if n = 0L then None else Some(images.numel () / n)) threat
        let ids = Array.init (int n) int64
        let victims = { Ids = ids; Images = images; Labels = labels; Targets = targets }

        let harm, faults =
            ModelSanity.during threat.Box classifier (fun classifier ->
                attack.Run (Rng.create seed "attack" ids) threat classifier victims)

        let notes =
            if n = 0L then
                Set.empty
            else
                Projection.notes threat (TensorStats.smallest images, TensorStats.largest images)
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
        : AttackResult =
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
    let craft
        report
        stop
        (encoder: Encoder)
        (evaluation: Evaluation)
        : Result<AdversarialExamples, Error list> =
        Generation.ofEncoder Map.empty report stop encoder evaluation

    /// The same of any classifier on images that are given, as <c>measure</c> takes them. targets: labels to
    /// reach, int64 [n]; None for any other than the true one.
    let craftOf targets report stop classifier (images: Tensor) (labels: Tensor) (evaluation: Evaluation) =
        use images = Dataset.ofTensors "images" images labels
        Generation.ofClassifier (Map [ "dataset", "images" ]) report stop classifier targets images evaluation

    /// Fits a linear layer on another encoder, and measures it on adversarial images that were made against
    /// the first.
    let transfer
        report
        stop
        (encoder: Encoder)
        (evaluation: Evaluation)
        images
        : Result<Transferred, Error list> =
        Generation.transfer report stop encoder evaluation images

    /// Fits a linear layer on the encoder, then checks whether its accuracy under attack can be trusted.
    /// surrogate: another encoder, whose adversarial images are tried too. report: called with the name of
    /// what is being done and the share of it done.
    let audit
        report
        stop
        (encoder: Encoder)
        surrogate
        (inspection: AuditRun)
        : Result<AuditedEncoder, Error list> =
        AuditRun.run report stop encoder surrogate inspection

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
        AuditTarget.create classifier surrogate images labels threat seed effort |> Audit.run report
