namespace AdvContrast.Core

/// Who computes a pass.
type Who =
    /// The network in training.
    | Online
    /// An exponential average of it, by name.
    | Average of string
    /// A network that an earlier stage made, by name.
    | Frozen of string

/// One batch through one network: its views share batch statistics; two passes are two batches.
type Pass = {
    Name: string
    Views: string list
    Who: Who
    Call: Call
    /// Gradients flow into the parameters.
    Learn: bool
    /// The running statistics of the call's branch move.
    Keep: bool
}

/// What a loss may look at.
[<NoEquality; NoComparison>]
type Scene = {
    Progress: Progress
    Memory: Tree
    Ids: int64[]
    /// Labels by name, int64 [n].
    Labels: Map<string, Tensor>
    /// What a pass gave for a view.
    Output: string -> string -> Output
    /// All ranks' rows together, with gradient; the identity in one process.
    Gather: Tensor -> Tensor
}

/// A 0-dim tensor in float32, the mean over anchors, to be lowered.
type Loss = Scene -> Tensor

/// A view by name: where its images come from and how they are augmented at each moment of the run.
[<NoEquality; NoComparison>]
type ViewSpec = {
    Name: string
    /// <c>"image"</c>, or images that an earlier stage made.
    Source: string
    Make: Progress -> View
}

/// Makes views by raising an objective within a threat.
[<NoEquality; NoComparison>]
type Adversary = {
    /// New views, each with the view it starts from; all are raised together.
    Makes: (string * string) list
    Threat: Threat
    Ascent: Ascent
    /// Run at every iteration; eval passes over fixed views run once, before the first.
    Passes: Pass list
    /// To be raised.
    Objective: Loss
}

/// A training step as data.
[<NoEquality; NoComparison>]
type Step = {
    Views: ViewSpec list
    Adversaries: Adversary list
    Passes: Pass list
    /// The loss in the paper's notation.
    Formula: string
    Loss: Loss
    /// Numbers worth watching besides the loss.
    Measures: Scene -> (string * float) list
}

[<RequireQualifiedAccess>]
module Pass =

    /// Learns: train mode, gradients into the parameters, running statistics move.
    let train name views branch = {
        Name = name
        Views = views
        Who = Online
        Call = { Branch = branch; Mode = Train; Mixed = true }
        Learn = true
        Keep = true
    }

    /// Looks only: eval mode, no gradient into the parameters, nothing moves.
    let eval name views branch =
        let pass = train name views branch

        { pass with Call = { pass.Call with Mode = Eval }; Learn = false; Keep = false }

[<RequireQualifiedAccess>]
module Scene =

    /// The embeddings of a view in a pass, from all ranks: [n; d].
    let embedding pass view scene = scene.Gather (scene.Output pass view).Embedding

[<RequireQualifiedAccess>]
module Step =

    // Every name that is used must have been made; the nearest that was is suggested.
    let private unknown kind (known: string list) name =
        if List.contains name known then None else Some(Error.UnknownName(kind, name, known))

    /// The faults of a step: views, passes and branches that are used and not there. Empty for a sound step.
    let faults (branches: Branch list) step =
        let branchNames = branches |> List.map Branch.name
        let drawn = step.Views |> List.map _.Name

        let passes views (passes: Pass list) = [
            for pass in passes do
                yield! pass.Views |> List.choose (unknown "view" views)
                yield! Option.toList (unknown "branch" branchNames (Branch.name pass.Call.Branch))
        ]

        let made, adversaries =
            ((drawn, []), step.Adversaries)
            ||> List.fold (fun (views, errors) adversary ->
                let starts = adversary.Makes |> List.map snd |> List.choose (unknown "view" views)
                let views = views @ List.map fst adversary.Makes
                views, errors @ starts @ passes views adversary.Passes)

        adversaries @ passes made step.Passes
