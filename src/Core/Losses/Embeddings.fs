namespace AdvContrast.Core.Losses

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Embeddings of the right shape whose values no loss can use: a row that is not finite, or one of length 0.
/// An ordinary ArgumentException is a fault of the calling program; this one is a network that diverged or
/// collapsed.
[<Sealed>]
type EmbeddingException(problem: string, name: string) =
    inherit ArgumentException(problem, name)

/// The one check of what losses are given. Values are checked only where they lie on the CPU: to read one
/// from another device would make the program wait for all that the device still has to do.
[<RequireQualifiedAccess>]
module Embeddings =

    let private shape name (minimumRows: int64) (x: Tensor) =
        Shape.rank "n;d" name x

        if not (x.is_floating_point ()) then
            invalidArg name (sprintf "%s must be floating point, got %O." name x.dtype)

        if x.shape[0] < minimumRows then
            invalidArg name (sprintf "at least %d rows were expected, got %s." minimumRows (Shape.text x))

        if x.shape[1] < 1L then
            invalidArg name (sprintf "at least 1 column was expected, got %s." (Shape.text x))

    // In the precision that losses work in: lengths of half precision overflow where its values do not.
    let private lengths (x: Tensor) : float[] =
        Scope.value (fun () ->
            let x = x.detach ()
            let x = if x.element_size () < 4L then x.``to`` torch.float32 else x
            let lengths = torch.linalg.vector_norm (x, 2.0, [| 1L |])
            lengths.``to``(torch.float64).data<float>().ToArray())

    let private problem (x: Tensor) row length =
        let entries = Scope.value (fun () -> x.detach().select(0L, int64 row).isfinite().all().item<bool>())

        if not entries then "holds a number that is not finite"
        elif length > 0.0 then "is longer than its type can hold"
        else "has length 0, so no direction"

    // The lengths of the rows, all of them sound; none where the values are out of reach.
    let private values name sound (x: Tensor) =
        let lengths = if x.is_cpu () then lengths x else [||]

        match Array.tryFindIndex (sound >> not) lengths with
        | None -> lengths
        | Some row ->
            let problem = problem x row lengths[row]
            raise (EmbeddingException(sprintf "row %d of %d %s." row x.shape[0] problem, name))

    let private directed length = length > 0.0 && Double.IsFinite length

    /// Refuses what is no floating-point matrix [n; d] of at least `minimumRows` rows and one column
    /// (ArgumentException), or has a row that is not finite (EmbeddingException; the first is named).
    let finite (name: string) (minimumRows: int64) (x: Tensor) =
        shape name minimumRows x
        values name Double.IsFinite x |> ignore

    /// Refuses what `finite` refuses, and rows of length 0 (EmbeddingException): a cosine needs directions.
    let check (name: string) (minimumRows: int64) (x: Tensor) =
        shape name minimumRows x
        values name directed x |> ignore

    /// Refuses what `check` refuses, for each of some named embeddings that must be of one shape.
    let together (minimumRows: int64) (named: (string * Tensor) list) =
        let first, like = List.head named

        for name, x in named do
            shape name minimumRows x
            Shape.same name x first like

        for name, x in named do
            values name directed x |> ignore

    /// Refuses what `check` refuses, and rows whose length is more than a hundredth away from 1.
    let unit (name: string) (minimumRows: int64) (x: Tensor) =
        shape name minimumRows x

        values name directed x
        |> Array.tryFindIndex (fun length -> abs (length - 1.0) > 0.01)
        |> Option.iter (fun row ->
            invalidArg name (sprintf "rows of length 1 were expected, row %d is longer or shorter." row))
