namespace AdvContrast.Core.Evaluation

open System
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Runs

/// Adversarial images that are made to be kept, and tried on other classifiers.
[<RequireQualifiedAccess>]
module Generation =

    // Images are made by one attack within one threat, at one go.
    let private single (e: Evaluation) =
        if e.Knn.IsSome then
            Error [ Error.BadOption("--knn", "images are made against a linear layer, not against a vote.") ]
        elif e.Notes.IsSome then
            Error [ Error.BadOption("--notes", "images are made at one go; nothing is noted.") ]
        elif e.Attacks.Length = 1 && e.Threats.Length <= 1 then
            Ok()
        else
            let advice =
                sprintf
                    "images are made by one attack within one threat, not by %d within %d."
                    e.Attacks.Length
                    (max 1 e.Threats.Length)

            Error [ Error.BadOption("--attack", advice) ]

    let private craft about report stop device targets (asked: Measurement) classifier (test: Dataset) =
        let name, assault = asked.Assaults.Head

        let attack =
            match assault with
            | Alone attack -> attack
            | InTurn cascade -> AutoAttack.toAttack cascade

        let share = Evaluation.sharing report stop name
        let report finished = share (int64 finished) test.Count
        let threat = asked.Threats.Head

        let made =
            AdversarialExamples.craft
                about
                (name, attack)
                asked.Seed
                threat
                targets
                report
                device
                classifier
                test

        let notes = Projection.notes threat (Measurement.pixels test)
        Ok { made with Result = { made.Result with Flags = made.Result.Flags + notes } }

    /// Fits a linear layer on the frozen encoder (SLF) and attacks the test images by the evaluation's one
    /// attack within its one threat. about: what a reader of the images should know, besides the data set.
    /// What it makes belongs to no scope; faults and stopping are as in an evaluation.
    let ofEncoder
        about
        report
        stop
        (encoder: Encoder)
        (e: Evaluation)
        : Result<AdversarialExamples, Error list> =
        single e
        |> Result.bind (fun () ->
            Evaluation.onEncoder report stop encoder e (fun asked classifier test ->
                let about = about |> Map.add "dataset" test.Name |> Map.add "probe" e.Probe
                craft about report stop encoder.Device None asked classifier test))

    /// Attacks images that are given, of any classifier, by the evaluation's one attack within its one
    /// threat, as <c>Evaluation.onClassifier</c> says. targets: labels to reach, int64 [n].
    let ofClassifier about report stop classifier (targets: Tensor option) (images: Dataset) (e: Evaluation) =
        for targets in Option.toList targets do
            Shape.rank "n" (nameof targets) targets

            if targets.shape[0] <> images.Count || targets.dtype <> torch.ScalarType.Int64 then
                invalidArg
                    (nameof targets)
                    (sprintf "one int64 label an image was expected, %d of them." images.Count)

        single e
        |> Result.bind (fun () ->
            Evaluation.onClassifier stop classifier images e (fun asked classifier test ->
                use _ = torch.NewDisposeScope()

                // The images may be a subset themselves, whose indices are those of the whole set.
                let rows =
                    test.Indices |> Array.map (fun index -> Array.IndexOf(images.Indices, index) |> int64)
                let targets =
                    targets
                    |> Option.map (fun all -> all.index_select (0L, torch.tensor(rows).``to`` all.device))

                craft about report stop test.Images.device targets asked classifier test))

    /// Refuses an encoder of images of another number of channels.
    let fits channels (encoder: Encoder) : Result<unit, Error> =
        if encoder.Input.Channels = channels then
            Ok()
        else
            let advice =
                sprintf
                    "the encoder takes images of %d channel(s), these have %d."
                    encoder.Input.Channels
                    channels

            Error(Error.BadOption("--onto", advice))

    /// Fits a linear layer on another frozen encoder (SLF), and tells how that fares on the same images. The
    /// data set is the one that they were made of, where the evaluation names no other.
    let transfer
        report
        stop
        (encoder: Encoder)
        (e: Evaluation)
        (a: AdversarialExamples)
        : Result<Transferred, Error list> = result {
        do! fits a.Original.shape[1] encoder |> Result.mapError List.singleton

        let e = {
            e with
                Dataset = e.Dataset |> Option.orElse (Map.tryFind "dataset" a.About)
                Images = Some 1
        }

        return!
            Evaluation.onEncoder report stop encoder e (fun _ classifier _ ->
                Ok(AdversarialExamples.onto encoder.Device classifier a))
    }
