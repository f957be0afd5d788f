namespace AdvContrast.Core

open System.IO
open System.Reflection

/// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 28x28 grey images of ten kinds of clothing.
[<RequireQualifiedAccess>]
module FashionMnist =

    let private classes = 10
    let private mean = [ 0.286 ]
    let private std = [ 0.353 ]

    let private openFile (path: string) =
        let existing = [ path; path + ".gz" ] |> List.tryFind File.Exists

        match existing with
        | None ->
            let advice = "Give the folder that holds Fashion-MNIST's four idx files with --data DIR."
            Result.Error(Error.Missing("A Fashion-MNIST file", path, advice))
        | Some path ->
            try
                Ok(path, File.OpenRead path :> Stream)
            with
            | :? IOException
            | :? System.UnauthorizedAccessException as e -> Result.Error(Error.Damaged(path, e.Message))

    /// The training or the test images from a folder with the four published idx files, plain or gzipped.
    let read (folder: string) train =
        let prefix = if train then "train" else "t10k"

        openFile (Path.Combine(folder, prefix + "-images-idx3-ubyte"))
        |> Result.bind (fun (imagesPath, images) ->
            use images = images

            openFile (Path.Combine(folder, prefix + "-labels-idx1-ubyte"))
            |> Result.bind (fun (labelsPath, labels) ->
                use labels = labels
                Idx.read "fashion-mnist" classes mean std (imagesPath, images) (labelsPath, labels)))

    /// The embedded sample: 6,000 training and 1,000 test images, evenly of all classes.
    let sample train =
        let part kind =
            let name = sprintf "sample/%s-%s.idx.gz" (if train then "train" else "test") kind
            name, Assembly.GetExecutingAssembly().GetManifestResourceStream name

        let imagesPath, images = part "images"
        let labelsPath, labels = part "labels"
        use images = images
        use labels = labels
        Idx.read "sample" classes mean std (imagesPath, images) (labelsPath, labels)
