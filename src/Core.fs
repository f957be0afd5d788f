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
//   Evaluation   linear probes, accuracy under attack, audits of it

/// The verbs: pre-train an encoder, fit a classifier on it, attack that, and measure.
[<RequireQualifiedAccess>]
module Workbench =

    // A folder that holds no run yet.
    let private fresh folder =
        if Manifest.existsIn folder then
            let advice =
                sprintf
                    "'%s' holds a run; name another folder, or go on with that run: --resume %s"
                    folder
                    folder
            Error(Error.BadOption("--out", advice))
        else
            Ok()

    let private begin' registered folder watch stop configuration (method: Method) = result {
        let configuration = Configuration.settle configuration
        do! Configuration.validate configuration method |> Result.map ignore
        do! folder |> Option.traverseResult fresh |> Result.map ignore |> Result.mapError List.singleton

        let journal = {
            Folder = folder
            Watch = watch
            Stop = stop
            Resumes = false
            Registered = registered
        }

        return! Stages.run journal configuration method
    }

    let private goOn folder watch stop method : Result<Encoder, Error list> = result {
        let! configuration = Manifest.ofRun folder |> Result.mapError List.singleton

        let! method, registered =
            match method with
            | Some method -> Ok(method, false)
            | None ->
                Registry.find configuration.Method
                |> Result.map (fun found -> found, true)
                |> Result.mapError List.singleton

        let journal = {
            Folder = Some folder
            Watch = watch
            Stop = stop
            Resumes = true
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
        return! begin' true folder watch stop configuration method
    }

    /// The same by a method of one's own: the configuration's Method is not looked at, its other changes are
    /// applied. The manifest has the method's printed form, and cannot repeat the run.
    let train folder (watch: Event -> unit) stop (configuration: Configuration) (method: Method) =
        let network = Option.defaultValue method.Recipe.Network configuration.Network
        let configuration = { configuration with Method = method.Name; Network = Some network }
        begin' false folder watch stop configuration method

    /// Goes on with an interrupted run from the newest good checkpoint in its folder.
    let resume folder watch stop : Result<Encoder, Error list> = goOn folder watch stop None

    /// Goes on with an interrupted run of a method of one's own.
    let resumeOf folder watch stop (method: Method) : Result<Encoder, Error list> =
        goOn folder watch stop (Some method)

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
    /// images: [n; c; h; w] in [0, 1]; labels: int64 [n]. ArgumentException where they do not fit, or where
    /// the threat has no radius.
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
