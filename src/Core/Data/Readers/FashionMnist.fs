namespace AdvContrast.Core.Data

open System.Reflection

/// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 28x28 grey images of ten kinds of clothing.
[<RequireQualifiedAccess>]
module FashionMnist =

    let private classes = 10
    let private mean = [ 0.286 ]
    let private std = [ 0.353 ]

    /// The training or the test images from a folder with the four published idx files, plain or gzipped.
    let read (folder: string) train =
        Idx.readFolder "Fashion-MNIST" "fashion-mnist" classes mean std folder train

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
