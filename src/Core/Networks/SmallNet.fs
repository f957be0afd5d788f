namespace AdvContrast.Core.Networks

open AdvContrast.Core.Data

/// A small encoder for first looks on a CPU: five 3x3 convolutions, each with batch norm and ReLU, of width
/// w, 2w, 2w, 4w, 4w, halving the image twice, then the global mean.
[<RequireQualifiedAccess>]
module SmallNet =

    /// width: w, 16 by default elsewhere; features: 4w.
    let create (width: int64) (input: ImageInfo) branches =
        let block index (from: int64) (into: int64) stride = [
            Layer.conv (sprintf "conv%d" index) from into 3L stride 1L
            Layer.batchNorm branches (sprintf "bn%d" index) into
            Layer.relu
        ]

        let w = width

        Layer.normalise input.Mean input.Std :: block 1 input.Channels w 1L
        @ block 2 w (2L * w) 2L
        @ block 3 (2L * w) (2L * w) 1L
        @ block 4 (2L * w) (4L * w) 2L
        @ block 5 (4L * w) (4L * w) 1L
        @ [ Layer.globalPool ]
        |> Backbone.ofLayers (sprintf "five 3x3 convolutions of %d to %d channels" w (4L * w)) input (4L * w)
