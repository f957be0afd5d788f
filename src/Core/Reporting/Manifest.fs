namespace AdvContrast.Core

open System
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open AdvContrast.Torch.Engine
open FsToolkit.ErrorHandling
open TorchSharp

/// Where a run took place: what bit-for-bit repetition depends on.
type Platform = {
    Program: string
    DotNet: string
    System: string
    Processor: string
    /// Where the tensors come from: <c>"system"</c> or <c>"nuget"</c>.
    TorchSource: string
    LibTorch: string
    Threads: int
}

/// What a run's folder says of the run.
type Manifest = {
    Configuration: Configuration
    Environment: Platform
    Started: DateTimeOffset
    /// Steps done, and steps in all.
    Step: int64
    Steps: int64
    /// The loss of the last step.
    Loss: float
    Seconds: float
    /// Whether <c>--config</c> can repeat it.
    Repeatable: bool
}

[<RequireQualifiedAccess>]
module Platform =

    let private processor () =
        try
            File.ReadLines "/proc/cpuinfo"
            |> Seq.tryFind (fun line -> line.StartsWith "model name")
            |> Option.map (fun line -> line.Substring(line.IndexOf ':' + 1).Trim())
        with :? IOException ->
            None

    /// This process's.
    let current () =
        let version = typeof<Platform>.Assembly.GetName().Version

        {
            Program = sprintf "AdvContrast %d.%d.%d" version.Major version.Minor version.Build
            DotNet = RuntimeInformation.FrameworkDescription
            System = RuntimeInformation.OSDescription
            Processor = processor () |> Option.defaultValue (string RuntimeInformation.ProcessArchitecture)
            TorchSource = TorchEngine.Current.Source
            LibTorch = TorchEngine.Current.LibTorch.Version
            Threads = torch.get_num_threads ()
        }

[<RequireQualifiedAccess>]
module Manifest =

    let private name = "run.json"

    /// Writes <c>run.json</c> into a run's folder, whole or not at all.
    let save (folder: string) (manifest: Manifest) =
        let path = Path.Combine(folder, name)

        try
            File.WriteAllText(path + ".part", JsonSerializer.Serialize(manifest, Configuration.json))
            File.Move(path + ".part", path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    /// The configuration in a manifest, or in a file that holds a configuration alone.
    let configuration (path: string) = result {
        let! text =
            try
                Ok(File.ReadAllText path)
            with
            | :? FileNotFoundException
            | :? DirectoryNotFoundException ->
                Error(Error.Missing("A configuration", path, "Give the run.json of a run."))
            | :? IOException
            | :? UnauthorizedAccessException as e -> Error(Error.Damaged(path, e.Message))

        let! inner =
            try
                use json = JsonDocument.Parse text

                match json.RootElement.TryGetProperty "configuration" with
                | true, inner -> Ok(inner.GetRawText())
                | false, _ -> Ok text
            with
            | :? JsonException
            | :? InvalidOperationException ->
                Error(Error.Damaged(path, "it is not JSON with a run's configuration."))

        return! Configuration.ofJson path inner
    }
