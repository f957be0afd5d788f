namespace AdvContrast.Core.Foundation

open System
open System.Security.Cryptography
open System.Text
open TorchSharp
open AdvContrast.Core

/// One value that outlives a step.
[<RequireQualifiedAccess; NoEquality; NoComparison>]
type Leaf =
    | Tensor of Tensor
    | Float of float
    | Int of int64

/// Named values that outlive a step: <c>"momentum/layer1.0.conv1.weight"</c>. Saving, resuming, hashing and
/// copying a run are one function each because everything it holds is one tree.
type TensorTree = Map<string, Leaf>

[<RequireQualifiedAccess>]
module TensorTree =

    /// The tensors in it.
    let tensors (tree: TensorTree) =
        tree
        |> Map.toSeq
        |> Seq.choose (fun (_, leaf) ->
            match leaf with
            | Leaf.Tensor x -> Some x
            | Leaf.Float _
            | Leaf.Int _ -> None)

    /// Named tensors as a tree.
    let ofTensors (values: Map<string, Tensor>) : TensorTree = values |> Map.map (fun _ x -> Leaf.Tensor x)

    /// The tensors of a tree under their names.
    let toTensors (tree: TensorTree) : Map<string, Tensor> =
        tree
        |> Map.toSeq
        |> Seq.choose (fun (name, leaf) ->
            match leaf with
            | Leaf.Tensor x -> Some(name, x)
            | Leaf.Float _
            | Leaf.Int _ -> None)
        |> Map.ofSeq

    /// Puts a tree under a name: <c>"a"</c> becomes <c>"name/a"</c>.
    let under (name: string) (tree: TensorTree) : TensorTree =
        tree |> Map.toSeq |> Seq.map (fun (key, leaf) -> name + "/" + key, leaf) |> Map.ofSeq

    /// The subtree below a name, without the name.
    let within (name: string) (tree: TensorTree) : TensorTree =
        let prefix = name + "/"

        tree
        |> Map.toSeq
        |> Seq.filter (fun (key, _) -> key.StartsWith(prefix, StringComparison.Ordinal))
        |> Seq.map (fun (key, leaf) -> key.Substring prefix.Length, leaf)
        |> Map.ofSeq

    /// Both trees; the second one's values where a name is in both.
    let join (first: TensorTree) (second: TensorTree) : TensorTree = Map.foldBack Map.add second first

    /// Each of its tensors as f makes it.
    let map (f: Tensor -> Tensor) (tree: TensorTree) : TensorTree =
        tree
        |> Map.map (fun _ leaf ->
            match leaf with
            | Leaf.Tensor x -> Leaf.Tensor(f x)
            | other -> other)

    /// A deep copy that the caller owns.
    let copy (tree: TensorTree) : TensorTree = tree |> map _.detach().clone()

    /// The bytes of a tensor, row-major, on the CPU.
    let bytes (x: Tensor) = Scope.value (fun () -> x.detach().cpu().contiguous().bytes.ToArray())

    // A span of bytes holds at most 2^31 of them.
    let private elementsOfPart = 1L <<< 27

    /// Calls f with the elements of a contiguous tensor on the CPU in row-major order: flat views of at most 2^27
    /// elements, so that the bytes of each fit a span. The views are valid during the call.
    let inParts (f: Tensor -> unit) (x: Tensor) =
        Scope.value (fun () ->
            let flat, count = x.flatten (), x.numel ()

            for start in 0L .. elementsOfPart .. count - 1L do
                f (flat.narrow (0L, start, min elementsOfPart (count - start))))

    /// SHA-256 over names, types, shapes and contents, in hexadecimal: equal trees have equal hashes.
    let hash (tree: TensorTree) =
        use sha = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        let text (s: string) = sha.AppendData(Encoding.UTF8.GetBytes s)

        for KeyValue(name, leaf) in tree do
            text (name + "\n")

            match leaf with
            | Leaf.Tensor x ->
                text (sprintf "%O %s\n" x.dtype (Shape.text x))
                let append (part: Tensor) = sha.AppendData part.bytes
                Scope.value (fun () -> x.detach().cpu().contiguous() |> inParts append)
            | Leaf.Float r -> text (sprintf "%s\n" (r.ToString "R"))
            | Leaf.Int i -> text (sprintf "%d\n" i)

        Convert.ToHexString(sha.GetHashAndReset()).ToLowerInvariant()
