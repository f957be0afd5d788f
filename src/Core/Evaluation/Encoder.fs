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

    /// What a method deploys out of a run's state: copies of its own.
    let ofCheckpoint (checkpoint: Checkpoint) : Result<Encoder, Error> = result {
        let c = checkpoint.Configuration
        let! method = Configuration.methodOf c
        let! network = Configuration.networkOf c checkpoint.Input
        let! device = Configuration.device c.Device
        let who, branch = method.Deploy
        let parameters, buffers = State.deployed who checkpoint.State
        use _ = torch.NewDisposeScope()
        let place (x: Tensor) = x.``to``(device).clone().DetachFromDisposeScope()

        return {
            Configuration = c
            Input = checkpoint.Input
            Network = network
            Branch = branch
            Weights = Map.map (fun _ -> place) parameters, Map.map (fun _ -> place) buffers
            Device = device
        }
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
