namespace AdvContrast.Core.Networks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Which set of batch-norm weights and running statistics a pass uses. Convolutions are shared by all.
type Branch = Branch of string

type Mode =
    /// Batch statistics; running statistics move.
    | Train
    /// Running statistics; nothing moves.
    | Eval

/// How a network is called: nothing of it is a hidden switch of the network.
type Call = {
    Branch: Branch
    Mode: Mode
    /// Whether convolutions and linear maps compute in bfloat16; batch-norm statistics stay in float32. In a method's
    /// pass: whether they may, where the run's precision is bfloat16.
    Mixed: bool
    /// How far running statistics move towards the batch's: 0.1 as PyTorch has it.
    Momentum: float
}

/// Learnt tensors under PyTorch's names; a batch norm's carry the branch: <c>"bn1.weight@adv"</c>.
type Parameters = Map<string, Tensor>

/// Running statistics: <c>"bn1.running_mean@adv"</c>.
type Buffers = Map<string, Tensor>

/// The output of a network for a batch of n images.
[<NoEquality; NoComparison>]
type Output = {
    /// The encoder's features [n; f], what evaluation uses.
    Features: Tensor
    /// What the loss compares [n; d]: the projection head's output, or the features where there is no head.
    Embedding: Tensor
    /// Other heads by name: <c>"logits"</c>, <c>"predictor"</c>.
    Heads: Map<string, Tensor>
}

/// Weights in eval mode that many batches will pass through.
[<NoEquality; NoComparison>]
type Fixed = {
    Branch: Branch
    Parameters: Parameters
    Buffers: Buffers
    /// What becomes of each weight of a convolution or linear map, once: another number format or layout.
    Prepare: Tensor -> Tensor
}

/// A network is a function of its parameters. New running statistics are part of the outcome; who wants them
/// keeps them.
[<NoEquality; NoComparison>]
type Network = {
    Text: string
    /// Width of the features f.
    FeatureWidth: int64
    /// Width of the embedding.
    EmbeddingWidth: int64
    /// Classes of the images it is made for: what a classifier on top of it gives.
    Classes: int
    /// Fresh parameters and buffers, a function of the draw alone.
    Init: Rng -> Parameters * Buffers
    /// Images [n; c; h; w] in [0, 1] to the output and the buffers after the pass.
    Apply: Call -> Parameters -> Buffers -> Tensor -> Output * Buffers
    /// The same in eval mode as a function of images alone, batch norms merged into the weights before them;
    /// the merged weights belong to the scope in which it was made.
    Fold: Fixed -> Tensor -> Output
}

/// A network with its weights, and the branch that it is used by.
[<NoEquality; NoComparison>]
type Model = { Network: Network; Branch: Branch; Weights: Parameters * Buffers }

[<RequireQualifiedAccess>]
module Branch =

    let name (Branch name) = name

    /// The name of a batch norm's tensor in a branch.
    let suffix (Branch branch) name = name + "@" + branch

    /// The branch that a tensor's name belongs to, where it belongs to one.
    let ofName (name: string) =
        match name.IndexOf '@' with
        | -1 -> None
        | at -> Some(Branch(name.Substring(at + 1)))

    /// A tensor's name without its branch.
    let stem (name: string) = name.Split('@')[0]

[<RequireQualifiedAccess>]
module Call =

    /// In full precision, PyTorch's momentum.
    let create branch mode = { Branch = branch; Mode = mode; Mixed = false; Momentum = 0.1 }

[<RequireQualifiedAccess>]
module Output =

    /// The tensors in it.
    let tensors output = seq {
        output.Features
        output.Embedding
        yield! Map.values output.Heads
    }

    /// Each of its tensors as f makes it.
    let map (f: Tensor -> Tensor) output = {
        Features = f output.Features
        Embedding = f output.Embedding
        Heads = output.Heads |> Map.map (fun _ -> f)
    }

    /// The rows of one view out of a batch of several.
    let narrow start length output = output |> map (fun x -> x.narrow (0L, start, length))

[<RequireQualifiedAccess>]
module Network =

    /// Images [n; c; h; w], or the weight of a convolution, in channels-last layout; another tensor as it is. The
    /// same values as a new handle, differentiable.
    let channelsLast (x: Tensor) =
        if x.shape.Length = 4 then
            Scope.tensor (fun () -> x.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L))
        else
            x.alias ()

    /// Fold for a network that has nothing to merge: its own eval mode.
    let unfolded (apply: Call -> Parameters -> Buffers -> Tensor -> Output * Buffers) (fixed': Fixed) images =
        fst (apply (Call.create fixed'.Branch Eval) fixed'.Parameters fixed'.Buffers images)

    /// A network for many passes with one set of weights: called in eval mode with these very weights and by this
    /// branch it takes the merged ones (see Fold), images with their channels last; the same function, faster,
    /// but without gradients in the weights. Called otherwise it is the network that it was. The merged weights
    /// belong to the current scope.
    let folded branch (parameters: Parameters) (buffers: Buffers) network =
        use _ = torch.no_grad ()

        let run =
            network.Fold {
                Branch = branch
                Parameters = parameters
                Buffers = buffers
                Prepare = channelsLast
            }

        let apply call (p: Parameters) (b: Buffers) images =
            let isSame = obj.ReferenceEquals(p, parameters) && obj.ReferenceEquals(b, buffers)

            if call.Mode = Eval && call.Branch = branch && isSame then
                run (channelsLast images), buffers
            else
                network.Apply call p b images

        { network with Apply = apply }

    /// The encoder as a function of images alone: eval mode, one branch, its features [n; f] in float32.
    let encoder branch (parameters: Parameters, buffers: Buffers) network : Tensor -> Tensor =
        let call = Call.create branch Eval

        fun images ->
            Scope.tensor (fun () -> (fst (network.Apply call parameters buffers images)).Features.alias())

    /// The same function of the model's own parameters and branch.
    let ofModel (model: Model) = encoder model.Branch model.Weights model.Network

    /// A model as a classifier: what its head of this name gives for images, in eval mode and float32; images
    /// [n; c; h; w] in [0, 1] to [n; k]. ArgumentException where it has no such head.
    let classifier (head: string) (model: Model) : Tensor -> Tensor =
        let parameters, buffers = model.Weights
        let call = Call.create model.Branch Eval

        fun images ->
            Scope.tensor (fun () ->
                match Map.tryFind head (fst (model.Network.Apply call parameters buffers images)).Heads with
                | Some logits -> logits.alias ()
                | None -> invalidArg (nameof head) (sprintf "the network has no head '%s'." head))
