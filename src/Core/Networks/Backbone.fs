namespace AdvContrast.Core.Networks

open AdvContrast.Core.Foundation
open AdvContrast.Core.Data

/// A convolutional encoder from layers.
[<RequireQualifiedAccess>]
module Backbone =

    /// A network whose embedding is its features.
    let ofLayers text (input: ImageInfo) (features: int64) (layers: Layer list) : Network =
        let body = Layer.sequence layers
        let output features = { Features = features; Embedding = features; Heads = Map.empty }

        {
            Text = text
            FeatureWidth = features
            EmbeddingWidth = features
            Classes = input.Classes
            Init = body.Init
            Apply =
                fun call parameters buffers images ->
                    Shape.rank "n;c;h;w" (nameof images) images
                    let features, buffers = body.Run call parameters (images, buffers)
                    output features, buffers
            Fold =
                fun fixed' ->
                    let folded = Layer.fold fixed' body

                    fun images ->
                        Shape.rank "n;c;h;w" (nameof images) images
                        output (folded images)
        }
