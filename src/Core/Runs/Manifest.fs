namespace AdvContrast.Core.Runs

open System
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open AdvContrast.Engine
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Training

/// Where a run took place: what bit-for-bit repetition depends on.
type Platform = {
    Program: string
    DotNet: string
    System: string
    Processor: string
    /// Versions of the binding and of the library behind it.
    TorchSharp: string
    LibTorch: string
    Threads: int
}

/// What a run's folder says of the run.
type Manifest = {
    Configuration: PretrainConfig
    Environment: Platform
    Started: DateTimeOffset
    /// Steps done, and steps in all.
    Step: int64
    Steps: int64
    /// The loss of the last step; None before the first.
    Loss: float option
    /// Seconds of all processes that trained the run, its stages included.
    Seconds: float
    /// Images trained on.
    Images: int64
    /// What decides the weights besides the configuration; None while earlier stages are trained.
    Provenance: Provenance option
    /// What a reader of the figures must know: one sentence each.
    Notes: string list
    /// Whether <c>--config</c> can repeat it: its method is a registered one.
    Repeatable: bool
    /// What ran, in full.
    Composition: string
}

[<RequireQualifiedAccess>]
module Platform =

    /// This process's.
    let current () =
        let version (kind: Type) = kind.Assembly.GetName().Version.ToString 3

        {
            Program = sprintf "AdvContrast %s" (version typeof<Platform>)
            DotNet = RuntimeInformation.FrameworkDescription
            System = RuntimeInformation.OSDescription
            Processor = Hardware.Cpu.Name
            TorchSharp = version typeof<Tensor>
            LibTorch = LibTorch.Version
            Threads = torch.get_num_threads ()
        }

[<RequireQualifiedAccess>]
module Manifest =

    let private name = "run.json"

    /// Whether a folder holds a run, trained or begun.
    let existsIn (folder: string) = File.Exists(Path.Combine(folder, name)) || Checkpoint.existsIn folder

    /// Writes <c>run.json</c> into a run's folder, whole or not at all.
    let save (folder: string) (manifest: Manifest) = JsonText.save (Path.Combine(folder, name)) manifest

    /// Removes a run from its folder, so that another can replace it: its checkpoints, then its manifest; stages:
    /// the names of the stages that it may have trained or made before.
    let remove (folder: string) (stages: string list) = result {
        let delete path =
            try
                if Directory.Exists(Path.GetDirectoryName(path: string)) then File.Delete path
                Ok()
            with
            | :? IOException
            | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

        for stage in stages do
            do! Checkpoint.remove (Path.Combine(folder, stage))
            do! delete (Path.Combine(folder, stage, name))
            do! delete (Path.Combine(folder, stage + ".safetensors"))

        do! Checkpoint.remove folder
        do! delete (Path.Combine(folder, name))
    }

    let private read (path: string) =
        try
            Ok(File.ReadAllText path)
        with
        | :? FileNotFoundException
        | :? DirectoryNotFoundException ->
            Error(Error.Missing("A configuration", path, "Give the run.json of a run."))
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.Damaged(path, e.Message))

    // The fields of a manifest that are read; the others may differ between versions.
    type private Extract = {
        Configuration: JsonElement option
        Repeatable: bool option
        Step: int64 option
        Started: DateTimeOffset option
        Seconds: float option
        Notes: string list option
    }

    let private extract path (text: string) : Result<Extract, Error> =
        JsonText.tryRead text
        |> Result.requireSome (Error.Damaged(path, "it is not JSON with a run's configuration."))

    let private found folder =
        let path = Path.Combine(folder, name)
        read path |> Result.bind (extract path) |> Result.toOption

    /// When the run in a folder started, the seconds that it has taken, and its notes: now, 0 and none where
    /// run.json does not say it.
    let sofar (folder: string) : DateTimeOffset * float * string list =
        match found folder with
        | Some found ->
            let seconds = found.Seconds |> Option.filter (fun s -> Double.IsFinite s && s >= 0.0)

            Option.defaultValue DateTimeOffset.Now found.Started,
            Option.defaultValue 0.0 seconds,
            Option.defaultValue [] found.Notes
        | None -> DateTimeOffset.Now, 0.0, []

    let private composed path =
        let why = "its method was composed in a script and is not registered; run that script again."
        Error(Error.Damaged(path, why))

    /// Refuses a run whose method is not registered.
    let requireRegistered (folder: string) : Result<unit, Error> =
        match found folder with
        | Some { Repeatable = Some false } -> composed (Path.Combine(folder, name))
        | _ -> Ok()

    /// The configuration in a manifest, or in a file that holds a configuration alone. Error for that of a run
    /// whose method is not registered.
    let configuration (path: string) = result {
        let! text = read path
        let! found = extract path text
        if found.Repeatable = Some false then return! composed path
        let alone = found.Configuration |> Option.map _.GetRawText()
        return! PretrainConfig.ofJson path (Option.defaultValue text alone)
    }

    let private ofCheckpoint folder = result {
        let! checkpoint, _ = Checkpoint.load folder
        State.dispose checkpoint.State
        return checkpoint.Configuration
    }

    /// The configuration of the run in a folder: that of its newest good checkpoint or, where the run has made
    /// no step of its own yet, of its manifest.
    let ofRun (folder: string) = result {
        let manifest = Path.Combine(folder, name)

        if File.Exists folder then
            let advice =
                sprintf
                    "'%s' is a file; give the run's folder. To resume from an older checkpoint, copy it to a folder of its own as checkpoint.safetensors and resume that."
                    folder
            return! Error(Error.BadOption("--resume", advice))
        elif Checkpoint.existsIn folder || not (File.Exists manifest) then
            return! ofCheckpoint folder
        else
            let! text = read manifest

            match extract manifest text with
            | Ok { Configuration = Some inner; Step = Some 0L } ->
                return! PretrainConfig.ofJson manifest (inner.GetRawText())
            | _ -> return! ofCheckpoint folder
    }
