namespace AdvContrast.Core.Data

open FsToolkit.ErrorHandling

/// CIFAR-10 (Krizhevsky 2009) in its binary layout: 10,000 records a file, in a folder cifar-10-batches-bin.
[<RequireQualifiedAccess>]
module Cifar10 =

    // The ImageNet statistics, which the ACL family uses on CIFAR too.
    let internal mean, internal std = [ 0.485; 0.456; 0.406 ], [ 0.229; 0.224; 0.225 ]

    /// The training or the test images below a folder that holds cifar-10-batches-bin, or is it.
    let read (folder: string) train = result {
        let advice =
            "Give the folder that holds cifar-10-batches-bin with --data DIR; 'advcontrast data get cifar10 --data DIR' fetches it."

        let! folder =
            CifarBinary.folder
                "CIFAR-10"
                advice
                "cifar-10-batches-bin"
                ("cifar-10-batches-py", "data_batch_1")
                folder
        let names = if train then [ for i in 1..5 -> sprintf "data_batch_%d.bin" i ] else [ "test_batch.bin" ]
        let! images, labels = CifarBinary.read "CIFAR-10" "cifar-10-binary.tar.gz" [ 10 ] 0 folder names
        return Dataset.ofBytes "cifar10" images [| labels.LongLength; 3L; 32L; 32L |] labels 10 mean std
    }
