/// Images that views are shown, and draws for them.
module Support.TestImages

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let place n = Rng.create 11UL "view" (Array.init n (fun i -> int64 (7 * i + 3)))
let row (i: int) (x: Tensor) = x.narrow (0L, int64 i, 1L)

// The pixels of one image [c; h; w] by their place.
let pixel (values: float[]) h w ch r c = values[(ch * h + r) * w + c]

let images (source: Source) n c size = single (noise source [ n; c; size; size ])

let evenly low high (values: float[]) =
    within low high values "range"
    let shares = values |> Array.map (fun v -> (v - low) / (high - low))
    Expect.isLessThan (distanceFromUniform shares) (1.95 / sqrt (float values.Length)) "evenly over the range"
