namespace AdvContrast.Core

open System
open TorchSharp

/// Embeddings of the right shape whose values no loss can use: a row that is not finite, or one of length 0.
/// An ordinary ArgumentException is a fault of the calling program; this one is a network that diverged or
/// collapsed.
[<Sealed>]
type EmbeddingException(problem: string, name: string) =
    inherit ArgumentException(problem, name)

/// The one check of what losses are given.
[<RequireQualifiedAccess>]
module Embeddings =

    // Lengths in the precision that losses work in: those of half precision overflow where its values do not.
    let private lengths (x: Tensor) : float[] =
        Scope.value (fun () ->
            let x = x.detach ()
            let x = if x.element_size () < 4L then x.``to`` torch.float32 else x
            let lengths = torch.linalg.vector_norm (x, 2.0, [| 1L |])
            lengths.``to``(torch.float64).data<float>().ToArray())

    let private refuse name (x: Tensor) row =
        let entries = Scope.value (fun () -> x.detach().select(0L, int64 row).isfinite().all().item<bool>())

        let what =
            if not entries then "holds a number that is not finite"
            else if (lengths x)[row] > 0.0 then "is longer than its type can hold"
            else "has length 0, so no direction"

        let message = sprintf "finite rows with a direction were expected: row %d of %s %s." row name what
        raise (EmbeddingException(message, name))

    /// Refuses embeddings [n; d] that are no floating-point matrix of at least so many rows and a column
    /// (ArgumentException), that hold a number which is not finite, or a row of length 0 (EmbeddingException;
    /// it names the first such row).
    ///
    /// Values are looked at only where they lie on the CPU: to read one from another device would make the
    /// program wait for all that the device still has to do.
    let check (name: string) (minimumRows: int64) (x: Tensor) =
        Shape.rank "n;d" name x

        if not (x.is_floating_point ()) then
            invalidArg name (sprintf "%s must be floating point, got %O." name x.dtype)

        if x.shape[0] < minimumRows then
            invalidArg name (sprintf "at least %d rows were expected, got %s." minimumRows (Shape.text x))

        if x.shape[1] < 1L then
            invalidArg name (sprintf "at least 1 column was expected, got %s." (Shape.text x))

        if x.is_cpu () then
            lengths x
            |> Array.tryFindIndex (fun length -> not (length > 0.0 && Double.IsFinite length))
            |> Option.iter (refuse name x)
