namespace AdvContrast.Core.Data

open System
open System.Collections.Generic
open System.IO
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation

/// Tiny-ImageNet (Stanford's CS231n): 64x64 JPEG images of 200 classes in a folder tiny-imagenet-200,
/// train/CLASS/images/FILE and val/images/FILE with val/val_annotations.txt. Its test images have no
/// published labels, so the validation images stand for them, as everywhere.
[<RequireQualifiedAccess>]
module TinyImageNet =

    let private mean, private std = [ 0.4802; 0.4481; 0.3975 ], [ 0.2770; 0.2691; 0.2821 ]

    let private advice =
        "Give the folder that holds tiny-imagenet-200 with --data DIR; 'advcontrast data get tiny-imagenet --data DIR' fetches it."

    let private missing path = Result.Error(Error.Missing("A part of Tiny-ImageNet", path, advice))

    let private training (folder: string) (classes: string[]) =
        classes
        |> Array.mapi (fun label name ->
            let images = Path.Combine(folder, "train", name, "images")
            Directory.GetFiles images |> DataFile.byName |> Array.map (fun file -> file, int64 label))
        |> Array.concat
        |> Ok

    let private validation (folder: string) (classes: string[]) =
        let path = Path.Combine(folder, "val", "val_annotations.txt")
        let labels = Dictionary(classes |> Seq.mapi (fun label name -> KeyValuePair(name, int64 label)))

        DataFile.read "The list of Tiny-ImageNet's validation images" advice path
        |> Result.bind (fun _ ->
            File.ReadAllLines path
            |> List.ofArray
            |> List.indexed
            |> List.filter (fun (_, line) -> line <> "")
            |> List.traverseResultM (fun (at, line) ->
                match line.Split '\t' with
                | parts when parts.Length >= 2 && labels.ContainsKey parts[1] ->
                    Ok(Path.Combine(folder, "val", "images", parts[0]), labels[parts[1]])
                | _ ->
                    DataFile.damaged
                        path
                        (sprintf "line %d names no image and class of the training set." (at + 1)))
            |> Result.map Array.ofList)

    /// The training or the validation images below a folder that holds tiny-imagenet-200, or is it.
    let read (folder: string) train = result {
        let! folder = DataFile.folder "Tiny-ImageNet" advice "tiny-imagenet-200" folder
        let trainFolder = Path.Combine(folder, "train")
        if not (Directory.Exists trainFolder) then return! missing trainFolder

        return!
            DataFile.guarded trainFolder (fun () -> result {
                let classes =
                    Directory.GetDirectories trainFolder |> DataFile.byName |> Array.map Path.GetFileName
                let! labelled = (if train then training else validation) folder classes
                if labelled.Length = 0 then return! missing trainFolder
                return! ImageFolder.load "tiny-imagenet" classes.Length mean std None labelled
            })
    }
