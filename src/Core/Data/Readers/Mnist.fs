namespace AdvContrast.Core.Data

/// MNIST (LeCun, Cortes and Burges 1998): 28x28 grey images of handwritten digits.
[<RequireQualifiedAccess>]
module Mnist =

    /// The training or the test images from a folder with the four published idx files, plain or gzipped.
    let read (folder: string) train = Idx.readFolder "MNIST" "mnist" 10 [ 0.1307 ] [ 0.3081 ] folder train
