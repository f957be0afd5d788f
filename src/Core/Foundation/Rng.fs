namespace AdvContrast.Core.Foundation

open System
open TorchSharp

/// A place in the space of all random numbers. What is drawn there depends on nothing but these fields (and,
/// for each sample, on its own id alone), so batch splits, resumption and the order of work cannot change it,
/// and there is no generator state to keep.
[<NoComparison>]
type Rng = {
    /// The run's seed.
    Seed: uint64
    /// What the numbers are for, <c>"view/v1"</c>: two purposes never share numbers.
    Purpose: string
    Epoch: int
    Step: int64
    /// One id a sample, from 0 to 2^48 - 1.
    Ids: int64[]
}

/// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), the sample's id and a position as the
/// counter, and everything else hashed into the key.
[<RequireQualifiedAccess>]
module Rng =

    /// The start of all draws of a run: epoch 0, step 0.
    let create seed purpose ids = { Seed = seed; Purpose = purpose; Epoch = 0; Step = 0L; Ids = ids }

    /// The same place for a narrower purpose.
    let sub purpose draw = { draw with Purpose = draw.Purpose + "/" + purpose }

    /// Draws for k copies of every sample, copy after copy; copy 0 meets what the sample alone meets.
    let copies k draw = {
        draw with
            Ids =
                Array.init k (fun copy -> draw.Ids |> Array.map (fun id -> id + (int64 copy <<< 48)))
                |> Array.concat
    }

    /// The draws of those samples of a batch that stand in some rows.
    let pick (rows: int64[]) (draw: Rng) = {
        draw with
            Ids = rows |> Array.map (fun row -> draw.Ids[int row])
    }

    /// Draws for a single stream that belongs to no sample.
    let alone draw = { draw with Ids = [| 0L |] }

    // SplitMix64's finaliser (Steele et al. 2014): every input bit moves every output bit.
    let private mix (z: uint64) =
        let z = (z ^^^ (z >>> 30)) * 0xBF58476D1CE4E5B9UL
        let z = (z ^^^ (z >>> 27)) * 0x94D049BB133111EBUL
        z ^^^ (z >>> 31)

    /// The 64-bit key of a place: a hash of seed, purpose, epoch and step.
    let key draw =
        let absorb hash (value: uint64) = mix (hash * 0x9E3779B97F4A7C15UL + value + 1UL)
        let named = draw.Purpose |> Seq.fold (fun hash c -> absorb hash (uint64 c)) (mix draw.Seed)
        absorb (absorb named (uint64 draw.Epoch)) (uint64 draw.Step)

    // Four 32-bit words at one position of one sample's stream, handed to a continuation to stay on the
    // stack.
    let inline private block (key: uint64) (id: int64) (position: int64) ([<InlineIfLambda>] take) =
        let mutable c0 = uint32 id
        let mutable c1 = uint32 (uint64 id >>> 32)
        let mutable c2 = uint32 position
        let mutable c3 = uint32 (uint64 position >>> 32)
        let mutable k0 = uint32 key
        let mutable k1 = uint32 (key >>> 32)

        for _ in 1..10 do
            let p0 = uint64 c0 * 0xD2511F53UL
            let p1 = uint64 c2 * 0xCD9E8D57UL
            c0 <- uint32 (p1 >>> 32) ^^^ c1 ^^^ k0
            c1 <- uint32 p1
            c2 <- uint32 (p0 >>> 32) ^^^ c3 ^^^ k1
            c3 <- uint32 p0
            k0 <- k0 + 0x9E3779B9u
            k1 <- k1 + 0xBB67AE85u

        take c0 c1 c2 c3

    /// The first four 32-bit words of a sample's stream: the generator itself, for tests against published
    /// vectors.
    let words key id position = block key id position (fun a b c d -> [| a; b; c; d |])

    let private unit32 (word: uint32) = float32 (word >>> 8) * (1.0f / 16777216.0f)

    // Fills each sample's row four numbers at a time.
    let private fill width draw (number: uint32 -> uint32 -> struct (float32 * float32)) =
        let key = key draw
        let values = Array.zeroCreate<float32>(draw.Ids.Length * width)

        for row in 0 .. draw.Ids.Length - 1 do
            let start = row * width

            for position in 0 .. (width + 3) / 4 - 1 do
                block key draw.Ids[row] (int64 position) (fun a b c d ->
                    let struct (v0, v1) = number a b
                    let struct (v2, v3) = number c d
                    let at = 4 * position
                    values[start + at] <- v0
                    if at + 1 < width then values[start + at + 1] <- v1
                    if at + 2 < width then values[start + at + 2] <- v2
                    if at + 3 < width then values[start + at + 3] <- v3)

        values

    let private pairOfUniforms a b = struct (unit32 a, unit32 b)

    // Box and Muller (1958); 1 - u keeps the logarithm finite.
    let private pairOfNormals a b =
        let radius = sqrt (-2.0 * log (1.0 - float (unit32 a)))
        let angle = 2.0 * Math.PI * float (unit32 b)
        struct (float32 (radius * cos angle), float32 (radius * sin angle))

    let private tensor number (shape: int64 list) draw =
        let width = int (List.fold (*) 1L shape)
        Scope.tensor (fun () ->
            torch.tensor(fill width draw number).reshape(Array.ofList (int64 draw.Ids.Length :: shape)))

    /// Uniform numbers in [0, 1), float32 on the CPU, [n; shape...].
    let uniform shape draw = tensor pairOfUniforms shape draw

    /// Standard normal numbers, float32 on the CPU, [n; shape...].
    let normal shape draw = tensor pairOfNormals shape draw

    /// One uniform number in [0, 1) for each sample, as .NET floats.
    let numbers draw = fill 1 draw pairOfUniforms |> Array.map float

    /// A permutation of 0 .. n-1, the same for every batch of the place (ids have no effect).
    let permutation n draw =
        let key = key draw
        let order = Array.init n id

        for i in n - 1 .. -1 .. 1 do
            // 64 random bits over at most 2^31 values: the bias of the remainder is below 2^-33.
            let bits = block key 0L (int64 i) (fun a b _ _ -> (uint64 a <<< 32) ||| uint64 b)
            let j = int (bits % uint64 (i + 1))
            let swapped = order[i]
            order[i] <- order[j]
            order[j] <- swapped

        order
