/// Plain arrays of .NET: what the tests reckon with, and how they become tensors and come back.
module Support.Arrays

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Numbers that depend on a seed alone.
type Source(seed: int) =
    let random = Random seed
    member _.Whole(low, high) = random.Next(low, high + 1)
    member _.Uniform(low, high) = low + (high - low) * random.NextDouble()
    /// One of some values.
    member s.Among(options: 'a list) = options[s.Whole(0, options.Length - 1)]

    member s.Uniforms(n, low, high) = Array.init n (fun _ -> s.Uniform(low, high))

    member _.Normal() =
        sqrt (-2.0 * log (1.0 - random.NextDouble())) * cos (2.0 * Math.PI * random.NextDouble())

    member s.Normals n = Array.init n (fun _ -> s.Normal())

    /// n rows of d normal numbers.
    member s.Rows(n, d) = Array.init n (fun _ -> s.Normals d)

    /// The numbers 0 .. n-1 in some order.
    member _.Order n =
        let order = Array.init n id
        random.Shuffle order
        order

// --- to tensors and back

/// A float64 tensor.
let tensor (shape: int list) (values: float[]) : Tensor =
    Scope.tensor (fun () -> torch.tensor(values).reshape(shape |> List.map int64 |> Array.ofList))

/// Rows as a float64 matrix.
let matrix (rows: float[][]) = tensor [ rows.Length; rows[0].Length ] (Array.concat rows)

/// The same values in single precision.
let single (x: Tensor) = x.``to`` torch.float32

let private read<'a when 'a: unmanaged and 'a: (new: unit -> 'a) and 'a: struct and 'a :> ValueType>
    (dtype: torch.ScalarType)
    (x: Tensor)
    : 'a[] =
    Scope.value (fun () ->
        use values = x.detach().cpu().``to``(dtype).contiguous().data<'a>()
        values.ToArray())

/// All values, row-major.
let floats (x: Tensor) = read<float> torch.float64 x
let wholes (x: Tensor) = read<int64> torch.int64 x
let truths (x: Tensor) = read<int64> torch.int64 x |> Array.map ((<>) 0L)

/// The values of each sample: [n; ...] as n arrays.
let rows (x: Tensor) =
    let n = int x.shape[0]
    if n = 0 then [||] else floats x |> Array.chunkBySize (max 1 (int (x.numel ()) / n))

/// The one value of a tensor.
let number (x: Tensor) = (floats x)[0]

// --- sums

let dot (a: float[]) (b: float[]) = Array.fold2 (fun sum x y -> sum + x * y) 0.0 a b
let norm2 a = sqrt (dot a a)
let norm1 (a: float[]) = Array.sumBy abs a
let normInf (a: float[]) = a |> Array.map abs |> Array.max
let cosine a b = dot a b / (norm2 a * norm2 b)
let minus (a: float[]) (b: float[]) = Array.map2 (-) a b
let plus (a: float[]) (b: float[]) = Array.map2 (+) a b
let times (factor: float) (a: float[]) = Array.map ((*) factor) a

/// log sum exp of some numbers.
let logSumExp (values: float[]) =
    let top = Array.max values
    top + log (values |> Array.sumBy (fun v -> exp (v - top)))

let mean (values: float[]) = Array.average values

let variance values =
    let m = mean values
    values |> Array.averageBy (fun v -> (v - m) ** 2.0)

/// Kolmogorov and Smirnov's distance between the distribution of numbers and the uniform one on [0, 1].
let distanceFromUniform (values: float[]) =
    let n = float values.Length

    Array.sort values
    |> Array.mapi (fun i v -> max (abs (v - float i / n)) (abs (v - float (i + 1) / n)))
    |> Array.max

/// An orthogonal matrix of d rows (Gram and Schmidt).
let rotation (source: Source) d =
    (source.Rows(d, d), [||])
    ||> Array.foldBack (fun row basis ->
        let rest = basis |> Array.fold (fun rest b -> minus rest (times (dot rest b) b)) row
        Array.append basis [| times (1.0 / norm2 rest) rest |])

/// Rows times a matrix, given by its rows.
let multiply (a: float[][]) (b: float[][]) =
    a
    |> Array.map (fun row ->
        Array.init b[0].Length (fun j -> row |> Array.mapi (fun k v -> v * b[k][j]) |> Array.sum))

/// The slope of a function along each coordinate, by central differences.
let slopes step (f: float[] -> float) (at: float[]) =
    let moved i by = at |> Array.mapi (fun j v -> if i = j then v + by else v)
    Array.init at.Length (fun i -> (f (moved i step) - f (moved i -step)) / (2.0 * step))
