namespace AdvContrast.Core

/// What a stage without training gives, as a file with a key: the hash of all that decides it.
[<RequireQualifiedAccess>]
module internal ArtifactFile =

    let private keyName = "key"

    let private toTree artifact : Tree =
        match artifact with
        | Labels labels -> Tree.under "labels" (Tree.ofTensors labels)
        | Images images -> Map [ "images", Value images ]
        | Trained model -> Tree.ofTensors (fst model.Weights)

    let private ofTree (tree: Tree) =
        match Map.tryFind "images" tree with
        | Some(Value images) -> Images images
        | _ -> Labels(Tree.toTensors (Tree.within "labels" tree))

    /// The tensors in an artifact.
    let tensors artifact = Tree.tensors (toTree artifact)

    /// Writes an artifact, whole or not at all.
    let write path (key: string) artifact = Safetensors.write path (Map [ keyName, key ]) (toTree artifact)

    /// The artifact in a file; None where it has another key.
    let read path (key: string) : Result<Artifact option, Error> =
        Safetensors.read path
        |> Result.map (fun (metadata, tree) ->
            if Map.tryFind keyName metadata = Some key then
                Some(ofTree tree)
            else
                for x in Tree.tensors tree do
                    x.Dispose()

                None)
