namespace AdvContrast.Core.Runs

open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods

/// SHA-256 hashes of all that decides a run's weights besides its configuration. A run is resumed only where they
/// are the same.
type Provenance = {
    /// Version of the training code.
    Version: int
    /// Of the training images, their labels and their order.
    Data: string
    /// Of the method's composition.
    Method: string
    /// Of what each earlier stage gave: weights, labels or images.
    Stages: Map<string, string>
}

[<RequireQualifiedAccess>]
module Provenance =

    /// Raised whenever the same configuration gives other weights than before.
    let version = 1

    let private ofText (text: string) = TensorTree.hash (Map [ text, Leaf.Int 0L ])

    /// SHA-256 of a data set's images, labels and their order, and of what images are normalised by.
    let ofDataset (dataset: Dataset) =
        Map [
            "images", Leaf.Tensor dataset.Images
            "labels", Leaf.Tensor dataset.Labels
            "classes", Leaf.Int(int64 dataset.Classes)
            for i, (mean, std) in List.indexed (List.zip dataset.Mean dataset.Std) do
                sprintf "mean/%d" i, Leaf.Float mean
                sprintf "std/%d" i, Leaf.Float std
        ]
        |> TensorTree.hash

    /// SHA-256 of a network's parameters and running statistics, with its structure and its branch.
    let ofModel (model: Model) =
        [
            TensorTree.under "parameters" (TensorTree.ofTensors (fst model.Weights))
            TensorTree.under "buffers" (TensorTree.ofTensors (snd model.Weights))
            Map [ model.Network.Text, Leaf.Int 0L; "branch " + Branch.name model.Branch, Leaf.Int 0L ]
        ]
        |> List.fold TensorTree.join Map.empty
        |> TensorTree.hash

    /// SHA-256 of what a stage gave.
    let ofArtifact artifact =
        match artifact with
        | Trained model -> ofModel model
        | Labels labels -> TensorTree.hash (TensorTree.ofTensors labels)
        | Images images -> TensorTree.hash (Map [ "images", Leaf.Tensor images ])

    // An update rule that the configuration names is part of that, and its text changes with the epochs.
    let private composition (c: PretrainConfig) (m: Method) =
        MethodCard.lines m
        |> List.filter (fun (name, _) -> name <> "optimiser" || c.Optimizer.IsNone)
        |> List.map (fun (name, text) -> name + ": " + text)
        |> String.concat "\n"

    /// That of a method's run; data: the hash of its data set; made: what earlier stages gave.
    let create data (c: PretrainConfig) (m: Method) (made: Map<string, Artifact>) = {
        Version = version
        Data = data
        Method = ofText (composition c m)
        Stages = made |> Map.map (fun _ -> ofArtifact)
    }

    /// SHA-256 of all of it, for what a stage without training gives by this description and seed.
    let ofStage (text: string) (seed: uint64) (p: Provenance) =
        ofText (sprintf "%s\n%d\n%s" text seed (JsonText.write p))

    /// Refuses to resume the run in a folder where something that decides its weights is not what it was.
    let requireSame (folder: string) (before: Provenance) (now: Provenance) : Result<unit, Error> =
        let refuse name what = Error(Error.BadOption(name, sprintf "'%s' cannot be resumed: %s" folder what))

        let changed =
            now.Stages |> Map.tryFindKey (fun name hash -> Map.tryFind name before.Stages <> Some hash)

        if before.Version <> now.Version then
            refuse "--resume" "another version of this program made it, which trains differently."
        elif before.Data <> now.Data then
            refuse "--data" "these are not the images, labels and order of images that it was trained on."
        elif before.Method <> now.Method then
            refuse "--method" "its method was composed of other parts."
        else
            match changed with
            | Some name ->
                refuse "--given" (sprintf "'%s' is not what its method was trained with before." name)
            | None -> Ok()
