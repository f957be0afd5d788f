namespace AdvContrast.Core.Data

open System
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Folders of image files: train/CLASS/FILE and test/CLASS/FILE (or val/CLASS/FILE), the classes numbered
/// in the order of their folders' names. All images become colour and must have one size, or are resized to
/// one.
[<RequireQualifiedAccess>]
module ImageFolder =

    // ImageNet's, which are those that folders of photographs are usually given.
    let private mean, private std = [ 0.485; 0.456; 0.406 ], [ 0.229; 0.224; 0.225 ]

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

    // The images are held in memory as bytes.
    let private requireMemory name (shape: int64[]) =
        let needed, there = Array.fold (*) 1L shape, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes
        let gib (bytes: int64) = float bytes / float (1L <<< 30)

        if needed <= there then
            Ok()
        else
            let problem =
                sprintf
                    "its %d images of %dx%d need %.1f GiB of memory, and there are %.1f; have them cropped to a square and resized, as in --dataset %s:64."
                    shape[0]
                    shape[3]
                    shape[2]
                    (gib needed)
                    (gib there)
                    name

            Result.Error(Error.BadOption("--dataset", problem))

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

            requireMemory name shape
            |> Result.bind (fun () ->
                let images = torch.empty(shape, Nullable torch.uint8).DetachFromDisposeScope()

                match fill name size images firstPath first paths with
                | Ok [] -> Ok(Dataset.create name images (Some(Array.map snd labelled)) classes mean std)
                | faults ->
                    images.Dispose()
                    faults |> Result.bind (several >> Result.Error))

    let private advice =
        "An image folder holds train/CLASS/FILE and test/CLASS/FILE; give it with --data DIR."

    // The first of some folders that is there.
    let private part (folder: string) names =
        DataFile.entry folder names
        |> Option.filter Directory.Exists
        |> Result.requireSome (
            Error.Missing("The images' folder", Path.Combine(folder, List.head names), advice)
        )

    // The classes of a part that have images.
    let private classesOf (tree: ImageTree) =
        tree.Classes |> List.filter (fun c -> c.Images.Length > 0) |> List.map _.Name

    /// The images below DIR/train or DIR/test (or val), each of the class that the first folder on its way is named
    /// after; <c>ImageTree</c> says which files are images. Classes are those of the training images, in the order of
    /// their names, or of the test images where there are no training images. size: as load's.
    let read (size: int option) (folder: string) train =
        DataFile.guarded folder (fun () -> result {
            let trainTree = part folder [ "train" ] |> Result.map ImageTree.read
            let! tree =
                if train then
                    trainTree
                else
                    part folder [ "test"; "val"; "valid"; "validation" ] |> Result.map ImageTree.read

            let classes = trainTree |> Result.defaultValue tree |> classesOf

            let! labelled =
                tree.Classes
                |> List.filter (fun c -> c.Images.Length > 0)
                |> List.traverseResultM (fun c ->
                    match List.tryFindIndex ((=) c.Name) classes with
                    | Some label -> Ok(c.Images |> Array.map (fun file -> file, int64 label))
                    | None ->
                        DataFile.damaged
                            (Path.Combine(tree.Folder, c.Name))
                            "there is no class of this name among the training images.")

            let labelled = Array.concat labelled
            if labelled.Length = 0 then return! Result.Error(Error.Missing("An image", tree.Folder, advice))
            let! dataset = load "folder" classes.Length mean std size labelled
            return { dataset with ClassNames = classes; Skipped = ImageTree.skipped tree }
        })
