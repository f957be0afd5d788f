namespace AdvContrast.Core.Runs

open System
open System.IO
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// The network, branch and head of a run that evaluation uses.
type Deployment = {
    /// The average that is deployed; None: the network in training.
    Average: string option
    Branch: string
    /// All branches of the network's batch norms.
    Branches: string list
    /// The method is registered: its head can be built from its name. Of another only the encoder is.
    Registered: bool
}

[<RequireQualifiedAccess>]
module Deployment =

    /// A method's.
    let ofMethod registered (method: Method) = {
        Average =
            match fst method.Deploy with
            | Average name -> Some name
            | _ -> None
        Branch = Branch.name (snd method.Deploy)
        Branches = method.Branches |> List.map Branch.name
        Registered = registered
    }

/// A run's state on disk with what rebuilds its network: one safetensors file, written whole or not at all,
/// and the one before it, which is used where the newest is damaged.
[<NoEquality; NoComparison>]
type Checkpoint = {
    Configuration: PretrainConfig
    Input: ImageInfo
    Deployment: Deployment
    /// What decided the state; None where the file does not say it, and then it is not trained further.
    Provenance: Provenance option
    /// Owned by who loaded it.
    State: State
}

[<RequireQualifiedAccess>]
module Checkpoint =

    let private newest = "checkpoint.safetensors"
    let private best = "checkpoint.best.safetensors"

    // The one before the newest is 1, the one before that 2.
    let private earlier age =
        if age = 1 then
            "checkpoint.previous.safetensors"
        else
            sprintf "checkpoint.previous-%d.safetensors" age

    /// Whether a folder holds a run's checkpoint.
    let existsIn (folder: string) = File.Exists(Path.Combine(folder, newest))

    /// Removes a run's checkpoints from a folder, so that another run can take its place.
    let remove (folder: string) =
        try
            if Directory.Exists folder then
                for path in Directory.GetFiles(folder, "checkpoint*.safetensors") do
                    File.Delete path

            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(folder, e.Message))

    /// Makes a folder that checkpoints can be written to; Error where it cannot be.
    let prepare (folder: string) =
        try
            Directory.CreateDirectory folder |> ignore
            let trial = Path.Combine(folder, ".trial")
            File.WriteAllText(trial, "")
            File.Delete trial
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException
        | :? NotSupportedException
        | :? ArgumentException as e -> Error(Error.NotWritable(folder, e.Message))

    let private write (path: string) further (checkpoint: Checkpoint) =
        let metadata =
            Map [
                "configuration", PretrainConfig.toJson checkpoint.Configuration
                "input", JsonText.write checkpoint.Input
                "deployment", JsonText.write checkpoint.Deployment
                match checkpoint.Provenance with
                | Some provenance -> "provenance", JsonText.write provenance
                | None -> ()
                yield! further
            ]

        Safetensors.write path metadata (State.toTree checkpoint.State)

    /// Writes a checkpoint into a run's folder, which keeps the newest `keep`.
    let save (folder: string) keep (checkpoint: Checkpoint) =
        let at name = Path.Combine(folder, name)

        try
            for age in keep - 1 .. -1 .. 2 do
                if File.Exists(at (earlier (age - 1))) then
                    File.Move(at (earlier (age - 1)), at (earlier age), true)

            // A copy, so that there is no moment without a newest one.
            if keep > 1 && File.Exists(at newest) then
                File.Copy(at newest, at (earlier 1) + ".part", true)
                File.Move(at (earlier 1) + ".part", at (earlier 1), true)

            write (at newest) [] checkpoint
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(at newest, e.Message))

    /// Writes the checkpoint that is the best of a run so far, in place of the one before; loss: the mean loss
    /// of its epoch.
    let saveBest (folder: string) (loss: float) checkpoint =
        write (Path.Combine(folder, best)) [ "loss", JsonText.write loss ] checkpoint

    /// The mean loss of the best one's epoch; None where there is no best one that can be read.
    let bestLoss (folder: string) =
        match Safetensors.read (Path.Combine(folder, best)) with
        | Error _ -> None
        | Ok(metadata, tree) ->
            for x in TensorTree.tensors tree do
                x.Dispose()

            Map.tryFind "loss" metadata |> Option.bind JsonText.tryRead<float>

    let private saysNot path what problem = Error.Damaged(path, sprintf "it does not say %s: %s" what problem)

    /// What a file's metadata says of the images that its network takes.
    let inputOf path text : Result<ImageInfo, Error> =
        let isSound (input: ImageInfo) =
            [ input.Mean; input.Std ]
            |> List.forall (fun values ->
                int64 values.Length = input.Channels && List.forall Double.IsFinite values)

        JsonText.record<ImageInfo> Map.empty text
        |> Result.bind (fun input ->
            if isSound input then
                Ok input
            else
                Error "its 'mean' and 'std' must be finite numbers, one for each channel.")
        |> Result.mapError (saysNot path "what images its network takes")

    let private deploymentOf path text : Result<Deployment, Error> =
        JsonText.record Map.empty text |> Result.mapError (saysNot path "what of it is to be used")

    /// The checkpoint that a file's metadata and tensors are; it shares the tensors.
    let ofTree path (metadata: Map<string, string>, tree) = result {
        let field name =
            Map.tryFind name metadata
            |> Result.requireSome (
                Error.Damaged(
                    path,
                    "it is not a checkpoint of this program; weights of another need the name of their network."
                )
            )

        let! configuration = field "configuration" |> Result.bind (PretrainConfig.ofJson path)
        let! input = field "input" |> Result.bind (inputOf path)
        let! deployment = field "deployment" |> Result.bind (deploymentOf path)
        let! provenance =
            Map.tryFind "provenance" metadata
            |> Option.traverseResult (JsonText.record Map.empty)
            |> Result.mapError (saysNot path "what it was trained from")

        return {
            Configuration = configuration
            Input = input
            Deployment = deployment
            Provenance = provenance
            State = State.ofTree tree
        }
    }

    let private ofFile path = result {
        let! metadata, tree = Safetensors.read path

        return!
            ofTree path (metadata, tree)
            |> Result.teeError (fun _ ->
                for x in TensorTree.tensors tree do
                    x.Dispose())
    }

    /// Reads a checkpoint: a run's folder or a .safetensors file. In a folder, a damaged newest checkpoint
    /// falls back to the one before it, and so on; the warning says so.
    let load (path: string) : Result<Checkpoint * string option, Error> =
        let at name = Path.Combine(path, name)

        let rec fallBack (damage: Error) age =
            if File.Exists(at (earlier age)) then
                match ofFile (at (earlier age)) with
                | Ok checkpoint ->
                    let what = if age = 1 then "The checkpoint before it" else sprintf "'%s'" (earlier age)
                    Ok(checkpoint, Some(sprintf "%s %s is used." (Error.message damage) what))
                | Error _ -> fallBack damage (age + 1)
            else
                Error damage

        if Directory.Exists path then
            match ofFile (at newest) with
            | Ok checkpoint -> Ok(checkpoint, None)
            | Error(Error.Damaged _ as damage) -> fallBack damage 1
            | Error e -> Error e
        else
            ofFile path |> Result.map (fun checkpoint -> checkpoint, None)
