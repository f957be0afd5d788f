namespace AdvContrast.Core

/// What a method carries from step to step besides its networks: a queue, running means.
[<NoEquality; NoComparison>]
type Memory = { Init: uint64 -> Tree; After: Scene -> Tree }

/// An exponential moving average of the network in training.
[<NoEquality; NoComparison>]
type Average = { Name: string; Decay: Schedule; CopiesBuffers: bool }

/// Gradients of any step at any parameters on chosen samples: what a coreset rule needs to score batches.
[<NoEquality; NoComparison>]
type Probe = {
    Parameters: Parameters
    HeldOut: int64[]
    Gradient: Step -> Parameters -> int64[] -> Parameters
}

/// Which batches of an epoch are trained on.
[<NoEquality; NoComparison>]
type Sampling =
    | Everything
    | Subset of due: (Progress -> bool) * choose: (Probe -> Draw -> int64[][] -> int[])

/// How a method is trained, as published.
[<NoEquality; NoComparison>]
type Recipe = {
    Optimizer: Transform
    /// Images a step.
    Batch: int
    Epochs: int
    Dataset: string
    Network: string
    /// Which parameters move, by name.
    Trains: string -> bool
}

/// A published method: a step with everything around it.
[<NoEquality; NoComparison>]
type Method = {
    Name: string
    /// One line for lists.
    Summary: string
    Citation: string
    /// Published quirks switched on, and why.
    Quirks: Map<string, string>
    /// What earlier stages must bring: "teacher", "pseudo-labels".
    Needs: string list
    Branches: Branch list
    Head: Named<Network -> Network>
    Step: Step
    Averages: Average list
    Memory: Memory
    Sampling: Sampling
    Recipe: Recipe
    /// What evaluation takes.
    Deploy: Who * Branch
}

[<RequireQualifiedAccess>]
module Memory =

    /// Nothing is carried.
    let none: Memory = {
        Init = fun _ -> Map.empty
        After = fun scene -> scene.Memory
    }

[<RequireQualifiedAccess>]
module Method =

    /// The same method against another threat. Steps are counted in radii, so they scale along.
    let withThreat threat method =
        let adversaries = method.Step.Adversaries |> List.map (fun a -> { a with Threat = threat })

        { method with Step = { method.Step with Adversaries = adversaries } }

    /// The same method with other views: every view of the image by this augmentation.
    let withView (view: View) method =
        let views = method.Step.Views |> List.map (fun spec -> { spec with Make = fun _ -> view })
        { method with Step = { method.Step with Views = views } }

    /// The full composition as text.
    let card method =
        let line (name: string) text = sprintf "  %-12s %s" (name + ":") text
        let start = Progress.start 1 1

        let pass (p: Pass) =
            sprintf
                "%s <- %s (%s, %s mode%s)"
                p.Name
                (String.concat ", " p.Views)
                (Branch.name p.Call.Branch)
                (if p.Call.Mode = Train then "train" else "eval")
                (if p.Learn then ", learns" else "")

        [
            sprintf "%s: %s" method.Name method.Summary
            line "citation" method.Citation
            line "loss" method.Step.Formula

            for v in method.Step.Views do
                line "view" (sprintf "%s = %s" v.Name (v.Make start).Text)

            for a in method.Step.Adversaries do
                let made = a.Makes |> List.map (fun (made, from) -> sprintf "%s from %s" made from)
                line
                    "adversary"
                    (sprintf "%s; %s in %s" (String.concat ", " made) a.Ascent.Text (Threat.label a.Threat))

                for p in a.Passes do
                    line "  raises" (pass p)

            for p in method.Step.Passes do
                line "pass" (pass p)

            line "head" method.Head.Text
            line "branches" (method.Branches |> List.map Branch.name |> String.concat ", ")
            line "optimiser" method.Recipe.Optimizer.Text
            line
                "recipe"
                (sprintf
                    "%s on %s, %d images a step, %d epochs"
                    method.Recipe.Network
                    method.Recipe.Dataset
                    method.Recipe.Batch
                    method.Recipe.Epochs)
            line "deploys" (sprintf "branch %s" (Branch.name (snd method.Deploy)))

            for KeyValue(quirk, why) in method.Quirks do
                line "quirk" (sprintf "%s (%s)" quirk why)
        ]
        |> String.concat "\n"
