namespace AdvContrast.Core

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

    /// The encoder in a run's folder or a .safetensors file, with a warning where an older checkpoint was
    /// used.
    let load path : Result<Encoder * string option, Error> = result {
        let! checkpoint, warning = Checkpoint.load path

        try
            let! encoder = ofCheckpoint checkpoint
            return encoder, warning
        finally
            State.dispose checkpoint.State
    }

    /// Images [n; c; h; w] in [0, 1] to features [n; f]; differentiable in the images.
    let features (encoder: Encoder) : Tensor -> Tensor =
        Network.encoder encoder.Branch encoder.Weights encoder.Network
