namespace AdvContrast.Core

open System
open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp

/// Everything a user chooses about an evaluation; None means: as in the encoder's own run.
type Evaluation = {
    /// A data set of the catalogue: its training part fits the linear layer, its test part is attacked.
    Dataset: string option
    /// The folder with the data set's files.
    Data: string option
    /// Test on the first so many images.
    Images: int option
    /// Attacks by the names that <c>Robustness.attack</c> reads, or attacks in turn by those of
    /// <c>Cascade.find</c>.
    Attacks: string list
    /// What the attacks may do, each in turn; empty: what the encoder was trained against, else linf:8/255.
    Threats: string list
    /// How the linear layer is fitted: <c>"quick"</c> or <c>"published"</c>.
    Probe: string
    Seed: uint64
    /// Threads of libtorch; None leaves them: as many as there are processors.
    Threads: int option
    /// A file in which attacks in turn note where they stand, so that an evaluation that was stopped goes on
    /// from there; it is gone when they are done.
    Notes: string option
}

/// What an evaluation found.
type Measured = {
    /// The data set whose test images were used, and how many.
    Dataset: string
    Images: int
    Probe: string
    Seed: uint64
    /// Clean accuracy, then for each threat accuracy under each attack, in the order given.
    Accuracies: Accuracy list
}

[<RequireQualifiedAccess>]
module Evaluation =

    // An attack by itself, or attacks in turn.
    [<NoEquality; NoComparison>]
    type private Assault =
        | Alone of Attack
        | InTurn of Cascade

    /// FGSM and PGD-20 on the run's own data.
    let defaults: Evaluation = {
        Dataset = None
        Data = None
        Images = None
        Attacks = [ "fgsm"; "pgd-20" ]
        Threats = []
        Probe = "quick"
        Seed = 1UL
        Threads = None
        Notes = None
    }

    // What can be checked before the data is there; all faults at once.
    let private validate (run: Configuration) (e: Evaluation) = validation {
        let named name =
            match Cascade.find name with
            | Some cascade -> Ok(name, InTurn cascade)
            | None -> Robustness.attack name |> Result.map (fun attack -> name, Alone attack)

        let usual = run.Threat |> Option.defaultValue "linf:8/255"
        let threats = if e.Threats.IsEmpty then [ usual ] else e.Threats

        let! attacks = e.Attacks |> List.traverseResultA named
        and! threats = threats |> List.traverseResultA Threat.parse
        and! probe = LinearProbe.find e.Probe
        and! _ = Configuration.atLeast 1 "--images" e.Images
        and! _ = Configuration.atLeast 1 "--threads" e.Threads
        return attacks, threats, { probe with Seed = e.Seed }
    }

    // One part of the data, refused where the encoder cannot see it.
    let private load (encoder: Encoder) name folder train = result {
        let! dataset = Catalogue.load name folder train
        let channels = dataset.Images.shape[1]

        if channels = encoder.Input.Channels then
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

    // What is measured and nothing else: notes of another measurement are not gone on from.
    let private key (encoder: Encoder) (e: Evaluation) (test: Dataset) name threat =
        let weights = Tree.hash (Tree.ofTensors (fst encoder.Weights))
        sprintf "%s %s %d %s %s %s %d" weights test.Name test.Count name (Threat.text threat) e.Probe e.Seed

    // Accuracy under attacks in turn, from where the notes say that they stand.
    let private inTurn (encoder: Encoder) (e: Evaluation) classifier (test: Dataset) cascade threat report =
        result {
            let key = key encoder e test cascade.Name threat
            let keep standing =
                e.Notes
                |> Option.traverseResult (fun path -> Standing.write path standing)
                |> Result.map ignore

            let start =
                e.Notes
                |> Option.bind (fun path -> Standing.read path key)
                |> Option.defaultWith (fun () -> Cascade.start key encoder.Device classifier test)

            let! finished = Cascade.run cascade e.Seed threat report keep encoder.Device classifier test start
            e.Notes |> Option.iter System.IO.File.Delete
            let few = test.Batch encoder.Device [| 0L .. min 50L test.Count - 1L |]
            let faults = Soundness.faults classifier few |> Set.ofList

            return {
                Name = cascade.Name
                Threat = Some threat
                Correct = finished.Alive.Length
                Total = int test.Count
                Parts = List.zip (List.map fst cascade.Stages) finished.Counts.Tail
                Flags = finished.Flags + faults + Cascade.warnings cascade (int test.Count) finished
            }
        }

    /// Fits a linear layer on the frozen encoder (SLF), then measures clean accuracy and accuracy under
    /// attacks. report: called with the name of what is being done and the share of it done. When stop is
    /// cancelled, ends at the next look at the encoder with Error.Interrupted.
    let run (report: string -> float -> unit) (stop: CancellationToken) (encoder: Encoder) (e: Evaluation) =
        try
            result {
                let! attacks, threats, probe = validate encoder.Configuration e
                let name = Option.defaultValue encoder.Configuration.Dataset e.Dataset
                let folder = e.Data |> Option.orElse encoder.Configuration.Data
                let part train = load encoder name folder train |> Result.mapError List.singleton
                let! train = part true
                use train = train
                let! all = part false
                use all = all
                use test = Dataset.first (Option.defaultValue Int32.MaxValue e.Images) all
                e.Threads |> Option.iter torch.set_num_threads

                let share what finished whole =
                    stop.ThrowIfCancellationRequested()
                    report what (float finished / float whole)

                use head = LinearProbe.fit probe (fun p -> share "linear layer" p.Step p.Steps) encoder train

                let classifier images =
                    stop.ThrowIfCancellationRequested()
                    LinearProbe.classifier encoder head images

                let measure threat (name, assault) =
                    let title =
                        if threats.Length = 1 then name else sprintf "%s, %s" name (Threat.label threat)

                    match assault with
                    | Alone attack ->
                        let report finished = share title (int64 finished) test.Count
                        Ok(
                            Robustness.under
                                (name, attack)
                                e.Seed
                                threat
                                report
                                encoder.Device
                                classifier
                                test
                        )
                    | InTurn cascade ->
                        let report stage part =
                            share (sprintf "%s: %s" title stage) (int64 (part * 1000.0)) 1000L
                        Scope.value (fun () -> inTurn encoder e classifier test cascade threat report)

                let! attacked =
                    [
                        for threat in threats do
                            for assault in attacks -> threat, assault
                    ]
                    |> List.traverseResultM (fun (threat, assault) -> measure threat assault)
                    |> Result.mapError List.singleton

                let accuracies = Robustness.clean encoder.Device classifier test :: attacked

                return {
                    Dataset = test.Name
                    Images = int test.Count
                    Probe = e.Probe
                    Seed = e.Seed
                    Accuracies = accuracies
                }
            }
        with :? OperationCanceledException ->
            Error [ Error.Interrupted ]
