namespace AdvContrast.Core.Data

open System
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation

/// STL-10 (Coates, Ng and Lee 2011) in its binary layout, in a folder stl10_binary: images of 3x96x96, a
/// channel after another and each column after column, and labels from 1 to 10; 100,000 images have none.
[<RequireQualifiedAccess>]
module Stl10 =

    let private side = 96L
    let private record = 3L * side * side
    let private classes = 10

    // Those that solo-learn gives for STL-10 (da Costa et al. 2022).
    let private mean, private std = [ 0.4914; 0.4823; 0.4466 ], [ 0.247; 0.243; 0.261 ]

    let private folderOf given =
        let advice =
            "Give the folder that holds stl10_binary with --data DIR; 'advcontrast data get stl10 --data DIR' fetches it."

        DataFile.folder "STL-10" advice "stl10_binary" given

    let private what, private advice =
        "An STL-10 file", "It is part of stl10_binary.tar.gz; unpack that whole."

    // All the images of an open file, a part at a time: the unlabelled ones are more bytes than a .NET array
    // holds. Belongs to no scope.
    let private pixels (file: FileStream) =
        use _ = torch.NewDisposeScope()
        let n = file.Length / record
        let images = torch.empty ([| n; 3L; side; side |], Nullable torch.uint8)

        for start in 0L .. 500L .. n - 1L do
            Scope.value (fun () ->
                let count = min 500L (n - start)
                let bytes = Array.zeroCreate<byte>(int (count * record))
                file.ReadExactly bytes
                let columns = torch.tensor(bytes).reshape([| count; 3L; side; side |])
                images.narrow(0L, start, count).copy_(columns.transpose (2L, 3L)) |> ignore)

        images.DetachFromDisposeScope()

    let private readImages (path: string) =
        if not (File.Exists path) then
            Result.Error(Error.Missing(what, path, advice))
        else
            DataFile.guarded path (fun () ->
                use file = File.OpenRead path

                if file.Length = 0L || file.Length % record <> 0L then
                    DataFile.damaged
                        path
                        (sprintf "%d bytes are not a whole number of %d-byte images." file.Length record)
                else
                    Ok(pixels file))

    let private readLabels path = result {
        let! bytes = DataFile.read what advice path

        match bytes |> Array.tryFindIndex (fun label -> label < 1uy || int label > classes) with
        | Some at ->
            return! DataFile.damaged path (sprintf "image %d has label %d, not 1 to 10." at bytes[at])
        | None -> return bytes |> Array.map (fun label -> int64 label - 1L)
    }

    /// The labelled training images or the test images below a folder that holds stl10_binary, or is it.
    let read (folder: string) train = result {
        let! folder = folderOf folder
        let prefix = if train then "train" else "test"
        let labelsPath = Path.Combine(folder, prefix + "_y.bin")
        let! labels = readLabels labelsPath
        let! images = readImages (Path.Combine(folder, prefix + "_X.bin"))

        if images.shape[0] <> labels.LongLength then
            let count = images.shape[0]
            images.Dispose()

            return!
                DataFile.damaged labelsPath (sprintf "it holds %d labels for %d images." labels.Length count)
        else
            return Dataset.create "stl10" images (Some labels) classes mean std
    }

    /// The images without labels, for pre-training, or the test images, which have theirs.
    let readUnlabelled (folder: string) train = result {
        if train then
            let! folder = folderOf folder
            let! images = readImages (Path.Combine(folder, "unlabeled_X.bin"))
            return Dataset.create "stl10-unlabelled" images None classes mean std
        else
            return! read folder false
    }
