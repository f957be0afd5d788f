namespace AdvContrast.Core.Data

open FsToolkit.ErrorHandling

/// Which of CIFAR-100's two labels an image has.
type CifarLabels =
    /// One of 100 classes.
    | Fine
    /// One of the 20 groups that the classes form.
    | Coarse

/// CIFAR-100 (Krizhevsky 2009) in its binary layout: train.bin and test.bin, a coarse and a fine label a
/// record, in a folder cifar-100-binary.
[<RequireQualifiedAccess>]
module Cifar100 =

    // Those of the training images, as solo-learn gives them (da Costa et al. 2022).
    let internal mean, internal std = [ 0.5071; 0.4865; 0.4409 ], [ 0.2673; 0.2564; 0.2762 ]

    /// The training or the test images below a folder that holds cifar-100-binary, or is it.
    let read (labels: CifarLabels) (folder: string) train = result {
        let advice =
            "Give the folder that holds cifar-100-binary with --data DIR; 'advcontrast data get cifar100 --data DIR' fetches it."

        let! folder =
            CifarBinary.folder "CIFAR-100" advice "cifar-100-binary" ("cifar-100-python", "meta") folder
        let name = if train then "train.bin" else "test.bin"

        let name', place, classes =
            match labels with
            | Coarse -> "cifar100-coarse", 0, 20
            | Fine -> "cifar100", 1, 100

        let! images, labels =
            CifarBinary.read "CIFAR-100" "cifar-100-binary.tar.gz" [ 20; 100 ] place folder [ name ]

        return Dataset.ofBytes name' images [| labels.LongLength; 3L; 32L; 32L |] labels classes mean std
    }
