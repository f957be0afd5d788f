namespace AdvContrast.Core

open System.IO
open FsToolkit.ErrorHandling
open TorchSharp

/// A pre-trained encoder, ready to be evaluated. It owns its tensors; dispose it when done.
[<NoEquality; NoComparison>]
type Encoder = {
    /// How it was made.
    Configuration: Configuration
    /// The images that it takes.
    Input: Input
    Network: Network
    /// The batch norms that it is deployed with.
    Branch: Branch
    Weights: Parameters * Buffers
    Device: torch.Device
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
        let place (x: Tensor) = x.``to``(device).clone().DetachFromDisposeScope()
        let who = deployment.Average |> Option.map Average |> Option.defaultValue Online
        let parameters, buffers = State.deployed who state

        {
            Configuration = c
            Input = input
            Network = network
            Branch = Branch deployment.Branch
            Weights = Map.map (fun _ -> place) parameters, Map.map (fun _ -> place) buffers
            Device = device
        }

    /// What a method deploys out of its state at the end of a run: copies of its own, with the method's head.
    let ofState c input (method: Method) device state = result {
        let! network = Configuration.networkOf c method input
        return create c input (Deployment.ofMethod true method) network device state
    }

    /// What is deployed out of a checkpoint: copies of its own. The network has a head where its method is
    /// registered.
    let ofCheckpoint (checkpoint: Checkpoint) : Result<Encoder, Error> = result {
        let c, deployment = checkpoint.Configuration, checkpoint.Deployment
        let! device = Configuration.device c.Device

        let! network =
            if deployment.Registered then
                Configuration.methodOf c
                |> Result.bind (fun method -> Configuration.networkOf c method checkpoint.Input)
            else
                let branches = deployment.Branches |> List.map Branch
                Configuration.backboneOf c SimClr.method.Recipe branches checkpoint.Input

        return create c checkpoint.Input deployment network device checkpoint.State
    }

    /// Network, branch and weights alone; they live as long as the encoder does.
    let model (encoder: Encoder) : Model = {
        Network = encoder.Network
        Branch = encoder.Branch
        Weights = encoder.Weights
    }

    let private recipeOf (c: Configuration) =
        Registry.find c.Method |> Result.map _.Recipe |> Result.defaultValue SimClr.method.Recipe

    /// Writes the encoder alone, as a .safetensors file that <c>load</c> reads and PyTorch as well: the
    /// backbone's parameters and running statistics under PyTorch's names, those of the branch that is
    /// deployed. Head, other branches, averages and the optimiser's state stay behind.
    let save (path: string) (encoder: Encoder) : Result<unit, Error> = result {
        let recipe = recipeOf encoder.Configuration

        let c = {
            encoder.Configuration with
                Network = encoder.Configuration.Network |> Option.orElse (Some recipe.Network)
                Device = "cpu"
        }

        let! backbone = Configuration.backboneOf c recipe [] encoder.Input

        let wanted =
            Scope.value (fun () ->
                let parameters, buffers = backbone.Init(Draw.create 0UL "names" [||])
                Set.ofSeq (Seq.append parameters.Keys buffers.Keys))

        let deployed (tensors: Map<string, Tensor>) =
            tensors
            |> Map.toList
            |> List.filter (fun (name, _) ->
                Branch.ofName name |> Option.forall ((=) encoder.Branch) && wanted.Contains(Branch.stem name))
            |> List.map (fun (name, x) -> Branch.stem name, x)

        let tensors = deployed (fst encoder.Weights) @ deployed (snd encoder.Weights)

        let metadata = Map [ "configuration", Configuration.toJson c; "input", JsonText.write encoder.Input ]

        return! Safetensors.write path metadata (Tree.ofTensors (Map.ofList tensors))
    }

    // An encoder that `save` wrote.
    let private ofSaved path (metadata: Map<string, string>) tree = result {
        let! c = Configuration.ofJson path metadata["configuration"]
        let! input =
            Map.tryFind "input" metadata
            |> Result.requireSome (Error.Damaged(path, "it does not say what images its network takes."))
            |> Result.bind (Checkpoint.inputOf path)

        let! device = Configuration.device c.Device
        let! network = Configuration.backboneOf c (recipeOf c) [] input
        use _ = torch.NewDisposeScope()
        let! parameters, buffers = StateDict.fit path network (Tree.toTensors tree)
        let place (x: Tensor) = x.``to``(device).clone().DetachFromDisposeScope()

        return {
            Configuration = c
            Input = input
            Network = network
            Branch = Branch ""
            Weights = Map.map (fun _ -> place) parameters, Map.map (fun _ -> place) buffers
            Device = device
        }
    }

    let private ofRun folder = result {
        let! checkpoint, warning = Checkpoint.load folder

        try
            let! encoder = ofCheckpoint checkpoint
            return encoder, warning
        finally
            State.dispose checkpoint.State
    }

    let private ofFile path = result {
        let! metadata, tree = Safetensors.read path

        try
            let isSaved = metadata.ContainsKey "configuration" && not (metadata.ContainsKey "deployment")

            if isSaved then
                return! ofSaved path metadata tree
            else
                let! checkpoint = Checkpoint.ofTree path (metadata, tree)
                return! ofCheckpoint checkpoint
        finally
            for x in Tree.tensors tree do
                x.Dispose()
    }

    /// The encoder in a run's folder or in a .safetensors file, be it a run's or one that <c>save</c> wrote;
    /// with a warning where an older checkpoint was used.
    let load (path: string) : Result<Encoder * string option, Error> =
        if Directory.Exists path then
            ofRun path
        else
            ofFile path |> Result.map (fun encoder -> encoder, None)

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

    /// Images [n; c; h; w] in [0, 1] to features [n; f]; differentiable in the images.
    let features (encoder: Encoder) : Tensor -> Tensor =
        Network.encoder encoder.Branch encoder.Weights encoder.Network
