namespace AdvContrast.Core.Methods

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim

/// State of a method besides its networks: a queue, running means.
[<NoEquality; NoComparison>]
type Memory = {
    /// The first of it, for a network in training whose embeddings have this width.
    Init: Rng -> int64 -> TensorTree
    After: LossContext -> TensorTree
}

/// Where an average's running statistics come from.
type Statistics =
    /// The network in training, as they are.
    | Copied
    /// The network in training, averaged as the parameters are.
    | Averaged
    /// The average's own passes in train mode.
    | Own

/// An exponential moving average of the network in training.
[<NoEquality; NoComparison>]
type Average = {
    Name: string
    /// The part that stays at each step.
    Decay: Schedule
    Statistics: Statistics
    /// It moves towards the weights that the step's passes used, not towards those after the update.
    Lags: bool
}

/// Gradients of any step on chosen samples: what a coreset rule needs to score batches.
[<NoEquality; NoComparison>]
type Probe = {
    Parameters: Parameters
    /// Samples that are never trained on.
    HeldOut: int64[]
    /// Gradients of the parameters that a predicate names, at these parameters, on these samples.
    Gradient: (string -> bool) -> Step -> Parameters -> int64[] -> Parameters
}

/// Training on some batches of an epoch alone, chosen anew from time to time.
[<NoEquality; NoComparison>]
type Coreset = {
    Text: string
    /// Samples kept out of training, at most this number and at most a tenth of all.
    HeldOut: int
    /// Whether the batches are chosen anew at the start of an epoch; before the first time all are trained on.
    Due: Progress -> bool
    /// The places of the batches to train on.
    Choose: Probe -> int64[][] -> int[]
}

/// Which batches of an epoch are trained on.
[<NoEquality; NoComparison>]
type Sampling =
    | Everything
    | Chosen of Coreset

/// How a method is trained, as published.
[<NoEquality; NoComparison>]
type Recipe = {
    Optimizer: Transform
    /// Images a step.
    Batch: int
    Epochs: int
    /// Steps on one batch before the next.
    Replays: int
    Dataset: string
    Network: string
    /// Which parameters move, by name.
    Trains: Named<string -> bool>
}

/// The output of a stage.
[<NoEquality; NoComparison>]
type Artifact =
    /// A trained network.
    | Trained of Model
    /// Labels of every image of the data set by name, int64 [n]; -1 for none.
    | Labels of Map<string, Tensor>
    /// Every image of the data set in another form: uint8 [n; c; h; w].
    | Images of Tensor

/// Arguments of a stage without training. Tensors of the result belong to the caller's scope.
[<NoEquality; NoComparison>]
type StageContext = {
    /// Images in the data set.
    Count: int
    Device: torch.Device
    /// Some rows in [0, 1], float32 on the device.
    Images: int64[] -> Tensor
    /// The class of some rows, int64.
    Classes: int64[] -> Tensor
    Seed: uint64
    /// Outputs of earlier stages, by name.
    Made: Map<string, Artifact>
    /// Called with the share done, 0 to 1; it may end the work by an exception.
    Report: float -> unit
}

/// A published method: a step with everything around it.
[<NoEquality; NoComparison>]
type Method = {
    Name: string
    /// One line for lists.
    Summary: string
    Citation: string
    /// Published quirks switched on, and why; what else a reader must know.
    Quirks: Map<string, string>
    /// Stages before it: other methods, labels, images. The method itself is the last stage.
    Before: Stage list
    /// The stage whose network the weights start from, where they do not start afresh. Every branch starts
    /// from the branch that the network is used by; what it lacks starts afresh.
    From: string option
    Branches: Branch list
    Head: Named<Network -> Network>
    Step: Step
    Averages: Average list
    Memory: Memory
    Sampling: Sampling
    Recipe: Recipe
    /// The network and branch that evaluation uses.
    Deploy: ModelRef * Branch
}

/// One of the stages before a method, by the name under which the method uses what it brings.
and [<RequireQualifiedAccess; NoEquality; NoComparison>] Stage =
    /// A run that only the user can name, and what to say of it.
    | External of name: string * advice: string
    /// A network that this method trains, unless the user names a run to take its place.
    | Train of name: string * Method
    /// Something computed.
    | Compute of name: string * Named<StageContext -> Artifact>

[<RequireQualifiedAccess>]
module Memory =

    /// Nothing is carried.
    let none: Memory = {
        Init = fun _ _ -> Map.empty
        After = fun scene -> scene.Memory
    }

[<RequireQualifiedAccess>]
module Recipe =

    /// All parameters move.
    let everything: Named<string -> bool> = Named.create "all parameters" (fun _ -> true)

[<RequireQualifiedAccess>]
module Stage =

    let name stage =
        match stage with
        | Stage.External(name, _)
        | Stage.Train(name, _)
        | Stage.Compute(name, _) -> name

[<RequireQualifiedAccess>]
module Method =

    /// The same method against another threat, its stages too. Steps are counted in radii, so they scale
    /// along.
    let rec withThreat threat method =
        let adversaries = method.Step.Adversaries |> List.map (fun a -> { a with Threat = threat })
        let free = method.Step.Free |> Option.map (fun f -> { f with Threat = threat })

        let before =
            method.Before
            |> List.map (fun stage ->
                match stage with
                | Stage.Train(name, m) -> Stage.Train(name, withThreat threat m)
                | other -> other)

        { method with Before = before; Step = { method.Step with Adversaries = adversaries; Free = free } }

    /// Whether the method, or a stage before it, makes adversarial views.
    let rec hasAdversary method =
        let isAdversarial stage =
            match stage with
            | Stage.Train(_, m) -> hasAdversary m
            | _ -> false

        not method.Step.Adversaries.IsEmpty
        || method.Step.Free.IsSome
        || List.exists isAdversarial method.Before

    /// The same method with other views: every view of the image by this augmentation.
    let withView (view: View) method =
        let views = method.Step.Views |> List.map (fun spec -> { spec with Make = fun _ -> view })
        { method with Step = { method.Step with Views = views } }

    /// The same method with other update rules.
    let withOptimizer optimizer method = { method with Recipe = { method.Recipe with Optimizer = optimizer } }
