namespace AdvContrast.Core.Networks

open AdvContrast.Core.Data

/// Residual networks with batch norm and ReLU before each convolution (He et al. 2016b) and the CIFAR stem, under
/// the names of RobustBench's models: <c>"layer2.0.shortcut.0.weight"</c>, and <c>"bn.weight"</c> for the last
/// batch norm. Convolutions start normal with variance 2 over fan-out, batch norms at 1 and 0. Every batch norm has
/// all branches.
[<RequireQualifiedAccess>]
module PreActResNet =

    // Where the shape changes, the shortcut starts from what the first batch norm and ReLU gave.
    let private block branches name (from: int64) (into: int64) stride =
        let part suffix = name + "." + suffix
        let before = [ Layer.batchNorm branches (part "bn1") from; Layer.relu ]

        let main = [
            Layer.conv (part "conv1") from into 3L stride 1L
            Layer.batchNorm branches (part "bn2") into
            Layer.relu
            Layer.conv (part "conv2") into into 3L 1L 1L
        ]

        if stride = 1L && from = into then
            Layer.sum (Layer.sequence (before @ main)) Layer.identity
        else
            let shortcut = Layer.conv (part "shortcut.0") from into 1L stride 0L
            Layer.sequence (before @ [ Layer.sum (Layer.sequence main) shortcut ])

    let private stage branches index from into stride = [
        block branches (sprintf "layer%d.0" index) from into stride
        block branches (sprintf "layer%d.1" index) into into 1L
    ]

    /// PreActResNet-18: two blocks in each of four stages of w, 2w, 4w, 8w channels (w = 64 as published), then
    /// batch norm and ReLU; features: 8w.
    let preActResNet18 (width: int64) (input: ImageInfo) branches =
        let w = width

        Layer.normalise input.Mean input.Std
        :: Layer.inSlices
            w
            (Layer.conv "conv1" input.Channels w 3L 1L 1L :: stage branches 1 w w 1L
             @ stage branches 2 w (2L * w) 2L)
        :: stage branches 3 (2L * w) (4L * w) 2L
        @ stage branches 4 (4L * w) (8L * w) 2L
        @ [ Layer.batchNorm branches "bn" (8L * w); Layer.relu; Layer.globalPool ]
        |> Backbone.ofLayers (sprintf "PreActResNet-18, width %d" w) input (8L * w)
