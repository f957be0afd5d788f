namespace AdvContrast.Core.Networks

open AdvContrast.Core.Data

/// Wide residual networks (Zagoruyko and Komodakis 2016) as robust training has them: the blocks of He et al.
/// 2016b, batch norm and ReLU before each convolution; no dropout. Parameters bear the names of TRADES' code,
/// which RobustBench's models share (<c>"block1.layer.0.bn1.weight"</c>), and start as there: convolutions
/// normal with variance 2 over fan-out, batch norms at 1 and 0. Every batch norm has all branches.
[<RequireQualifiedAccess>]
module WideResNet =

    let private stem = 16L

    // Where the shape changes, the shortcut too starts from what the first batch norm and ReLU gave.
    let private block branches name (from: int64) (into: int64) stride =
        let part suffix = name + "." + suffix

        let before = [ Layer.batchNorm branches (part "bn1") from; Layer.relu ]

        let main = [
            Layer.conv (part "conv1") from into 3L stride 1L
            Layer.batchNorm branches (part "bn2") into
            Layer.relu
            Layer.conv (part "conv2") into into 3L 1L 1L
        ]

        if from = into then
            Layer.sum (Layer.sequence (before @ main)) Layer.identity
        else
            let shortcut = Layer.conv (part "convShortcut") from into 1L stride 0L
            Layer.sequence (before @ [ Layer.sum (Layer.sequence main) shortcut ])

    let private group branches index blocks from into stride =
        List.init blocks (fun at ->
            let name = sprintf "block%d.layer.%d" index at
            if at = 0 then block branches name from into stride else block branches name into into 1L)

    /// depth: 10, 16, 22, 28, 34, ... layers, (depth - 4) / 6 blocks in each of three groups. width: channels
    /// of the first group, w; the others have 2w and 4w. The stem has 16 whatever the width, so a widening
    /// factor k is a width of 16k: 160 for WRN-28-10. Features: 4w.
    let create depth (width: int64) (input: ImageInfo) branches =
        if depth < 10 || (depth - 4) % 6 <> 0 then
            invalidArg (nameof depth) (sprintf "expected 6n + 4 layers, 10 or more, got %d." depth)

        let w, blocks = width, (depth - 4) / 6

        Layer.normalise input.Mean input.Std
        :: Layer.inSlices
            w
            (Layer.conv "conv1" input.Channels stem 3L 1L 1L :: group branches 1 blocks stem w 1L
             @ group branches 2 blocks w (2L * w) 2L)
        :: group branches 3 blocks (2L * w) (4L * w) 2L
        @ [ Layer.batchNorm branches "bn1" (4L * w); Layer.relu; Layer.globalPool ]
        |> Backbone.ofLayers (sprintf "WRN-%d, groups of %d to %d channels" depth w (4L * w)) input (4L * w)
