namespace AdvContrast.Core.Foundation

open System
open System.IO
open TorchSharp
open AdvContrast.Core

/// A tensor in a file of weights that has not been read yet.
[<NoEquality; NoComparison>]
type StoredTensor = {
    Shape: int64[]
    /// The element type, as the file names it.
    Type: string
    /// The same in libtorch; None for a type that is not read.
    DType: torch.ScalarType option
    /// Reads the values: a contiguous tensor on the CPU in the caller's scope. Valid while the file is open.
    /// InvalidDataException where the file does not have them.
    Read: unit -> Tensor
}

[<RequireQualifiedAccess>]
module StoredTensor =

    /// A tensor that is in memory already; reading copies it.
    let ofTensor (x: Tensor) : StoredTensor = {
        Shape = x.shape
        Type = string x.dtype
        DType = Some x.dtype
        Read = fun () -> x.detach().clone()
    }

    /// The number of elements of a shape. InvalidDataException where a size is negative or the product is beyond
    /// 64 bits.
    let count (shape: int64[]) : int64 =
        if Array.exists (fun size -> size < 0L) shape then
            raise (InvalidDataException "it has a negative size")

        // A size of zero makes the product zero, whatever the others are.
        if Array.contains 0L shape then 0L else Array.fold Checked.(*) 1L shape

    /// The next bytes of a stream. EndOfStreamException where it has fewer.
    let bytes (count: int64) (stream: Stream) : byte[] =
        if count < 0L || count > stream.Length - stream.Position then raise (EndOfStreamException())

        let bytes: byte[] = Array.zeroCreate (int count)
        stream.ReadExactly(bytes, 0, bytes.Length)
        bytes

    /// A new tensor with the values at the stream's position, in the machine's byte order.
    let fromStream (dtype: torch.ScalarType) (shape: int64[]) (stream: Stream) : Tensor =
        let x = torch.empty (shape, Nullable dtype)
        x |> TensorTree.inParts (fun part -> stream.ReadExactly part.bytes)
        x

    /// Runs a reader of a file of weights. What it or the file system finds wrong becomes an error with the path.
    let guard (path: string) (read: unit -> Result<'a, Error>) : Result<'a, Error> =
        try
            read ()
        with
        | :? FileNotFoundException
        | :? DirectoryNotFoundException ->
            Error(Error.Missing("A checkpoint", path, "Give the folder of a run, or a file of weights."))
        | :? EndOfStreamException -> Error(Error.Damaged(path, "it was cut short."))
        | :? OverflowException -> Error(Error.Damaged(path, "a size in it is beyond 64 bits."))
        | :? InvalidDataException
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.Damaged(path, e.Message))
