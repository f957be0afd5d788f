namespace AdvContrast.Core.Methods

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// Pseudo-labels: which cluster of an encoder's features an image belongs to (Yan et al., ClusterFit, CVPR
/// 2020).
[<RequireQualifiedAccess>]
module PseudoLabels =

    /// The label of k clusters.
    let label (k: int) = sprintf "pseudo-%d" k

    // Features of all images as they are, with the share done told: [n; f], float32.
    let private features (workshop: StageContext) (model: Model) =
        use _ = torch.no_grad ()
        let encode = Network.ofModel model

        Scope.tensor (fun () ->
            [| 0L .. int64 workshop.Count - 1L |]
            |> Array.chunkBySize 500
            |> Array.map (fun rows ->
                workshop.Report(float rows[0] / float workshop.Count)
                Scope.tensor (fun () -> encode (workshop.Images rows)))
            |> fun parts -> torch.cat (parts, 0L))

    /// A stage that clusters the features of an earlier stage's network, once for each number of clusters: the
    /// labels <c>pseudo-K</c>. branch: of that network; None: the one that it is used by. More clusters than
    /// images become as many as there are images.
    let stage from (branch: Branch option) (counts: int list) : Named<StageContext -> Artifact> =
        let text =
            sprintf "k-means of %s's features, K = %s" from (counts |> List.map string |> String.concat ", ")

        Named.create text (fun workshop ->
            match Map.tryFind from workshop.Made with
            | Some(Trained model) ->
                use scope = torch.NewDisposeScope()
                let model = { model with Branch = Option.defaultValue model.Branch branch }
                let features = features workshop model
                let ids = [| 0L .. int64 workshop.Count - 1L |]

                counts
                |> List.map (fun k ->
                    let clusters = min k workshop.Count
                    let draw = Rng.create workshop.Seed (label k) ids
                    let fitted = KMeans.fit (KMeans.create clusters) draw features
                    label k, scope.MoveToOuter<Tensor> fitted.Assignments)
                |> Map.ofList
                |> Labels
            | _ -> invalidArg (nameof from) (sprintf "stage '%s' brings no network." from))
