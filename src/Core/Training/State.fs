namespace AdvContrast.Core.Training

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods

/// Everything a run holds between two steps.
[<NoEquality; NoComparison>]
type State = {
    Online: Parameters * Buffers
    Averages: Map<string, Parameters * Buffers>
    Optimizer: TensorTree
    Memory: TensorTree
    Progress: Progress
}

[<RequireQualifiedAccess>]
module State =

    let private networkTree (parameters: Parameters, buffers: Buffers) =
        TensorTree.join
            (TensorTree.under "parameters" (TensorTree.ofTensors parameters))
            (TensorTree.under "buffers" (TensorTree.ofTensors buffers))

    let private networkOf tree =
        TensorTree.toTensors (TensorTree.within "parameters" tree),
        TensorTree.toTensors (TensorTree.within "buffers" tree)

    /// The state as one tree.
    let toTree state : TensorTree =
        let progress =
            Map [
                "step", Leaf.Int state.Progress.Step
                "steps-per-epoch", Leaf.Int(int64 state.Progress.StepsPerEpoch)
                "epochs", Leaf.Int(int64 state.Progress.Epochs)
            ]

        [
            TensorTree.under "online" (networkTree state.Online)
            yield!
                state.Averages
                |> Map.toList
                |> List.map (fun (name, n) -> TensorTree.under ("average/" + name) (networkTree n))
            TensorTree.under "optimizer" state.Optimizer
            TensorTree.under "memory" state.Memory
            TensorTree.under "progress" progress
        ]
        |> List.fold TensorTree.join Map.empty

    /// The state that a tree holds; it shares the tree's tensors.
    let ofTree (tree: TensorTree) =
        let whole name =
            match Map.tryFind ("progress/" + name) tree with
            | Some(Leaf.Int value) -> value
            | _ -> 0L

        let averages = TensorTree.within "average" tree
        let names = averages |> Map.keys |> Seq.map (fun key -> key.Split('/')[0]) |> Seq.distinct
        let stepsPerEpoch = max 1 (int (whole "steps-per-epoch"))
        let start = Progress.start stepsPerEpoch (int (whole "epochs"))
        let step = whole "step"

        {
            Online = networkOf (TensorTree.within "online" tree)
            Averages =
                names |> Seq.map (fun name -> name, networkOf (TensorTree.within name averages)) |> Map.ofSeq
            Optimizer = TensorTree.within "optimizer" tree
            Memory = TensorTree.within "memory" tree
            Progress = {
                start with
                    Step = step
                    Epoch = int (step / int64 stepsPerEpoch)
                    StepInEpoch = int (step % int64 stepsPerEpoch)
            }
        }

    /// The tensors in it.
    let tensors state = TensorTree.tensors (toTree state)

    /// Each of its tensors as f makes it, a new one; they belong to no scope: the caller disposes them.
    let map (f: Tensor -> Tensor) state =
        use _ = torch.NewDisposeScope()
        let tree = TensorTree.map f (toTree state)
        Scope.adopt (TensorTree.tensors tree)
        ofTree tree

    /// A deep copy, row by row however the state's tensors lie, that belongs to no scope: its caller disposes it.
    let copy state = state |> map _.contiguous().clone()

    /// A copy on a device that belongs to no scope: its caller disposes it.
    let onDevice (device: torch.Device) state = state |> map (fun x -> x.``to``(device).clone())

    /// Frees all it holds.
    let dispose state =
        for tensor in tensors state do
            tensor.Dispose()

    /// The network that a method deploys: its parameters and buffers.
    let deployed (who: ModelRef) state =
        match who with
        | Average name -> state.Averages[name]
        | Online
        | Frozen _ -> state.Online
