namespace AdvContrast.Core.Networks

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Networks on an encoder: projection heads between features and loss, thrown away afterwards; predictors
/// on the projection; classifiers on the features.
[<RequireQualifiedAccess>]
module Head =

    let private merge (a: Map<string, Tensor>) (b: Map<string, Tensor>) = Map.foldBack Map.add b a

    // Layers on something that a network gives, and where their outcome goes.
    let private attach text (input: Output -> Tensor) layersFor (store: Tensor -> Output -> Output) widen =
        Named.create text (fun (network: Network) ->
            let head: Layer = Layer.sequence (layersFor network)

            widen {
                network with
                    Text = sprintf "%s; %s" network.Text text
                    Init =
                        fun draw ->
                            let parameters, buffers = network.Init draw
                            let headParameters, headBuffers = head.Init draw
                            merge parameters headParameters, merge buffers headBuffers
                    Apply =
                        fun call parameters buffers images ->
                            let output, buffers = network.Apply call parameters buffers images
                            let x, buffers = head.Run call parameters (input output, buffers)
                            store x output, buffers
                    Fold =
                        fun fixed' ->
                            let below, folded = network.Fold fixed', Layer.fold fixed' head

                            fun images ->
                                let output = below images
                                store (folded (input output)) output
            })

    // A head whose outcome is the embedding; layers are given the width f of the features.
    let private projection text width layersFor : Named<Network -> Network> =
        attach
            ("head " + text)
            _.Features
            (fun network -> layersFor network.FeatureWidth)
            (fun x output -> { output with Embedding = x })
            (fun network -> { network with EmbeddingWidth = width network.FeatureWidth })

    let private named name x output = { output with Heads = Map.add name x output.Heads }

    /// No head: the features are compared.
    let none: Named<Network -> Network> = Named.create "none" id

    /// One thing on top of another.
    let both (first: Named<Network -> Network>) (second: Named<Network -> Network>) =
        Named.create (sprintf "%s; %s" first.Text second.Text) (first.Run >> second.Run)

    /// A linear map to a number of dimensions.
    let linear (width: int64) =
        projection (sprintf "linear %d" width) (fun _ -> width) (fun f -> [
            Layer.linear "head.0" true f width
        ])

    /// Linear - ReLU - linear: hidden is given the width f of the features (Chen et al. 2020, section 4.2).
    let perceptron (hidden: int64 -> int64) (width: int64) =
        projection (sprintf "linear %d f - ReLU - linear %d" (hidden 1L) width) (fun _ -> width) (fun f -> [
            Layer.linear "head.0" true f (hidden f)
            Layer.relu
            Layer.linear "head.2" true (hidden f) width
        ])

    /// SimCLR's: linear f - ReLU - linear d, f the width of the features.
    let mlp (width: int64) = {
        perceptron id width with
            Text = sprintf "head linear f - ReLU - linear %d" width
    }

    /// ACL's three layers (Jiang et al. 2020), each with a batch norm and all as wide as the features: 512
    /// for the ResNet-18 of the paper.
    let acl branches =
        projection "three layers of width f, batch norm after each" id (fun f ->
            let layer index bias relu =
                [
                    Layer.linear (sprintf "head.fc%d" index) bias f f
                    Layer.batchNorm branches (sprintf "head.bn%d" index) f
                ]
                @ (if relu then [ Layer.relu ] else [])

            layer 1 true true @ layer 2 false true @ layer 3 false false)

    /// AdvCL's: linear f - BN - ReLU - linear d; the branches share the one batch norm (Fan et al. 2021).
    let shared (width: int64) =
        projection
            (sprintf "linear f - BN of all branches - ReLU - linear %d" width)
            (fun _ -> width)
            (fun f -> [
                Layer.linear "head.0" true f f
                Layer.sharedNorm "head.1" f
                Layer.relu
                Layer.linear "head.3" true f width
            ])

    /// Hidden layers of one width, each linear - BN - ReLU, then a linear map to another width and, where
    /// asked for, a batch norm without weights: BYOL's (one hidden), Barlow Twins', VICReg's and SimSiam's
    /// (two hidden). Linear maps before a batch norm have no bias.
    let expander branches hiddenLayers (hidden: int64) (width: int64) normalised =
        let text =
            sprintf
                "%s- linear %d%s"
                (String.replicate hiddenLayers (sprintf "linear %d - BN - ReLU " hidden))
                width
                (if normalised then " - BN without weights" else "")

        projection text (fun _ -> width) (fun f -> [
            for layer in 0 .. hiddenLayers - 1 do
                Layer.linear (sprintf "head.%d" (3 * layer)) false (if layer = 0 then f else hidden) hidden
                Layer.batchNorm branches (sprintf "head.%d" (3 * layer + 1)) hidden
                Layer.relu

            Layer.linear (sprintf "head.%d" (3 * hiddenLayers)) (not normalised) hidden width
            if normalised then Layer.plainNorm branches (sprintf "head.%d" (3 * hiddenLayers + 1)) width
        ])

    /// A predictor on the embedding: linear - BN - ReLU - linear back to the embedding's width; the output
    /// "predictor" (Grill et al. 2020; Chen and He 2021).
    let predictor branches (hidden: int64) : Named<Network -> Network> =
        attach
            (sprintf "predictor linear %d - BN - ReLU - linear" hidden)
            _.Embedding
            (fun network -> [
                Layer.linear "predictor.0" false network.EmbeddingWidth hidden
                Layer.batchNorm branches "predictor.1" hidden
                Layer.relu
                Layer.linear "predictor.3" true hidden network.EmbeddingWidth
            ])
            (named "predictor")
            id

    /// A linear - BN - ReLU layer between encoder and head whose outcome is what evaluation takes as features
    /// (EMP-SSL's pre-feature; Tong et al. 2023).
    let prefeature branches (width: int64) : Named<Network -> Network> =
        attach
            (sprintf "features linear %d - BN - ReLU" width)
            _.Features
            (fun network -> [
                Layer.linear "pre.0" false network.FeatureWidth width
                Layer.batchNorm branches "pre.1" width
                Layer.relu
            ])
            (fun x output -> { output with Features = x; Embedding = x })
            (fun network -> { network with FeatureWidth = width; EmbeddingWidth = width })

    /// A linear classifier on the features under a name of its own; None: as many classes as the images have.
    let classifier name (classes: int option) : Named<Network -> Network> =
        let count = classes |> Option.map string |> Option.defaultValue "k"

        attach
            (sprintf "%s linear %s" name count)
            _.Features
            (fun network -> [
                Layer.linearFromZero
                    name
                    true
                    network.FeatureWidth
                    (int64 (Option.defaultValue network.Classes classes))
            ])
            (named name)
            id
