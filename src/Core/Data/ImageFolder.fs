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

    let private errors results = results |> Seq.choose (Result.either (fun _ -> None) Some) |> List.ofSeq

    let private several (errors: Error list) =
        if errors.Tail.IsEmpty then errors.Head else Error.Several(errors.Head, errors.Tail)

    // An error if an image's size is not that of the first one.
    let private otherSize name (firstPath: string) (first: Raster) (path, picture: Raster) =
        if (picture.Width, picture.Height) = (first.Width, first.Height) then
            None
        else
            let problem =
                sprintf
                    "it is %dx%d, '%s' is %dx%d; make all images one size, or have them cropped to a square and resized: --dataset %s:%d."
                    picture.Width
                    picture.Height
                    (Path.GetFileName firstPath)
                    first.Width
                    first.Height
                    name
                    (min 64 (min first.Width first.Height))

            Some(Error.Damaged(path, problem))

    // How many images are decoded at a time, on all processors.
    let private chunk = 256

    // Decodes files and copies their images into [n; 3; h; w]. Gives the errors of all that cannot be read, but
    // stops at an image of another size than the first: then most of them have another.
    let private fill name size (images: Tensor) firstPath (first: Raster) (paths: string[]) =
        let shape = [| 3L; int64 first.Height; int64 first.Width |]

        let add (part: (int * string)[]) found =
            let results =
                part
                |> Array.Parallel.map (fun (row, path) ->
                    sized size path
                    |> Result.map (fun picture -> int64 row, (path, picture), Raster.toPlanes picture))

            let read = results |> Array.choose Option.ofResult

            match read |> Array.tryPick (fun (_, image, _) -> otherSize name firstPath first image) with
            | Some error -> Result.Error error
            | None ->
                Scope.value (fun () ->
                    for row, _, pixels in read do
                        images[row].copy_(torch.tensor(pixels).reshape shape) |> ignore)

                Ok(found @ errors results)

        (Ok [], paths |> Array.indexed |> Array.chunkBySize chunk)
        ||> Array.fold (fun found part -> found |> Result.bind (add part))

    /// Images by their paths and labels, as a data set; all files that cannot be read are reported together.
    /// size: the side in pixels to which the centre square is resized, or None if all have one size already.
    /// name: the data set's, without the size.
    let load
        name
        classes
        mean
        std
        (size: int option)
        (labelled: (string * int64)[])
        : Result<Dataset, Error> =
        let paths = Array.map fst labelled
        let readable path = sized size path |> Option.ofResult |> Option.map (fun picture -> path, picture)

        match paths |> Array.tryPick readable with
        | None -> Result.Error(paths |> Array.Parallel.map (sized size) |> errors |> several)
        | Some(firstPath, first) ->
            let shape = [| labelled.LongLength; 3L; int64 first.Height; int64 first.Width |]
            let images = torch.empty(shape, Nullable torch.uint8).DetachFromDisposeScope()

            match fill name size images firstPath first paths with
            | Ok [] -> Ok(Dataset.create name images (Some(Array.map snd labelled)) classes mean std)
            | faults ->
                images.Dispose()
                faults |> Result.bind (several >> Result.Error)

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
        let trainFolder = part folder [ "train" ]
        let! from = if train then trainFolder else part folder [ "test"; "val" ]
        // Without training images the classes are those of the test images.
        let classes = trainFolder |> Result.defaultValue from |> folders |> Array.map Path.GetFileName

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
