namespace AdvContrast.Core.Foundation

open System
open AdvContrast.Core

/// Checks of arguments before a native call: a wrong shape is named with the shape expected.
[<RequireQualifiedAccess>]
module Shape =

    let private show (sizes: int64 seq) = sprintf "[%s]" (String.Join("; ", sizes))

    /// The tensor's sizes as text, <c>[64; 3; 32; 32]</c>.
    let text (x: Tensor) = show x.shape

    /// Refuses a tensor whose rank is not the number of names in the pattern, as in <c>"n;c;h;w"</c>.
    let rank (pattern: string) (name: string) (x: Tensor) =
        if x.shape.Length <> pattern.Split(';').Length then
            invalidArg name (sprintf "expected shape [%s], got %s." (pattern.Replace(";", "; ")) (text x))

    /// Refuses two tensors of different shapes.
    let same (name: string) (x: Tensor) (otherName: string) (other: Tensor) =
        if x.shape <> other.shape then
            invalidArg
                name
                (sprintf
                    "%s and %s must have the same shape, got %s and %s."
                    name
                    otherName
                    (text x)
                    (text other))

    /// Refuses a number that is not finite and above zero.
    let positive (name: string) (value: float) =
        if not (Double.IsFinite value) || value <= 0.0 then
            invalidArg name (sprintf "%s must be a number above 0, got %g." name value)

    /// Refuses a number that is not finite and at least zero.
    let nonNegative (name: string) (value: float) =
        if not (Double.IsFinite value) || value < 0.0 then
            invalidArg name (sprintf "%s must be 0 or more, got %g." name value)

    /// One value a sample, shaped to broadcast over what it belongs to: [n] -> [n; 1; ...; 1].
    let perSample (like: Tensor) (values: Tensor) =
        values.view (Array.append [| values.shape[0] |] (Array.create (like.shape.Length - 1) 1L))
