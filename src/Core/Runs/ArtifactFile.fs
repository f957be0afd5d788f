namespace AdvContrast.Core.Runs

open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods

/// The output of a stage without training, as a file with a key: the hash of all that decides it.
[<RequireQualifiedAccess>]
module internal ArtifactFile =

    let private keyName = "key"

    let private toTree artifact : TensorTree =
        match artifact with
        | Labels labels -> TensorTree.under "labels" (TensorTree.ofTensors labels)
        | Images images -> Map [ "images", Leaf.Tensor images ]
        | Trained model -> TensorTree.ofTensors (fst model.Weights)

    let private ofTree (tree: TensorTree) =
        match Map.tryFind "images" tree with
        | Some(Leaf.Tensor images) -> Images images
        | _ -> Labels(TensorTree.toTensors (TensorTree.within "labels" tree))

    /// The tensors in an artifact.
    let tensors artifact = TensorTree.tensors (toTree artifact)

    /// Writes an artifact, whole or not at all.
    let write path (key: string) artifact = Safetensors.write path (Map [ keyName, key ]) (toTree artifact)

    /// The artifact in a file; None where it has another key.
    let read path (key: string) : Result<Artifact option, Error> =
        Safetensors.read path
        |> Result.map (fun (metadata, tree) ->
            if Map.tryFind keyName metadata = Some key then
                Some(ofTree tree)
            else
                for x in TensorTree.tensors tree do
                    x.Dispose()

                None)
