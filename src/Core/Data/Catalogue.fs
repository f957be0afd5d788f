namespace AdvContrast.Core

/// The data sets by name.
[<RequireQualifiedAccess>]
module Catalogue =

    /// One line on each: name, what it is, whether it needs a folder.
    let all = [
        "sample", "6,000 + 1,000 images of Fashion-MNIST, embedded in the program", false
        "fashion-mnist", "60,000 + 10,000 grey images of 28x28 in ten classes, idx files", true
        "cifar10", "50,000 + 10,000 colour images of 32x32 in ten classes, binary layout", true
    ]

    /// The training or the test part of a data set. folder: where its files are, for those that need one.
    let load (name: string) (folder: string option) train =
        let needsFolder read =
            match folder with
            | Some folder -> read folder train
            | None ->
                Result.Error(Error.BadOption("--data", sprintf "the data set '%s' needs its folder." name))

        match name.ToLowerInvariant() with
        | "sample" -> FashionMnist.sample train
        | "fashion-mnist" -> needsFolder FashionMnist.read
        | "cifar10" -> needsFolder Cifar10.read
        | _ -> Result.Error(Error.UnknownName("data set", name, all |> List.map (fun (name, _, _) -> name)))
