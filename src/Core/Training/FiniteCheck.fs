namespace AdvContrast.Core.Training

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// Raised within a step that cannot be computed: a sentence on what is not finite, and where.
exception internal DivergedException of problem: string

/// Finds the value that made a training step diverge, and names its place.
[<RequireQualifiedAccess>]
module internal FiniteCheck =

    let private advice = "Try a lower learning rate, or float32 precision."

    // The rows [n] of a matrix for which a predicate of the rows holds.
    let private firstRow (holds: Tensor -> Tensor) (x: Tensor) =
        Scope.value (fun () ->
            (holds (x.detach().flatten 1L)).cpu().data<bool>().ToArray() |> Array.tryFindIndex id)

    let private notFinite (x: Tensor) = x.isfinite().all(1L).logical_not()
    let private zero (x: Tensor) = x.eq(0.0.ToScalar()).all 1L

    // The place of the first row of an output for which a predicate holds.
    let private place (ids: int64[]) holds what ((pass, view), x: Tensor) =
        firstRow holds x
        |> Option.map (fun row ->
            let image = if row < ids.Length then sprintf "image %d" ids[row] else sprintf "row %d" row
            sprintf "the %s of %s (view '%s', pass '%s')" what image view pass)

    /// The first row of the outputs of passes that is not finite, or the first embedding of zeros, which has no
    /// cosine similarity to others.
    ///
    /// ids: those of the batch's images, by row.
    let ofOutputs (ids: int64[]) (outputs: Map<string * string, Output>) : string option =
        let all pick what holds =
            outputs |> Map.toSeq |> Seq.tryPick (fun (key, output) -> place ids holds what (key, pick output))

        let heads =
            outputs
            |> Map.toSeq
            |> Seq.collect (fun (key, output) ->
                output.Heads |> Map.toSeq |> Seq.map (fun (name, x) -> sprintf "output '%s'" name, (key, x)))

        let broken =
            all _.Features "features" notFinite
            |> Option.orElseWith (fun () -> all _.Embedding "embedding" notFinite)
            |> Option.orElseWith (fun () ->
                heads |> Seq.tryPick (fun (what, output) -> place ids notFinite what output))
            |> Option.map (fun where -> sprintf "%s is not finite. %s" where advice)

        broken
        |> Option.orElseWith (fun () ->
            all _.Embedding "embedding" zero
            |> Option.map (fun where ->
                sprintf
                    "%s is zero, so its cosine similarity to other embeddings is undefined. The network has collapsed or is too narrow: try a wider network, a lower learning rate or another seed."
                    where))

    let private problem (tree: TensorTree) =
        tree
        |> Map.toSeq
        |> Seq.tryPick (fun (name, leaf) ->
            match leaf with
            | Leaf.Tensor x when x.is_floating_point () ->
                let bad = Scope.value (fun () -> x.isfinite().logical_not().sum().ToInt64())

                if bad = 0L then
                    None
                else
                    Some(
                        sprintf
                            "'%s' holds %d values of %d that are not finite. %s"
                            name
                            bad
                            (x.numel ())
                            advice
                    )
            | _ -> None)

    /// The first floating-point tensor of a state that is not finite, or the gradient that made it so.
    let ofTree (gradients: TensorTree) (state: TensorTree) : string option =
        // A sum is not finite where a term is not; which term is found only then.
        let isSuspect =
            Scope.value (fun () ->
                let sums =
                    TensorTree.tensors state
                    |> Seq.filter _.is_floating_point()
                    |> Seq.map (fun x -> x.sum().``to`` torch.float32)
                    |> ResizeArray

                sums.Count > 0 && not (torch.stack(sums).isfinite().all().item<bool>()))

        if isSuspect then
            problem state |> Option.map (fun p -> problem gradients |> Option.defaultValue p)
        else
            None

    /// Ends the step by DivergedException: at a place where it is known, else by a reason.
    let stop (place: string option) reason =
        raise (DivergedException(place |> Option.defaultWith (fun () -> sprintf "%s %s" reason advice)))
