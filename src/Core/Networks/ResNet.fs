namespace AdvContrast.Core

/// What stands in front of a ResNet's stages.
type Stem =
    /// 3x3, stride 1, no pooling: for images of about 32 pixels.
    | CifarStem
    /// 7x7, stride 2, then max-pooling: for images of about 224 pixels.
    | ImageNetStem

/// Residual networks (He et al. 2016) with PyTorch's parameter names.
[<RequireQualifiedAccess>]
module ResNet =

    // Two 3x3 convolutions around an identity, or around a 1x1 projection where the shape changes.
    let private basicBlock branches name (from: int64) (into: int64) stride =
        let part suffix = name + "." + suffix

        let main =
            Layer.sequence [
                Layer.conv (part "conv1") from into 3L stride 1L
                Layer.batchNorm branches (part "bn1") into
                Layer.relu
                Layer.conv (part "conv2") into into 3L 1L 1L
                Layer.batchNorm branches (part "bn2") into
            ]

        let shortcut =
            if stride = 1L && from = into then
                Layer.identity
            else
                Layer.sequence [
                    Layer.conv (part "downsample.0") from into 1L stride 0L
                    Layer.batchNorm branches (part "downsample.1") into
                ]

        Layer.residual main shortcut

    let private stage branches index blocks from into stride =
        List.init blocks (fun block ->
            let name = sprintf "layer%d.%d" index block

            if block = 0 then
                basicBlock branches name from into stride
            else
                basicBlock branches name into into 1L)

    let private stem kind branches (channels: int64) (width: int64) =
        let entry size stride padding = [
            Layer.conv "conv1" channels width size stride padding
            Layer.batchNorm branches "bn1" width
            Layer.relu
        ]

        match kind with
        | CifarStem -> entry 3L 1L 1L
        | ImageNetStem -> entry 7L 2L 3L @ [ Layer.maxPool 3L 2L 1L ]

    /// ResNet-18: two basic blocks in each of four stages of w, 2w, 4w, 8w channels (w = 64 as published);
    /// features: 8w. Every batch norm, those of the shortcuts included, has all branches.
    let resNet18 kind (width: int64) input branches =
        let w = width

        Layer.normalise input.Mean input.Std :: stem kind branches input.Channels w
        @ stage branches 1 2 w w 1L
        @ stage branches 2 2 w (2L * w) 2L
        @ stage branches 3 2 (2L * w) (4L * w) 2L
        @ stage branches 4 2 (4L * w) (8L * w) 2L
        @ [ Layer.globalPool ]
        |> Backbone.ofLayers
            (sprintf "ResNet-18, %s stem, width %d" (if kind = CifarStem then "CIFAR" else "ImageNet") w)
            input
            (8L * w)
