namespace AdvContrast.Core.Methods

open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Attacks

/// A view as the network in training saw it: the pass that it was in, and the branch of that pass.
type Side = { View: string; Pass: string; Branch: Branch }

/// How a method compares two views of an image. It is what an adversary needs to know of it to add a third.
[<NoEquality; NoComparison>]
type Comparison = {
    /// The loss between two views; where it is not symmetric the second is the one that moves.
    Between: Side -> Side -> Loss
    /// The passes that it needs besides those of the network in training.
    Beside: Side -> Side -> Pass list
    /// Where an adversary starts: from the view itself, unless the loss is at its lowest there.
    Start: Start
}

[<RequireQualifiedAccess>]
module Comparison =

    /// A view in a pass.
    let side view pass branch = { View = view; Pass = pass; Branch = branch }

    /// A loss between two embeddings, computed by the network in training alone.
    let ofEmbeddings (loss: Tensor -> Tensor -> Tensor) = {
        Between =
            fun first second scene ->
                loss
                    (LossContext.embedding first.Pass first.View scene)
                    (LossContext.embedding second.Pass second.View scene)
        Beside = fun _ _ -> []
        Start = AtInput
    }

    // The pass of an average network over a side.
    let private targetPass side = side.View + "-target"

    /// That pass: in train mode, with the average's own statistics.
    let target average side =
        Pass.train (targetPass side) [ side.View ] side.Branch |> Pass.by (Average average)

    /// Its output.
    let targetEmbedding side = LossContext.embedding (targetPass side) side.View
