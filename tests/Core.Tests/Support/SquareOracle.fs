/// The Square attack slow and obviously right, and scenes for it.
module Support.SquareOracle

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

// --- slow and obviously right

// p by what the schedule says, rule by rule.
let slowShare p0 rescaled queries index =
    let i = if rescaled then index * 10000 / queries else index

    if i <= 10 then p0
    elif i <= 50 then p0 / 2.0
    elif i <= 200 then p0 / 4.0
    elif i <= 500 then p0 / 8.0
    elif i <= 1000 then p0 / 16.0
    elif i <= 2000 then p0 / 32.0
    elif i <= 4000 then p0 / 64.0
    elif i <= 6000 then p0 / 128.0
    elif i <= 8000 then p0 / 256.0
    else p0 / 512.0

let scaled size (rows: float[,]) =
    let length = size (rows |> Seq.cast<float> |> Array.ofSeq)
    Array2D.map (fun v -> v / length) rows

// Rectangles painted one over another.
let slowBump norm side =
    let power, size = if norm = L1 then 4.0, norm1 else 2.0, norm2

    let hump h w =
        let canvas = Array2D.zeroCreate h w

        for k in 0 .. max (h / 2) (w / 2) do
            for i in h / 2 - k .. h / 2 + k do
                for j in w / 2 - k .. w / 2 + k do
                    if i >= 0 && i < h && j >= 0 && j < w then
                        canvas[i, j] <- canvas[i, j] + 1.0 / float (k + 1) ** power

        scaled size canvas

    let upper = side / 2
    let above = if upper = 0 then array2D [||] else hump upper side
    let below = hump (side - upper) side

    Array2D.init side side (fun i j -> if i < upper then above[i, j] else -below[i - upper, j])
    |> scaled size

// The whole attack on one sample, pixel by pixel; only the numbers drawn are the same.
let slow (how: Square) threat (classify: float[] -> float[]) (c, h, w) draw (image: float[]) y target =
    let at k i j = (k * h + i) * w + j
    let numbers purpose shape = floats (Rng.uniform (List.map int64 shape) (Rng.sub purpose draw))
    let sign u = if u < 0.5 then -1.0 else 1.0
    let norm, radius = threat.Norm, threat.Radius
    let length = Oracles.lengthOf norm
    let form turned (bump: float[,]) a b = if turned then bump[b, a] else bump[a, b]

    let held (delta: float[]) =
        match norm with
        | L1 -> Oracles.project { threat with Radius = radius * (1.0 - 1e-6) } image (plus image delta)
        | _ -> plus image (times (radius / (norm2 delta + 1e-12)) delta) |> Oracles.clip threat

    let start () =
        if norm = Linf then
            let u = numbers "start/signs" [ c; 1; w ]

            image
            |> Array.mapi (fun p v -> v + radius * sign u[p / (h * w) * w + p % w])
            |> Oracles.clip threat
        else
            let shorter = min h w
            let side = max 1 (shorter / 5)
            let margin = max 0 ((shorter - 5 * side) / 2)
            let down, across = h / side, w / side
            let turns = numbers "start/turns" [ 1; down * across ]
            let signs = numbers "start/signs" [ c; down * across ]
            let bump = slowBump norm side
            let delta = Array.zeroCreate image.Length

            for k in 0 .. c - 1 do
                for tile in 0 .. down * across - 1 do
                    for a in 0 .. side - 1 do
                        for b in 0 .. side - 1 do
                            let i = margin + tile / across * side + a
                            let j = margin + tile % across * side + b

                            if i < h && j < w then
                                delta[at k i j] <-
                                    sign signs[k * down * across + tile] * form (turns[tile] >= 0.5) bump a b

            held delta

    let propose index (best: float[]) =
        let last = min how.Queries (64 * (index / 64) + 64)
        let drawn = numbers (sprintf "proposals %d" (index / 64)) [ last - 64 * (index / 64); 5 + c ]
        let u = drawn |> Array.skip (index % 64 * (5 + c))
        let p = slowShare how.Share how.Rescaled how.Queries index
        let nearest = int (Math.Round(sqrt (p * float (h * w))))

        let side =
            if norm = Linf then
                max 1 nearest
            else
                let side = max 3 nearest
                if side % 2 = 0 then side + 1 else side

        let side = min side (min h w)

        let place number length =
            let room =
                if how.ToTheEdge then length - side + 1
                elif length = side then 1
                else length - side

            int (floor (float32 u[number] * float32 room))

        let top1, left1, top2, left2 = place 0 h, place 1 w, place 2 h, place 3 w
        let within top left i j = i >= top && i < top + side && j >= left && j < left + side
        let first, second = within top1 left1, within top2 left2
        let signs = Array.init c (fun k -> sign u[5 + k])

        if norm = Linf then
            let moved =
                best
                |> Array.mapi (fun p v ->
                    if first (p / w % h) (p % w) then image[p] + radius * signs[p / (h * w)] else v)

            Oracles.clip threat moved
        else
            let bump = slowBump norm side
            let delta = minus best image
            let fresh = Array.copy delta

            for k in 0 .. c - 1 do
                let those inside = [|
                    for i in 0 .. h - 1 do
                        for j in 0 .. w - 1 do
                            if inside i j then delta[at k i j]
                |]

                let own = length (those first)
                let inBoth = length (those (fun i j -> first i j || second i j))

                let room =
                    if norm = L1 then
                        max (radius - norm1 delta) 0.0 + float c * inBoth
                    else
                        sqrt (max (radius ** 2.0 - norm2 delta ** 2.0) 0.0 / float c + inBoth ** 2.0)

                let content =
                    Array2D.init side side (fun a b ->
                        signs[k] * form (u[4] >= 0.5) bump a b
                        + delta[at k (top1 + a) (left1 + b)] / (own + 1e-12))

                let size = length (content |> Seq.cast<float> |> Array.ofSeq) + 1e-12

                for i in 0 .. h - 1 do
                    for j in 0 .. w - 1 do
                        if first i j then fresh[at k i j] <- content[i - top1, j - left1] / size * room
                        elif second i j then fresh[at k i j] <- 0.0

            held fresh

    let mutable forwards, first, stored, least = 0L, -1L, image, infinity

    let look x =
        let z = classify x
        let solved =
            match target with
            | Some t -> Oracles.argmax z = t
            | None -> Oracles.argmax z <> y
        let loss =
            match target with
            | Some t -> Oracles.crossEntropy z t
            | None ->
                let others = z |> Array.indexed |> Array.filter (fun (k, _) -> k <> y)
                z[y] - (others |> Array.map snd |> Array.max)

        if solved then first <- forwards

        if solved || forwards > 0L && loss < least then
            stored <- x
            if forwards > 0L then least <- loss

        forwards <- forwards + 1L

    look image
    if first < 0L then look (start ())

    for index in 0 .. how.Queries - 1 do
        if first < 0L then look (propose index stored)

    let deed: Oracles.Deed = {
        Image = stored
        Success = first >= 0L
        First = first
        Forwards = forwards
        Gradients = 0L
    }

    deed

