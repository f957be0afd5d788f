namespace AdvContrast.Core.Runs

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// The shapes of a network's tensors.
[<RequireQualifiedAccess>]
module NetworkShapes =

    // Networks up to this width are made in order to see their shapes: a wide ResNet of 16 lacks a shortcut.
    let private narrow = 16L

    /// Names and shapes of a network's parameters and buffers. A wide network is not made for that: every size is a
    /// constant plus a multiple of the width, so that two narrow networks tell it.
    let ofNetwork (build: int64 -> Network) (width: int64) =
        let shapes width =
            Scope.value (fun () ->
                let parameters, buffers = (build width).Init(Rng.create 0UL "shapes" [||])
                let of' = Map.map (fun _ (x: Tensor) -> x.shape)
                of' parameters, of' buffers)

        let at (one: Map<string, int64[]>) (two: Map<string, int64[]>) =
            one
            |> Map.map (fun name shape -> Array.map2 (fun a b -> a + (b - a) * (width - 1L)) shape two[name])

        if width <= narrow then
            shapes width
        else
            let (parameters1, buffers1), (parameters2, buffers2) = shapes 1L, shapes 2L
            at parameters1 parameters2, at buffers1 buffers2

    /// The names without branches.
    let stems (parameters: Map<string, 'a>, buffers: Map<string, 'a>) =
        Seq.append (Map.toSeq parameters) (Map.toSeq buffers)
        |> Seq.map (fun (name, x) -> Branch.stem name, x)
        |> Map.ofSeq
