namespace AdvContrast.Core.Evaluation

open System
open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs

/// Everything a user chooses about an evaluation; None means: as in the encoder's own run.
type Evaluation = {
    /// A data set of the catalogue: its training part fits the linear layer, its test part is attacked.
    Dataset: string option
    /// The folder with the data set's files.
    Data: string option
    /// Test images drawn by the seed, of every class in proportion, at most this many; None: all.
    Images: int option
    /// Attacks by the names that <c>RobustAccuracy.attack</c> reads, or attacks in turn by those of
    /// <c>AutoAttack.find</c>.
    Attacks: string list
    /// What the attacks may do, each in turn; empty: what the encoder was trained against, else linf:8/255.
    Threats: string list
    /// How the linear layer is fitted: <c>"quick"</c> or <c>"published"</c>; or <c>"own"</c>, that of the
    /// weights.
    Probe: string
    /// Measure the vote of the nearest training images too, <c>"200"</c> or <c>"200:0.5"</c> as
    /// <c>Knn.parse</c> reads it; None: no vote.
    Knn: string option
    Seed: uint64
    /// Threads of libtorch; None leaves them: as many as there are processors.
    Threads: int option
    /// A file in which attacks in turn note where they stand, so that an evaluation that was stopped resumes
    /// from there; it is gone when they are done.
    Notes: string option
}

/// The result of an evaluation.
type Measured = {
    /// The data set whose test images were used, and which of them.
    Dataset: string
    Coverage: Coverage
    Probe: string
    Seed: uint64
    /// Clean accuracy, that of the nearest neighbours' vote where it was asked for, then for each threat
    /// accuracy under each attack, in the order given.
    Accuracies: Accuracy list
}

