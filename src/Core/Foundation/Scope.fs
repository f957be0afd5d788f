namespace AdvContrast.Core.Foundation

open System.Collections.Generic
open AdvContrast.Engine
open TorchSharp
open AdvContrast.Core

/// Who frees native memory. Inputs are borrowed; a result belongs to the caller's current dispose scope; a
/// function never returns its argument itself. Scopes belong to a thread: no <c>await</c> inside one.
[<RequireQualifiedAccess>]
module Scope =

    /// Runs the body in a scope of its own and hands the tensors named to the caller's scope; those that
    /// belong to another scope already stay where they are.
    let keeping (tensors: 'a -> Tensor seq) (body: unit -> 'a) =
        LibTorch.Load()
        use scope = torch.NewDisposeScope()
        let result = body ()

        for tensor in tensors result do
            if scope.Contains tensor then scope.MoveToOuter<Tensor> tensor |> ignore

        result

    /// Runs the body in a scope of its own and hands its one tensor to the caller's scope.
    let tensor (body: unit -> Tensor) = keeping Seq.singleton body

    /// Runs the body in a scope of its own; what it returns holds no tensors.
    let value (body: unit -> 'a) = keeping (fun _ -> Seq.empty) body

    /// Moves those of the tensors that the current scope owns to an outer one.
    let moveTo (outer: DisposeScope) (tensors: Tensor seq) =
        let current = torch.CurrentDisposeScope

        for tensor in tensors do
            if current.Contains tensor then tensor.MoveToOtherDisposeScope outer |> ignore

    /// Takes tensors out of all scopes: their owner disposes them.
    let adopt (tensors: Tensor seq) =
        for tensor in tensors do
            tensor.DetachFromDisposeScope() |> ignore

    /// Disposes the tensors of an old value that the new one no longer holds.
    let release (held: Tensor seq) (before: Tensor seq) =
        let kept = HashSet<obj>(Seq.cast<obj> held, ReferenceEqualityComparer.Instance)

        for tensor in before do
            if not (kept.Contains tensor) then tensor.Dispose()
