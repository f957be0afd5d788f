namespace AdvContrast.Core

open TorchSharp

/// Everything a run holds between two steps.
[<NoEquality; NoComparison>]
type State = {
    Online: Parameters * Buffers
    Averages: Map<string, Parameters * Buffers>
    Optimizer: Tree
    Memory: Tree
    Progress: Progress
}

[<RequireQualifiedAccess>]
module State =

    let private networkTree (parameters: Parameters, buffers: Buffers) =
        Tree.join
            (Tree.under "parameters" (Tree.ofTensors parameters))
            (Tree.under "buffers" (Tree.ofTensors buffers))

    let private networkOf tree =
        Tree.toTensors (Tree.within "parameters" tree), Tree.toTensors (Tree.within "buffers" tree)

    /// The state as one tree.
    let toTree state : Tree =
        let progress =
            Map [
                "step", Whole state.Progress.Step
                "steps-per-epoch", Whole(int64 state.Progress.StepsPerEpoch)
                "epochs", Whole(int64 state.Progress.Epochs)
            ]

        [
            Tree.under "online" (networkTree state.Online)
            yield!
                state.Averages
                |> Map.toList
                |> List.map (fun (name, n) -> Tree.under ("average/" + name) (networkTree n))
            Tree.under "optimizer" state.Optimizer
            Tree.under "memory" state.Memory
            Tree.under "progress" progress
        ]
        |> List.fold Tree.join Map.empty

    /// The state that a tree holds; it shares the tree's tensors.
    let ofTree (tree: Tree) =
        let whole name =
            match Map.tryFind ("progress/" + name) tree with
            | Some(Whole value) -> value
            | _ -> 0L

        let averages = Tree.within "average" tree
        let names = averages |> Map.keys |> Seq.map (fun key -> key.Split('/')[0]) |> Seq.distinct
        let stepsPerEpoch = max 1 (int (whole "steps-per-epoch"))
        let start = Progress.start stepsPerEpoch (int (whole "epochs"))
        let step = whole "step"

        {
            Online = networkOf (Tree.within "online" tree)
            Averages = names |> Seq.map (fun name -> name, networkOf (Tree.within name averages)) |> Map.ofSeq
            Optimizer = Tree.within "optimizer" tree
            Memory = Tree.within "memory" tree
            Progress = {
                start with
                    Step = step
                    Epoch = int (step / int64 stepsPerEpoch)
                    StepInEpoch = int (step % int64 stepsPerEpoch)
            }
        }

    /// The tensors in it.
    let tensors state = Tree.tensors (toTree state)

    /// Each of its tensors as f makes it, a new one; they belong to no scope: the caller disposes them.
    let map (f: Tensor -> Tensor) state =
        use _ = torch.NewDisposeScope()
        let tree = Tree.map f (toTree state)
        Scope.adopt (Tree.tensors tree)
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
    let deployed (who: Who) state =
        match who with
        | Average name -> state.Averages[name]
        | Online
        | Frozen _ -> state.Online
