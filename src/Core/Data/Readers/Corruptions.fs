namespace AdvContrast.Core.Data

open System
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation

/// CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich 2019): the test images under 19 corruptions at five
/// severities, an npy file each, in a folder CIFAR-10-C or CIFAR-100-C. The training part is the plain one.
[<RequireQualifiedAccess>]
module Corruptions =

    /// The corruptions by name: the fifteen of the benchmark, then four held out for tuning.
    let names = [
        "gaussian_noise"
        "shot_noise"
        "impulse_noise"
        "defocus_blur"
        "glass_blur"
        "motion_blur"
        "zoom_blur"
        "snow"
        "frost"
        "fog"
        "brightness"
        "contrast"
        "elastic_transform"
        "pixelate"
        "jpeg_compression"
        "speckle_noise"
        "gaussian_blur"
        "spatter"
        "saturate"
    ]

    let private severities = 5L

    // The rows of one severity, or of all.
    let private rows path severity (shape: int64[]) =
        match severity with
        | None -> Ok(0L, shape[0])
        | Some _ when shape[0] % severities <> 0L ->
            DataFile.damaged path (sprintf "its %d images are not of five severities alike." shape[0])
        | Some severity -> Ok((severity - 1L) * (shape[0] / severities), shape[0] / severities)

    let private readImages path severity =
        Npy.read path (fun shape ->
            if shape.Length = 4 && shape[1..] = [| 32L; 32L; 3L |] && shape[0] > 0L then
                rows path severity shape
            else
                DataFile.damaged path (sprintf "its shape is %A, not images of 32x32 in colour." shape))
        |> Result.bind (fun (shape, values) ->
            match values with
            | Bytes bytes -> Ok(shape, bytes)
            | Wholes _ -> DataFile.damaged path "its values are not bytes.")

    let private readLabels path severity classes (count: int64) =
        Npy.read path (fun shape ->
            if shape.Length = 1 then
                rows path severity shape
            else
                DataFile.damaged path "it is not a list of labels.")
        |> Result.bind (fun (_, values) ->
            let labels =
                match values with
                | Bytes bytes -> Array.map int64 bytes
                | Wholes labels -> labels

            if labels.LongLength <> count then
                DataFile.damaged path (sprintf "it holds %d labels for %d images." labels.Length count)
            else
                match labels |> Array.tryFindIndex (fun label -> label < 0L || label >= int64 classes) with
                | Some at ->
                    DataFile.damaged
                        path
                        (sprintf "label %d of image %d is not from 0 to %d." labels[at] at (classes - 1))
                | None -> Ok labels)

    let private severityOf (text: string) =
        match Int64.TryParse text with
        | true, value when value >= 1L && value <= severities -> Ok value
        | _ -> Result.Error(Error.BadOption("--dataset", sprintf "the severity '%s' is not 1 to 5." text))

    // A corruption and perhaps a severity, from what follows a data set's name.
    let private chosen name (choice: string list) = result {
        let! corruption, severity =
            match choice with
            | [ corruption ] -> Ok(corruption, None)
            | [ corruption; severity ] -> severityOf severity |> Result.map (fun s -> corruption, Some s)
            | _ ->
                let advice =
                    sprintf "'%s' needs a corruption: %s:fog, or %s:fog:3 for severity 3." name name name

                Result.Error(Error.BadOption("--dataset", advice))

        do!
            List.contains corruption names
            |> Result.requireTrue (Error.UnknownName("corruption", corruption, names))

        return corruption, severity
    }

    let private test name inner classes mean std choice (corruption, severity) folder = result {
        let advice =
            sprintf
                "Give the folder that holds %s with --data DIR; 'advcontrast data get %s --data DIR' fetches it."
                inner
                name

        let! folder = DataFile.folder inner advice inner folder
        let path = Path.Combine(folder, corruption + ".npy")
        let labelsPath = Path.Combine(folder, "labels.npy")

        for path in [ path; labelsPath ] do
            do!
                File.Exists path
                |> Result.requireTrue (Error.Missing(sprintf "A file of %s" inner, path, advice))

        let! shape, bytes = readImages path severity
        let! labels = readLabels labelsPath severity classes shape[0]
        use _ = torch.NewDisposeScope()
        let images = torch.tensor(bytes).reshape(shape).permute(0L, 3L, 1L, 2L).contiguous()
        return Dataset.create (String.Join(":", name :: choice)) images (Some labels) classes mean std
    }

    /// CIFAR-10-C: the choice is a corruption and perhaps a severity, 1 to 5; without one all five. The training
    /// images are those of CIFAR-10, in the same folder.
    let cifar10 choice (folder: string) train = result {
        let! chosen = chosen "cifar10-c" choice

        if train then
            return! Cifar10.read folder true
        else
            return! test "cifar10-c" "CIFAR-10-C" 10 Cifar10.mean Cifar10.std choice chosen folder
    }

    /// CIFAR-100-C likewise.
    let cifar100 choice (folder: string) train = result {
        let! chosen = chosen "cifar100-c" choice

        if train then
            return! Cifar100.read Fine folder true
        else
            return! test "cifar100-c" "CIFAR-100-C" 100 Cifar100.mean Cifar100.std choice chosen folder
    }
