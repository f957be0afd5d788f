namespace AdvContrast.Core.Methods

open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Attacks

/// Who computes a pass.
type ModelRef =
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
    Who: ModelRef
    Call: Call
    /// Gradients flow into the parameters.
    Learn: bool
    /// The running statistics of the call's branch move.
    Keep: bool
}

/// Arguments of a loss.
[<NoEquality; NoComparison>]
type LossContext = {
    Progress: Progress
    Memory: TensorTree
    Ids: int64[]
    /// Labels by name, int64 [n]: "class", or the name of labels that an earlier stage computed.
    /// UnknownNameException, or UnlabelledException for the classes of images that have none.
    Labels: string -> Tensor
    /// The output of a pass for a view. UnknownNameException.
    Output: string -> string -> Output
    /// All ranks' rows together, with gradient; the identity in one process.
    Gather: Tensor -> Tensor
}

/// A 0-dim tensor in float32, the mean over anchors, to be lowered.
type Loss = LossContext -> Tensor

/// A view by name: where its images come from and how they are augmented at each moment of the run.
[<NoEquality; NoComparison>]
type ViewSpec = {
    Name: string
    /// <c>"image"</c>, images that an earlier stage made, or a view above.
    Source: string
    Make: Progress -> View
}

/// Makes views by raising an objective within a threat.
[<NoEquality; NoComparison>]
type Adversary = {
    /// New views, each with the view it starts from; all are raised together.
    Makes: (string * string) list
    Threat: Threat
    Ascent: GradientAttack
    /// Run at every iteration, but once for all where nothing about them changes: they see no view that is
    /// raised, and keep no statistics.
    Passes: Pass list
    /// To be raised.
    Objective: Loss
    /// The gradients that the objective sends into the parameters at every iteration are added to those of the
    /// step: what codes do that forget to clear them.
    Leaks: bool
}

/// Views moved by perturbations that are carried from step to step and climb by the backward pass of the
/// step's own loss (free adversarial training; Shafahi et al. 2019). A row of the batch carries one.
[<NoEquality; NoComparison>]
type Free = {
    /// New views, each with the view that it moves.
    Makes: (string * string) list
    Threat: Threat
    /// Its rule makes the next perturbation; start, steps and restarts have no part.
    Ascent: GradientAttack
}

/// A training step as data.
[<NoEquality; NoComparison>]
type Step = {
    Views: ViewSpec list
    Free: Free option
    Adversaries: Adversary list
    Passes: Pass list
    /// The loss in the paper's notation.
    Formula: string
    Loss: Loss
    /// Numbers worth watching besides the loss.
    Measures: LossContext -> (string * float) list
    /// Gradients are taken at weights that are first moved to raise the loss: each matrix or kernel by this
    /// part of its own length along its gradient (adversarial weight perturbation; Wu et al. 2020, eq. 7 to
    /// 10). 0 is off.
    WeightStep: Schedule
}

[<RequireQualifiedAccess>]
module Pass =

    /// Learns: train mode, gradients into the parameters, running statistics move.
    let train name views branch = {
        Name = name
        Views = views
        Who = Online
        Call = { Call.create branch Train with Mixed = true }
        Learn = true
        Keep = true
    }

    /// The same without learning: no gradient into the parameters, no statistics move.
    let look pass = { pass with Learn = false; Keep = false }

    /// Looks only: eval mode, no gradient into the parameters, nothing moves.
    let eval name views branch =
        let pass = look (train name views branch)

        { pass with Call = { pass.Call with Mode = Eval } }

    /// By another network than the one in training: no gradient into its parameters; the statistics of an
    /// average move with its own batches where the pass is in train mode.
    let by who pass = { pass with Who = who; Learn = false }

/// Raised where a loss asks for a view, pass, head or labels that are not there: Error.UnknownName, with the
/// nearest name.
exception UnknownNameException of Error

[<RequireQualifiedAccess>]
module LossContext =

    /// A value by name. UnknownNameException.
    let internal find kind (values: Map<string, 'a>) name =
        match Map.tryFind name values with
        | Some value -> value
        | None -> raise (UnknownNameException(Error.UnknownName(kind, name, List.ofSeq values.Keys)))

    /// The output of a pass for a view. UnknownNameException.
    let internal output (outputs: Map<string * string, Output>) pass view =
        match Map.tryFind (pass, view) outputs with
        | Some output -> output
        | None ->
            match outputs.Keys |> Seq.filter (fst >> (=) pass) |> Seq.map snd |> List.ofSeq with
            | [] ->
                let passes = outputs.Keys |> Seq.map fst |> Seq.distinct |> List.ofSeq
                raise (UnknownNameException(Error.UnknownName("pass", pass, passes)))
            | views ->
                let kind = sprintf "view of pass '%s'" pass
                raise (UnknownNameException(Error.UnknownName(kind, view, views)))

    /// The classes of the batch's images, int64 [n]. UnlabelledException where they have none.
    let classes (scene: LossContext) = scene.Labels "class"

    /// The embeddings of a view in a pass, from all ranks: [n; d].
    let embedding pass view scene = scene.Gather (scene.Output pass view).Embedding

    /// The encoder's features of a view in a pass, from all ranks: [n; f].
    let features pass view scene = scene.Gather (scene.Output pass view).Features

    /// Another head's output of a view in a pass, from all ranks.
    let head name pass view scene = scene.Gather(find "head" (scene.Output pass view).Heads name)

    /// A number that the method carries on, 0 where there is none yet.
    let real name scene =
        match Map.tryFind name scene.Memory with
        | Some(Leaf.Float value) -> value
        | _ -> 0.0

[<RequireQualifiedAccess>]
module Step =

    /// Views, the passes over them, and a loss with its formula; no adversary.
    let create views passes formula loss = {
        Views = views
        Free = None
        Adversaries = []
        Passes = passes
        Formula = formula
        Loss = loss
        Measures = fun _ -> []
        WeightStep = Schedule.constant 0.0
    }

    /// Views of the image by name, each with its augmentation.
    let views named : ViewSpec list =
        named
        |> List.map (fun (name, view: View) -> { Name = name; Source = "image"; Make = fun _ -> view })

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

        let makes views makes = makes |> List.map snd |> List.choose (unknown "view" views)
        let free = step.Free |> Option.map _.Makes |> Option.defaultValue []

        let made, adversaries =
            ((drawn @ List.map fst free, makes drawn free), step.Adversaries)
            ||> List.fold (fun (views, errors) adversary ->
                let starts = makes views adversary.Makes
                let views = views @ List.map fst adversary.Makes
                views, errors @ starts @ passes views adversary.Passes)

        adversaries @ passes made step.Passes
