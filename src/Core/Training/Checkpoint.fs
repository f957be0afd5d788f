namespace AdvContrast.Core

open System
open System.IO
open System.Text.Json
open FsToolkit.ErrorHandling

/// What evaluation takes of a run's state.
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
    Configuration: Configuration
    Input: Input
    Deployment: Deployment
    /// Owned by who loaded it.
    State: State
}

[<RequireQualifiedAccess>]
module Checkpoint =

    let private newest = "checkpoint.safetensors"
    let private previous = "checkpoint.previous.safetensors"

    /// Whether a folder holds a run's checkpoint.
    let existsIn (folder: string) = File.Exists(Path.Combine(folder, newest))

    /// Removes a run's checkpoints from a folder, so that another run can take its place.
    let remove (folder: string) =
        try
            for name in [ newest; previous ] do
                let path = Path.Combine(folder, name)
                if File.Exists path then File.Delete path

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

    /// Writes a checkpoint into a run's folder; the one that was newest becomes the previous one.
    let save (folder: string) (checkpoint: Checkpoint) =
        let path = Path.Combine(folder, newest)

        let metadata =
            Map [
                "configuration", Configuration.toJson checkpoint.Configuration
                "input", JsonSerializer.Serialize(checkpoint.Input, Configuration.json)
                "deployment", JsonSerializer.Serialize(checkpoint.Deployment, Configuration.json)
            ]

        try
            if File.Exists path then File.Copy(path, Path.Combine(folder, previous), true)

            Safetensors.write path metadata (State.toTree checkpoint.State)
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    // A part of the metadata, refused where JSON left out what cannot be absent.
    let private partOf<'part> path what (isWhole: 'part -> bool) (text: string) =
        let foreign = Error(Error.Damaged(path, sprintf "it does not say %s." what))

        try
            let part = JsonSerializer.Deserialize<'part>(text, Configuration.json)
            if isNull (box part) || not (isWhole part) then foreign else Ok part
        with :? JsonException ->
            foreign

    /// What a file's metadata says of the images that its network takes.
    let inputOf path =
        partOf<Input> path "what images its network takes" (fun input ->
            not (isNull (box input.Mean) || isNull (box input.Std)))

    let private deploymentOf path =
        partOf<Deployment> path "what of it is to be used" (fun deployment ->
            not (isNull deployment.Branch || isNull (box deployment.Branches)))

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

        let! configuration = field "configuration" |> Result.bind (Configuration.ofJson path)
        let! input = field "input" |> Result.bind (inputOf path)
        let! deployment = field "deployment" |> Result.bind (deploymentOf path)

        return {
            Configuration = configuration
            Input = input
            Deployment = deployment
            State = State.ofTree tree
        }
    }

    let private ofFile path = result {
        let! metadata, tree = Safetensors.read path

        return!
            ofTree path (metadata, tree)
            |> Result.teeError (fun _ ->
                for x in Tree.tensors tree do
                    x.Dispose())
    }

    /// Reads a checkpoint: a run's folder or a .safetensors file. In a folder, a damaged newest checkpoint
    /// falls back to the previous one, and the warning says so.
    let load (path: string) : Result<Checkpoint * string option, Error> =
        if Directory.Exists path then
            match ofFile (Path.Combine(path, newest)) with
            | Ok checkpoint -> Ok(checkpoint, None)
            | Error(Error.Damaged _ as damage) when File.Exists(Path.Combine(path, previous)) ->
                ofFile (Path.Combine(path, previous))
                |> Result.map (fun checkpoint ->
                    checkpoint, Some(sprintf "%s The checkpoint before it is used." (Error.message damage)))
            | Error e -> Error e
        else
            ofFile path |> Result.map (fun checkpoint -> checkpoint, None)
