namespace AdvContrast.Core

open AdvContrast.Torch.Engine
open TorchSharp

/// 3x3 convolutions of small maps by fewer products: two by two pixels of the outcome take 16 products for each
/// pair of channels instead of 36 (Lavin and Gray 2016, F(2x2, 3x3), after Winograd 1980). The same sums in
/// another order, all of them products of matrices, so gradients too.
[<RequireQualifiedAccess>]
module Winograd =

    // Lavin and Gray, section 4.1: the transforms of four pixels, of three weights, and to two pixels again.
    let private ofPixels = [
        [ 1.0; 0.0; -1.0; 0.0 ]
        [ 0.0; 1.0; 1.0; 0.0 ]
        [ 0.0; -1.0; 1.0; 0.0 ]
        [ 0.0; 1.0; 0.0; -1.0 ]
    ]
    let private ofWeights = [ [ 1.0; 0.0; 0.0 ]; [ 0.5; 0.5; 0.5 ]; [ 0.5; -0.5; 0.5 ]; [ 0.0; 0.0; 1.0 ] ]
    let private toPixels = [ [ 1.0; 1.0; 1.0; 0.0 ]; [ 0.0; 1.0; -1.0; -1.0 ] ]

    // Zero outside.
    let private entry (matrix: float list list) row column =
        matrix |> List.tryItem row |> Option.bind (List.tryItem column) |> Option.defaultValue 0.0

    // Tiles of two pixels cover an axis of that length, with zeros around it: what each of their four numbers
    // takes of each pixel [4; tiles; length].
    let private split length =
        Axes.map 4 ((length + 1) / 2) length (fun number tile pixel ->
            entry ofPixels number (pixel + 1 - 2 * tile))

    // And gives to each.
    let private join length =
        Axes.map 4 ((length + 1) / 2) length (fun number tile pixel ->
            entry toPixels (pixel - 2 * tile) number)

    /// What conv2d takes of a weight [k; c; 3; 3]: [16; c; k].
    let weight (weight: Tensor) =
        let k, c = weight.shape[0], weight.shape[1]

        Scope.tensor (fun () ->
            let axis = Axes.map 4 1 3 (fun number _ at -> entry ofWeights number at)
            let both = Axes.both weight axis axis
            both.mm(weight.permute(2L, 3L, 1L, 0L).reshape(9L, c * k)).view(16L, c, k))

    /// The convolution with zeros around, stride 1: images x [n; c; h; w], a weight made ready [16; c; k], a bias
    /// [k] or null -> [n; k; h; w], its channels last.
    let conv2d (x: Tensor) (weight: Tensor) (bias: Tensor) =
        let n, c, h, w, k = x.shape[0], x.shape[1], int x.shape[2], int x.shape[3], weight.shape[2]

        Scope.tensor (fun () ->
            let split, join = Axes.both x (split h) (split w), Axes.both x (join h) (join w)
            let pixels = x.permute(2L, 3L, 0L, 1L).reshape(int64 (h * w), n * c)
            let products = split.mm(pixels).view(16L, -1L, c).bmm weight
            let y = join.t().mm(products.view (-1L, n * k)).view(int64 h, int64 w, n, k)
            // Of its own, no view: what follows may then work in place.
            let y = TorchEngine.Current.ToMemoryFormat(y.permute (2L, 3L, 0L, 1L), MemoryFormat.ChannelsLast)
            if isNull bias then y else y + bias.view (-1L, 1L, 1L))
