namespace AdvContrast.Core.Runs

open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// A pre-trained encoder, ready to be evaluated. It owns its tensors; dispose it when done.
[<NoEquality; NoComparison>]
type Encoder = {
    /// How it was made.
    Configuration: PretrainConfig
    /// The images that it takes.
    Input: ImageInfo
    Network: Network
    /// The batch norms that it is deployed with.
    Branch: Branch
    Weights: Parameters * Buffers
    Device: torch.Device
    /// What was understood of the file of another program, in sentences; none of a run.
    Notes: string list
} with

    interface System.IDisposable with
        member e.Dispose() =
            for x in Seq.append (Map.values (fst e.Weights)) (Map.values (snd e.Weights)) do
                x.Dispose()

[<RequireQualifiedAccess>]
module Encoder =

    // Copies, on a device, of what is deployed.
    let private create c input (deployment: Deployment) network (device: torch.Device) state =
        use _ = torch.NewDisposeScope()
        let own (x: Tensor) = x.``to``(device).clone().DetachFromDisposeScope()
        let who = deployment.Average |> Option.map Average |> Option.defaultValue Online
        let parameters, buffers = State.deployed who state

        {
            Configuration = c
            Input = input
            Network = network
            Branch = Branch deployment.Branch
            Weights = Map.map (fun _ -> own) parameters, Map.map (fun _ -> own) buffers
            Device = device
            Notes = []
        }

    /// What a method deploys out of its state at the end of a run: copies of its own, with the method's head.
    let ofState c input (method: Method) device state = result {
        let! network = PretrainConfig.networkOf c method input
        return create c input (Deployment.ofMethod true method) network device state
    }

    // The device that is asked for; else the one that the run was trained on where this machine has it, or the CPU.
    let private place (asked: torch.Device option) (c: PretrainConfig) =
        match asked with
        | Some device -> device
        | None -> PretrainConfig.device c.Device |> Result.defaultValue torch.CPU

    /// What is deployed out of a checkpoint: copies of its own, on a device; None: the device that it was trained on
    /// where this machine has it, or the CPU. The network has a head where its method is registered.
    let ofCheckpoint device (checkpoint: Checkpoint) : Result<Encoder, Error> = result {
        let c, deployment = checkpoint.Configuration, checkpoint.Deployment
        let device = place device c

        let! network =
            if deployment.Registered then
                PretrainConfig.methodOf c
                |> Result.bind (fun method -> PretrainConfig.networkOf c method checkpoint.Input)
            else
                let branches = deployment.Branches |> List.map Branch
                PretrainConfig.backboneOf c SimClr.method.Recipe branches checkpoint.Input

        return create c checkpoint.Input deployment network device checkpoint.State
    }

    /// Network, branch and weights alone; they live as long as the encoder does.
    let model (encoder: Encoder) : Model = {
        Network = encoder.Network
        Branch = encoder.Branch
        Weights = encoder.Weights
    }

    /// Images [n; c; h; w] in [0, 1] to features [n; f]; differentiable in the images.
    let features (encoder: Encoder) : Tensor -> Tensor =
        Network.encoder encoder.Branch encoder.Weights encoder.Network

    let private recipeOf (c: PretrainConfig) =
        MethodRegistry.find c.Method |> Result.map _.Recipe |> Result.defaultValue SimClr.method.Recipe

    // Those of the backbone's tensors that are deployed, under PyTorch's names.
    let private deployed (backbone: Network) (encoder: Encoder) =
        let wanted =
            Scope.value (fun () ->
                let parameters, buffers = backbone.Init(Rng.create 0UL "names" [||])
                Set.ofSeq (Seq.append parameters.Keys buffers.Keys))

        let own (tensors: Map<string, Tensor>) =
            tensors
            |> Map.toList
            |> List.filter (fun (name, _) ->
                Branch.ofName name |> Option.forall ((=) encoder.Branch) && wanted.Contains(Branch.stem name))
            |> List.map (fun (name, x) -> Branch.stem name, x)

        own (fst encoder.Weights) @ own (snd encoder.Weights) |> Map.ofList

    // A network of the user's own may have other tensors than the one that the configuration names, or compute
    // something else with the same ones: a file of either would be read as another encoder.
    let private isBackbone path (backbone: Network) (encoder: Encoder) tensors =
        Scope.value (fun () ->
            use _ = torch.no_grad ()

            match StateDict.fit path backbone tensors with
            | Error _ -> false
            | Ok weights ->
                let shape = [| 2L; encoder.Input.Channels; 32L; 32L |]
                let pixels =
                    Array.init (int (Array.reduce (*) shape)) (fun i -> float32 (i * 37 % 101) / 100.0f)
                let images = torch.tensor(pixels).reshape(shape).``to`` encoder.Device
                let own = features encoder images
                let read = Network.encoder (Branch "") weights backbone images
                own.shape = read.shape && own.allclose (read, 1e-3, 1e-4))

    /// Writes the encoder alone, as a .safetensors file that <c>load</c> reads and PyTorch as well: the
    /// backbone's parameters and running statistics under PyTorch's names, those of the branch that is
    /// deployed. Head, other branches, averages and the optimiser's state stay behind, and so do the folders of the
    /// machine that it was trained on. NotWritable where the network is not the one of the zoo that the configuration
    /// names, BadOption where the file's name has another ending.
    let save (path: string) (encoder: Encoder) : Result<unit, Error> = result {
        do! FileName.requireEnding ".safetensors" path
        let recipe = recipeOf encoder.Configuration

        let c = {
            encoder.Configuration with
                Network = encoder.Configuration.Network |> Option.orElse (Some recipe.Network)
                Device = "cpu"
                Data = None
                Given = None
        }

        let! backbone = PretrainConfig.backboneOf c recipe [] encoder.Input
        let tensors = deployed backbone encoder

        match StateDict.unsound (Map.toSeq tensors) with
        | Some problem -> return! Error(Error.NotWritable(path, problem))
        | None -> ()

        if not (isBackbone path backbone encoder tensors) then
            let reason =
                sprintf
                    "the encoder's network is not the '%s' that its configuration names, and only networks of the zoo are written; write the tensors of its Weights by Safetensors.write."
                    c.Network.Value

            return! Error(Error.NotWritable(path, reason))

        let metadata = Map [ "configuration", PretrainConfig.toJson c; "input", JsonText.write encoder.Input ]
        return! Safetensors.write path metadata (TensorTree.ofTensors tensors)
    }

    // An encoder that `save` wrote.
    let private ofSaved device path (metadata: Map<string, string>) tree = result {
        let! c = PretrainConfig.ofJson path metadata["configuration"]
        let! input =
            Map.tryFind "input" metadata
            |> Result.requireSome (Error.Damaged(path, "it does not say what images its network takes."))
            |> Result.bind (Checkpoint.inputOf path)

        let device = place device c
        let! network = PretrainConfig.backboneOf c (recipeOf c) [] input
        use _ = torch.NewDisposeScope()
        let! parameters, buffers = StateDict.fit path network (TensorTree.toTensors tree)
        let own (x: Tensor) = x.``to``(device).clone().DetachFromDisposeScope()

        return {
            Configuration = c
            Input = input
            Network = network
            Branch = Branch ""
            Weights = Map.map (fun _ -> own) parameters, Map.map (fun _ -> own) buffers
            Device = device
            Notes = []
        }
    }

    let private ofRun device folder = result {
        let! checkpoint, warning = Checkpoint.load folder

        try
            let! encoder = ofCheckpoint device checkpoint
            return encoder, warning
        finally
            State.dispose checkpoint.State
    }

    let private ofFile device path = result {
        let! metadata, tree = Safetensors.read path

        try
            let isSaved = metadata.ContainsKey "configuration" && not (metadata.ContainsKey "deployment")

            if isSaved then
                return! ofSaved device path metadata tree
            else
                let! checkpoint = Checkpoint.ofTree path (metadata, tree)
                return! ofCheckpoint device checkpoint
        finally
            for x in TensorTree.tensors tree do
                x.Dispose()
    }

    // Weights that are not finite are a fault of whatever wrote the file.
    let private soundly path (encoder: Encoder, warning: string option) =
        match StateDict.check path encoder.Weights with
        | Ok() -> Ok(encoder, warning)
        | Error e ->
            (encoder :> System.IDisposable).Dispose()
            Error e

    /// The encoder in a run's folder or in a .safetensors file, be it a run's or one that <c>save</c> wrote;
    /// with a warning where an older checkpoint was used. device: where it computes; None: the device that it was
    /// trained on where this machine has it, or the CPU.
    let loadOn (device: torch.Device option) (path: string) : Result<Encoder * string option, Error> =
        if Directory.Exists path then
            ofRun device path |> Result.bind (soundly path)
        else
            ofFile device path |> Result.bind (fun encoder -> soundly path (encoder, None))

    /// The same on the device that it was trained on where this machine has it, or the CPU.
    let load path = loadOn None path

    /// The same encoder for many looks: batch norms merged into the weights before them (Jacob et al. 2018,
    /// section 3.2), images with their channels last. Its features differ from those of the encoder given by
    /// rounding alone, and are differentiable in the images. The merged weights belong to the current scope, all
    /// else to the encoder given.
    let folded (encoder: Encoder) : Encoder =
        let parameters, buffers = encoder.Weights

        { encoder with Network = Network.folded encoder.Branch parameters buffers encoder.Network }

    /// Checks the encoder's convolutions for images of a shape [n; c; h; w], as evaluation computes them.
    let checkKernels (encoder: Encoder) (shape: int64[]) : Result<unit, Error> =
        KernelCheck.ofNetworks encoder.Device false true shape [ encoder.Network, encoder.Branch ]
