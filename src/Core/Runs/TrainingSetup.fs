namespace AdvContrast.Core.Runs

open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// From a configuration to a training that can begin: its data, and outputs of earlier stages.
[<RequireQualifiedAccess>]
module TrainingSetup =

    /// The training images that a configuration names. Dispose them when done.
    let dataset (c: PretrainConfig) = result {
        let! all = DatasetRegistry.load c.Dataset c.Data true

        match c.Images with
        | None -> return all
        | Some n when int64 n <= all.Count ->
            use all = all
            return Dataset.sample c.Seed n all
        | Some n ->
            use all = all

            let problem =
                sprintf
                    "%d were asked for, and '%s' has %d training images; give at most as many, or leave it out for all."
                    n
                    all.Name
                    all.Count

            return! Error(Error.BadOption("--images", problem))
    }

    // A network that a method starts from, or compares with its own, must be like its own.
    let private fits (m: Method) (network: Network) (name: string) (model: Model) =
        let frozen = m.Step.Passes |> List.exists (fun pass -> pass.Who = Frozen name)
        let headed = m.Head.Text <> Head.none.Text
        let features = network.FeatureWidth = model.Network.FeatureWidth
        let embeddings = network.EmbeddingWidth = model.Network.EmbeddingWidth

        if (m.From = Some name || frozen) && not (features && (embeddings || not (frozen && headed))) then
            let widths (n: Network) = sprintf "%d features, embeddings of %d" n.FeatureWidth n.EmbeddingWidth

            let advice =
                sprintf
                    "the run for '%s' gives %s; '%s' needs %s. Train it with the same --network and --width, by '%s/%s'."
                    name
                    (widths model.Network)
                    m.Name
                    (widths network)
                    m.Name
                    name

            Error(Error.BadOption("--given", advice))
        else
            Ok()

    /// The training of a method on a set, as a configuration describes it.
    let training
        (c: PretrainConfig)
        (m: Method)
        precision
        device
        (dataset: Dataset)
        (made: Map<string, Artifact>)
        = result {
        if dataset.Count < 2L then
            let problem =
                sprintf
                    "training compares images with one another, and '%s' has %d."
                    dataset.Name
                    dataset.Count

            return! Error(Error.BadOption("--data", problem))

        let! network = PretrainConfig.networkOf c m (Dataset.input dataset)

        for KeyValue(name, artifact) in made do
            match artifact with
            | Trained model -> do! fits m network name model
            | _ -> ()

        let pick choose =
            made
            |> Map.toSeq
            |> Seq.choose (fun (name, artifact) -> choose name artifact)
            |> Seq.concat
            |> Map.ofSeq

        return {
            Machine = {
                Network = network
                Device = device
                Precision = precision
                Seed = c.Seed
                Frozen =
                    pick (fun name artifact ->
                        match artifact with
                        | Trained model -> Some [ name, model ]
                        | _ -> None)
            }
            Method = m
            Dataset = dataset
            Labels =
                pick (fun _ artifact ->
                    match artifact with
                    | Labels labels -> Some(Map.toList labels)
                    | _ -> None)
            Images =
                pick (fun name artifact ->
                    match artifact with
                    | Images images -> Some [ name, images ]
                    | _ -> None)
            Batch = Option.defaultValue m.Recipe.Batch c.Batch
            Epochs = Option.defaultValue m.Recipe.Epochs c.Epochs
        }
    }