// --- scenes

let shapes = [ 1, 1, 1; 1, 2, 3; 1, 3, 7; 2, 4, 4; 3, 6, 4; 1, 9, 2; 1, 12, 12; 3, 11, 13 ]

// A small net with bends on images of a shape.
let net (source: Source) (c, h, w) classes : Classifier =
    let d = c * h * w
    let w1, w2 = matrix (source.Rows(8, d)) * (2.0 / sqrt (float d)), matrix (source.Rows(classes, 8))

    fun x ->
        Scope.tensor (fun () ->
            torch.nn.functional.linear (
                torch.nn.functional.linear(x.reshape [| x.shape[0]; -1L |], w1.``to`` x.dtype).sin(),
                w2.``to`` x.dtype
            ))

let brief = { Square.standard with Queries = 25 }

[<NoEquality; NoComparison>]
type Case = { Shape: int * int * int; How: Square; Scene: LossContext }

// Radii that leave some images whole.
let radius (source: Source) norm (c, h, w) =
    let d = float (c * h * w)

    match norm with
    | Linf -> source.Uniform(0.01, 0.15)
    | L2 -> source.Uniform(0.01, 0.1) * sqrt d
    | L1 -> source.Uniform(0.01, 0.1) * d

let case (seed: int) (count: int) =
    let source = Source seed
    let n, classes, shape = 1 + count % 5, source.Whole(2, 4), source.Among shapes
    let c, h, w = shape
    let classify = net source shape classes
    // Some pixels on the faces of the box.
    let pixels = source.Uniforms(n * c * h * w, -0.1, 1.1) |> Array.map (fun v -> min 1.0 (max 0.0 v))
    let images = tensor [ n; c; h; w ] pixels
    let y =
        guesses classify images
        |> Array.map (fun g -> if source.Whole(0, 9) = 0 then (g + 1) % classes else g)
    let norm = source.Among [ Linf; L2; L1 ]
    let ids = Array.init n (fun i -> int64 (5 * i + 2))

    {
        Shape = shape
        How = {
            Share = source.Among [ 0.05; 0.3; 0.8; 1.0 ]
            Queries = source.Whole(1, 40)
            Rescaled = source.Among [ true; false ]
            ToTheEdge = source.Among [ true; false ]
        }
        Scene = {
            Threat = Threat.create norm (radius source norm shape)
            Ascent = GradientAttack.fgsm
            Classify = classify
            Victims = victims ids images y
            Y = y
            Draw = Rng.create 3UL "evaluate" ids
        }
    }

let law name check =
    testPropertyN 40 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (case seed count)))

let run how scene = runBy (Square.attack how) scene

let margins (s: LossContext) x = floats (Margin.perSample (s.Classify x) s.Victims.Labels) |> Array.map (~-)

let lengths norm (images: Tensor) (original: Tensor) =
    Array.map2 minus (rows images) (rows original) |> Array.map (Oracles.lengthOf norm)
