namespace AdvContrast.Core

/// Projection heads: what stands between features and loss, and is thrown away afterwards.
[<RequireQualifiedAccess>]
module Head =

    // Puts layers on top of a network's features.
    let private attach text (layersFor: int64 -> int64 * Layer list) : Named<Network -> Network> =
        Named.create text (fun backbone ->
            let width, layers = layersFor backbone.FeatureWidth
            let head = Layer.sequence layers

            {
                backbone with
                    Text = sprintf "%s; head %s" backbone.Text text
                    EmbeddingWidth = width
                    Init =
                        fun draw ->
                            let parameters, buffers = backbone.Init draw
                            let headParameters, headBuffers = head.Init draw
                            Map.foldBack Map.add headParameters parameters,
                            Map.foldBack Map.add headBuffers buffers
                    Apply =
                        fun call parameters buffers images ->
                            let output, buffers = backbone.Apply call parameters buffers images
                            let embedding, buffers = head.Run call parameters (output.Features, buffers)
                            { output with Embedding = embedding }, buffers
            })

    /// SimCLR's: linear f - ReLU - linear d (Chen et al. 2020, section 4.2), f the width of the features.
    let mlp (width: int64) =
        attach (sprintf "linear f - ReLU - linear %d" width) (fun f ->
            width, [ Layer.linear "head.0" true f f; Layer.relu; Layer.linear "head.2" true f width ])

    /// ACL's three layers (Jiang et al. 2020), each with a batch norm and all as wide as the features: 512
    /// for the ResNet-18 of the paper.
    let acl branches =
        attach "three layers of width f, batch norm after each" (fun f ->
            let layer index bias relu =
                [
                    Layer.linear (sprintf "head.fc%d" index) bias f f
                    Layer.batchNorm branches (sprintf "head.bn%d" index) f
                ]
                @ (if relu then [ Layer.relu ] else [])

            f, layer 1 true true @ layer 2 false true @ layer 3 false false)
