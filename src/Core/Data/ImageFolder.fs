namespace AdvContrast.Core

open System
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp

/// Folders of image files: train/CLASS/FILE and test/CLASS/FILE (or val/CLASS/FILE), the classes numbered
/// in the order of their folders' names. All images become colour and must have one size, or are resized to
/// one.
[<RequireQualifiedAccess>]
module ImageFolder =

    // ImageNet's, which are those that folders of photographs are usually given.
    let private mean, private std = [ 0.485; 0.456; 0.406 ], [ 0.229; 0.224; 0.225 ]

    let private byName (paths: string[]) = Array.sortWith (fun a b -> String.CompareOrdinal(a, b)) paths

    // What file managers leave behind is no image.
    let private isHidden (path: string) =
        let name = Path.GetFileName path
        name.StartsWith '.' || name = "Thumbs.db" || name = "desktop.ini"

    let private inside list (path: string) = list path |> Array.filter (isHidden >> not) |> byName
    let private folders path = inside Directory.GetDirectories path
    let private files path = inside Directory.GetFiles path

    let private sized (size: int option) (path: string) =
        ImageFile.read path
        |> Result.map (fun picture ->
            let picture = Raster.toColour picture
            size |> Option.fold (fun picture side -> Raster.square side picture) picture)

    // Whether a picture is as large as the first.
    let private fits name (firstPath: string) (first: Raster) (path: string) (picture: Raster) =
        if (picture.Width, picture.Height) = (first.Width, first.Height) then
            Ok(Raster.toPlanes picture)
        else
            DataFile.damaged
                path
                (sprintf
                    "it is %dx%d where '%s' is %dx%d; give all one size, or have them cropped to a square and resized: --dataset %s:%d."
                    picture.Width
                    picture.Height
                    (Path.GetFileName firstPath)
                    first.Width
                    first.Height
                    name
                    (min 64 (min first.Width first.Height)))

    /// Images by their paths and labels, as a data set. size: the side of the square in their middle that is
    /// resized to; None where they have one size. name: the data set's, without the size.
    let load
        name
        classes
        mean
        std
        (size: int option)
        (labelled: (string * int64)[])
        : Result<Dataset, Error> =
        let firstPath = fst labelled[0]

        sized size firstPath
        |> Result.bind (fun first ->
            let length = 3 * first.Width * first.Height
            let images =
                torch.empty (
                    [| labelled.LongLength; 3L; int64 first.Height; int64 first.Width |],
                    Nullable torch.uint8
                )
            let images = images.DetachFromDisposeScope()

            // A part at a time, decoded on all processors.
            let fault =
                labelled
                |> Array.indexed
                |> Array.chunkBySize 1000
                |> Array.tryPick (fun part ->
                    let read =
                        part
                        |> Array.Parallel.map (fun (_, (path, _)) ->
                            sized size path |> Result.bind (fits name firstPath first path))

                    match read |> Array.tryPick (Result.either (fun _ -> None) Some) with
                    | Some error -> Some error
                    | None ->
                        Scope.value (fun () ->
                            let bytes = read |> Array.collect (Result.defaultValue [||])
                            let start, count = int64 (fst part[0]), part.LongLength
                            let shape = [| count; 3L; int64 first.Height; int64 first.Width |]
                            images.narrow(0L, start, count).copy_(torch.tensor(bytes).reshape shape)
                            |> ignore)

                        if part.Length * length = 0 then None else None)

            match fault with
            | Some error ->
                images.Dispose()
                Result.Error error
            | None -> Ok(Dataset.create name images (Some(Array.map snd labelled)) classes mean std))

    let private advice =
        "An image folder holds train/CLASS/FILE and test/CLASS/FILE; give it with --data DIR."

    // The first of some folders that is there.
    let private part (folder: string) names =
        names
        |> List.map (fun name -> Path.Combine(folder, name))
        |> List.tryFind Directory.Exists
        |> Result.requireSome (
            Error.Missing("The images' folder", Path.Combine(folder, List.head names), advice)
        )

    /// The images below DIR/train or DIR/test, each of the class that its folder is named after. size: as
    /// load's.
    let read (size: int option) (folder: string) train = result {
        let! trainFolder = part folder [ "train" ]
        let! from = if train then Ok trainFolder else part folder [ "test"; "val" ]
        let classes = folders trainFolder |> Array.map Path.GetFileName

        let! labelled =
            folders from
            |> List.ofArray
            |> List.traverseResultM (fun path ->
                match Array.tryFindIndex ((=) (Path.GetFileName path)) classes with
                | Some label -> Ok(files path |> Array.map (fun file -> file, int64 label))
                | None -> DataFile.damaged path "there is no class of this name among the training images.")

        let labelled = Array.concat labelled
        if labelled.Length = 0 then return! Result.Error(Error.Missing("An image", from, advice))
        return! load "folder" classes.Length mean std size labelled
    }
