namespace AdvContrast.Core.Evaluation

open System
open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs

/// Options of an encoder's evaluation; None means: as in the encoder's own run.
[<NoEquality; NoComparison>]
type EvaluationTarget = {
    /// A data set of the catalogue: its training part fits the linear layer, its test part is attacked.
    Dataset: string option
    /// The folder with the data set's files.
    Data: string option
    /// Test images drawn by the seed, at most this many; None for all.
    Images: int option
    /// Of the draw of the test images.
    Seed: uint64
    /// Training images that a vote of neighbours needs; None where there is no vote.
    Neighbours: int option
    Top: ClassifierHead
    /// Threads of libtorch; None leaves its own choice.
    Threads: int option
}

/// Encoders as classifiers of a data set's test images: what every judgement of an encoder begins with.
[<RequireQualifiedAccess>]
module EvaluationTarget =

    // One part of the data, refused where the encoder cannot see it.
    let private load (encoder: Encoder) name folder train = result {
        let! dataset = DatasetRegistry.load name folder train
        let channels = dataset.Images.shape[1]

        if not dataset.IsLabelled then
            (dataset :> IDisposable).Dispose()

            let text =
                sprintf
                    "the images of '%s' have no labels to fit a linear layer with; name a data set that has them."
                    name

            return! Error(Error.BadOption("--dataset", text))
        elif channels = encoder.Input.Channels then
            return dataset
        else
            (dataset :> IDisposable).Dispose()

            return!
                Error(
                    Error.BadOption(
                        "--dataset",
                        sprintf
                            "the encoder takes images of %d channel(s), '%s' has %d; name a data set like the one it was trained on."
                            encoder.Input.Channels
                            name
                            channels
                    )
                )
    }

    // Refuses images of one class, among which nothing can be mistaken.
    let private several (test: Dataset) =
        if test.Classes >= 2 then
            Ok()
        else
            let text =
                sprintf
                    "'%s' has %d class; two or more are needed to evaluate or attack."
                    test.Name
                    test.Classes

            Error [ Error.BadOption("--dataset", text) ]

    // A vote cannot have more neighbours than there are training images.
    let private enough (stand: EvaluationTarget) (train: Lazy<Result<Dataset, Error list>>) = result {
        match stand.Neighbours with
        | None -> ()
        | Some count ->
            let! train = train.Force()

            if int64 count > train.Count then
                let advice =
                    sprintf "there are %d training images; give at most as many neighbours." train.Count
                return! Error [ Error.BadOption("--knn", advice) ]
    }

    /// Puts a linear layer on the frozen encoder (SLF), or takes the one of its weights, and hands the
    /// classifier and the test images to the body, with the training images, which are read when they are
    /// first asked for, and a way to tell how far it is. report: called with the name of what is being done
    /// and the share of it done. What the body returns holds no tensors of its scope. When stop is cancelled,
    /// ends before the next forward pass of the encoder or at the next report with Error.Interrupted.
    let using
        (report: string -> float -> unit)
        (stop: CancellationToken)
        (encoder: Encoder)
        (stand: EvaluationTarget)
        (body:
            Classifier
                -> Dataset
                -> (unit -> Result<Dataset, Error list>)
                -> (string -> float -> unit)
                -> Result<'a, Error list>)
        : Result<'a, Error list> =
        try
            result {
                let name = Option.defaultValue encoder.Configuration.Dataset stand.Dataset
                let folder = stand.Data |> Option.orElse encoder.Configuration.Data
                let part train = load encoder name folder train |> Result.mapError List.singleton
                let train = lazy (part true)

                use _ = {
                    new IDisposable with
                        member _.Dispose() =
                            if train.IsValueCreated then
                                train.Value |> Result.iter (fun read -> (read :> IDisposable).Dispose())
                }

                if ClassifierHead.isFitted stand.Top then do! train.Force() |> Result.ignore
                do! enough stand train
                let! all = part false
                use all = all
                do! several all
                use test = Dataset.sample stand.Seed (Option.defaultValue Int32.MaxValue stand.Images) all
                stand.Threads |> Option.iter torch.set_num_threads
                Accelerator.convolveInTf32 encoder.Device false

                let share what part =
                    stop.ThrowIfCancellationRequested()
                    report what part

                use _ = torch.NewDisposeScope()
                do! Encoder.checkKernels encoder test.Images.shape |> Result.mapError List.singleton
                let encoder = Encoder.folded encoder
                let fitting (p: Progress) = share "linear layer" (float p.Step / float p.Steps)
                let! head = ClassifierHead.head stand.Top fitting encoder train.Force test
                use head = head

                let classifier images =
                    stop.ThrowIfCancellationRequested()
                    LinearProbe.classifier encoder head images

                return! body classifier test train.Force share
            }
        with :? OperationCanceledException ->
            Error [ Error.Interrupted ]
