namespace AdvContrast.Core.Networks

open AdvContrast.Core.Data

/// The stem of a ResNet.
type Stem =
    /// 3x3, stride 1, no pooling: for images of about 32 pixels.
    | CifarStem
    /// The same with a padding of 2, so that its maps are 2 pixels larger than the images: that of solo-learn.
    | WidePaddingStem
    /// 7x7, stride 2, then max-pooling: for images of about 224 pixels.
    | ImageNetStem

/// Residual networks (He et al. 2016) with PyTorch's parameter names and torchvision's start: convolutions
/// normal with variance 2 over fan-out (He et al. 2015), batch norms at 1 and 0. Every batch norm, those of
/// the shortcuts included, has all branches.
[<RequireQualifiedAccess>]
module ResNet =

    // How a block is made, and its channels for each of the stage's width.
    type private Block = { Make: Branch list -> string -> int64 -> int64 -> int64 -> Layer; Expansion: int64 }

    // A projection by 1x1 where the shape changes.
    let private shortcut branches name (from: int64) (into: int64) stride =
        if stride = 1L && from = into then
            Layer.identity
        else
            Layer.sequence [
                Layer.conv (name + ".downsample.0") from into 1L stride 0L
                Layer.batchNorm branches (name + ".downsample.1") into
            ]

    // A square convolution that keeps the size but for its stride, then batch norm.
    let private part branches name index (from: int64) (into: int64) size stride = [
        Layer.conv (sprintf "%s.conv%d" name index) from into size stride (size / 2L)
        Layer.batchNorm branches (sprintf "%s.bn%d" name index) into
    ]

    let private joined branches name from into stride parts =
        Layer.residual
            (parts |> List.reduce (fun one next -> one @ [ Layer.relu ] @ next) |> Layer.sequence)
            (shortcut branches name from into stride)

    // Two 3x3 convolutions.
    let private basic = {
        Make =
            fun branches name from width stride ->
                joined branches name from width stride [
                    part branches name 1 from width 3L stride
                    part branches name 2 width width 3L 1L
                ]
        Expansion = 1L
    }

    // 1x1 down, 3x3 with the stride (torchvision's v1.5; the paper has it at the first 1x1), 1x1 up.
    let private bottleneck = {
        Make =
            fun branches name from width stride ->
                joined branches name from (4L * width) stride [
                    part branches name 1 from width 1L 1L
                    part branches name 2 width width 3L stride
                    part branches name 3 width (4L * width) 1L 1L
                ]
        Expansion = 4L
    }

    let private stage block branches index blocks from width stride =
        List.init blocks (fun at ->
            let name = sprintf "layer%d.%d" index at

            if at = 0 then
                block.Make branches name from width stride
            else
                block.Make branches name (block.Expansion * width) width 1L)

    let private stem kind branches (channels: int64) (width: int64) =
        let entry size stride padding = [
            Layer.conv "conv1" channels width size stride padding
            Layer.batchNorm branches "bn1" width
            Layer.relu
        ]

        match kind with
        | CifarStem -> entry 3L 1L 1L
        | WidePaddingStem -> entry 3L 1L 2L
        | ImageNetStem -> entry 7L 2L 3L @ [ Layer.maxPool 3L 2L 1L ]

    let private create name block (counts: int list) kind (width: int64) (input: ImageInfo) branches =
        let w, e = width, block.Expansion

        let stages =
            counts
            |> List.mapi (fun i blocks ->
                let out = w * (1L <<< i)
                let from = if i = 0 then w else e * out / 2L
                stage block branches (i + 1) blocks from out (if i = 0 then 1L else 2L))

        let early, late = List.splitAt 2 stages
        let title, widest =
            match kind with
            | CifarStem -> "CIFAR stem", e * w
            | WidePaddingStem -> "CIFAR stem with padding 2", e * w
            | ImageNetStem -> "ImageNet stem", max 1L (w / 4L)

        Layer.normalise input.Mean input.Std
        :: Layer.inSlices widest (stem kind branches input.Channels w @ List.concat early)
        :: List.concat late
        @ [ Layer.globalPool ]
        |> Backbone.ofLayers (sprintf "%s, %s, width %d" name title w) input (8L * e * w)

    /// ResNet-18: two basic blocks in each of four stages of w, 2w, 4w, 8w channels (w = 64 as published);
    /// features: 8w.
    let resNet18 kind width input branches = create "ResNet-18" basic [ 2; 2; 2; 2 ] kind width input branches

    /// ResNet-34: 3, 4, 6 and 3 basic blocks; features: 8w.
    let resNet34 kind width input branches = create "ResNet-34" basic [ 3; 4; 6; 3 ] kind width input branches

    /// ResNet-50: 3, 4, 6 and 3 bottlenecks with the stride at the 3x3 convolution, as torchvision has it
    /// (v1.5); stages of 4w, 8w, 16w, 32w channels; features: 32w.
    let resNet50 kind width input branches =
        create "ResNet-50" bottleneck [ 3; 4; 6; 3 ] kind width input branches