[<RequireQualifiedAccess>]
module Evaluation =

    /// FGSM and PGD-20 on the run's own data.
    let defaults: Evaluation = {
        Dataset = None
        Data = None
        Images = None
        Attacks = [ "fgsm"; "pgd-20" ]
        Threats = []
        Probe = "quick"
        Knn = None
        Seed = 1UL
        Threads = None
        Notes = None
    }

    // What is asked of any classifier; all faults at once.
    let internal measurement (usual: string) (e: Evaluation) = validation {
        let threats = if e.Threats.IsEmpty then [ usual ] else e.Threats
        let! assaults = e.Attacks |> List.traverseResultA Measurement.assault
        and! threats = threats |> List.traverseResultA (Threat.parse >> Result.bind (Threat.usable None))
        and! _ = PretrainConfig.atLeast 1 "--images" e.Images
        and! _ = PretrainConfig.threads e.Threads
        return { Assaults = assaults; Threats = threats; Seed = e.Seed; Notes = e.Notes }
    }

    // How many numbers an image has.
    let private values (test: Dataset) = Some(test.Images.numel () / test.Images.shape[0])

    // Refuses threats that reach every image.
    let private bounded (asked: Measurement) test =
        asked.Threats |> List.traverseResultA (Threat.usable (values test)) |> Result.map ignore

    // What can be checked before the data is there; all faults at once.
    let private validate (run: PretrainConfig) (e: Evaluation) = validation {
        let! asked = measurement (Option.defaultValue "linf:8/255" run.Threat) e
        and! top = ClassifierHead.find e.Seed e.Probe
        and! knn = e.Knn |> Option.traverseResult Knn.parse
        and! _ = DatasetRegistry.requireUsed (Option.defaultValue run.Dataset e.Dataset) e.Data
        let! _ = asked.Threats |> List.traverseResultA Threat.onDataset
        return asked, top, knn
    }

    // The images that the evaluation asks for.
    let internal few (e: Evaluation) all =
        Dataset.sample e.Seed (Option.defaultValue Int32.MaxValue e.Images) all

    // Passes on how far something is, and stops it where that is asked for.
    let internal sharing (report: string -> float -> unit) (stop: CancellationToken) what finished whole =
        stop.ThrowIfCancellationRequested()
        report what (float (finished: int64) / float (whole: int64))

    // The classifier, which stops where that is asked for.
    let internal stopping (stop: CancellationToken) (classifier: Classifier) : Classifier =
        fun images ->
            stop.ThrowIfCancellationRequested()
            classifier images

    // All that an evaluation may need; others than itself want neither the vote nor the training images.
    let private onStand report stop (encoder: Encoder) (e: Evaluation) work = result {
        let! asked, top, knn = validate encoder.Configuration e

        let stand: EvaluationTarget = {
            Dataset = e.Dataset
            Data = e.Data
            Images = e.Images
            Seed = e.Seed
            Neighbours = knn |> Option.map _.Neighbours
            Top = top
            Threads = e.Threads
        }

        return!
            EvaluationTarget.using report stop encoder stand (fun classifier test train _ -> result {
                do! bounded asked test
                return! work asked knn classifier test train
            })
    }

    /// Fits a linear layer on the frozen encoder (SLF) and calls `work` with the measurement, the classifier and the test
    /// images; they are valid only during the call. When stop is
    /// cancelled, ends before the next forward pass of the encoder with Error.Interrupted.
    let onEncoder
        report
        stop
        (encoder: Encoder)
        (e: Evaluation)
        (work: Measurement -> Classifier -> Dataset -> Result<'a, Error list>)
        =
        onStand report stop encoder e (fun asked _ classifier test _ -> work asked classifier test)

    // How often the nearest training images vote rightly.
    let private vote stop (encoder: Encoder) train (test: Dataset) (knn: Knn) = result {
        let! train = train ()

        return
            Scope.value (fun () ->
                let classifier = stopping stop (Knn.classifier knn encoder train)
                { RobustAccuracy.clean encoder.Device classifier test with Name = Knn.text knn })
    }

    /// Fits a linear layer on the frozen encoder (SLF), then measures clean accuracy and accuracy under
    /// attacks, and how the nearest training images vote where that is asked for. report: called with the
    /// name of what is being done and the share of it done. When stop is cancelled, ends before the next forward pass of
    /// the encoder with Error.Interrupted.
    let run (report: string -> float -> unit) (stop: CancellationToken) (encoder: Encoder) (e: Evaluation) =
        onStand report stop encoder e (fun asked knn classifier test train -> result {
            let who = sprintf "%s %s" (Provenance.ofModel (Encoder.model encoder)) e.Probe
            let! voted = knn |> Option.traverseResult (vote stop encoder train test)

            let! accuracies =
                Measurement.run who (sharing report stop) asked encoder.Device classifier test
                |> Result.mapError List.singleton

            return {
                Dataset = test.Name
                Coverage = Coverage.ofDataset test
                Probe = e.Probe
                Seed = e.Seed
                Accuracies = accuracies.Head :: Option.toList voted @ accuracies.Tail
            }
        })

    // Logits of as many classes as the labels need.
    let private suits (classifier: Classifier) (test: Dataset) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let one = Classifier.guarded classifier (test.Batch test.Images.device [| 0L |])
            let least = test.Labels.min().item<int64>()

            if least < 0L || int64 test.Classes > one.shape[1] then
                invalidArg
                    "labels"
                    (sprintf
                        "labels from 0 to %d were expected, a logit for each, got %d to %d."
                        (one.shape[1] - 1L)
                        least
                        (test.Classes - 1)))

    // Of images that are given no data set is read, and no linear layer is made.
    let private requireUsed (e: Evaluation) =
        let unused = [
            if e.Dataset.IsSome then "--dataset"
            if e.Data.IsSome then "--data"
            if e.Knn.IsSome then "--knn"
            if e.Probe <> defaults.Probe then "--probe"
        ]

        let problem = "images and a classifier are given, so it has no use; leave it out."

        match unused |> List.map (fun name -> Error.BadOption(name, problem)) with
        | [] -> Ok()
        | faults -> Error faults

    /// Calls `work` with the measurement, the classifier and the given images; they are valid only during the call. Of the
    /// evaluation, attacks, threats, seed, images, threads and notes count. Pixels are those of the threats'
    /// boxes; bytes become pixels from 0 to 1. Attacks' names and other faults of the evaluation are errors;
    /// images outside a box or in another type than bytes, float32 and float64, labels outside the classes or
    /// something else than logits are ArgumentExceptions. When stop is cancelled, ends
    /// before the next forward pass of the classifier with Error.Interrupted.
    let onClassifier
        (stop: CancellationToken)
        (classifier: Classifier)
        (images: Dataset)
        (e: Evaluation)
        (work: Measurement -> Classifier -> Dataset -> Result<'a, Error list>)
        =
        try
            result {
                do! requireUsed e
                let! asked = measurement "linf:8/255" e
                use test = few e images

                if test.Count = 0L then invalidArg (nameof images) "1 image or more was expected, got none."

                do! bounded asked test

                for threat in asked.Threats do
                    if test.Images.is_floating_point () then
                        Projection.requireInBox (nameof images) threat test.Images
                    else
                        do! Threat.onDataset threat |> Result.mapError List.singleton |> Result.ignore

                e.Threads |> Option.iter torch.set_num_threads
                let classifier = stopping stop classifier
                suits classifier test
                return! work asked classifier test
            }
        with :? OperationCanceledException ->
            Error [ Error.Interrupted ]

    /// Measures any classifier on images and labels that are given, as <c>onClassifier</c> says.
    let ofClassifier report stop (classifier: Classifier) (images: Dataset) (e: Evaluation) =
        onClassifier stop classifier images e (fun asked classifier test ->
            Measurement.run "" (sharing report stop) asked test.Images.device classifier test
            |> Result.mapError List.singleton
            |> Result.map (fun accuracies -> {
                Dataset = test.Name
                Coverage = Coverage.ofDataset test
                Probe = "own"
                Seed = e.Seed
                Accuracies = accuracies
            }))
