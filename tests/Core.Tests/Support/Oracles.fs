/// Slow and obviously right: what several rooms are compared with.
module Support.Oracles

open System
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open Support.Arrays

/// The length of a vector in a norm.
let lengthOf norm (d: float[]) =
    match norm with
    | Linf -> normInf d
    | L2 -> norm2 d
    | L1 -> norm1 d

/// The point clipped to the box.
let clip threat (x: float[]) =
    match threat.Box with
    | Some(low, high) -> x |> Array.map (fun v -> min high (max low v))
    | None -> x

// Shrinks every magnitude by one lambda, found by bisection.
let private ontoL1 threat (origin: float[]) (point: float[]) =
    let v = minus point origin

    let room =
        match threat.Box with
        | Some(low, high) -> Array.map2 (fun d x -> if d > 0.0 then high - x else x - low) v origin
        | None -> Array.map abs v

    let shrunk lambda = Array.map2 (fun d r -> float (sign d) * min r (max 0.0 (abs d - lambda))) v room

    let mutable low, high = 0.0, normInf v

    if norm1 (shrunk 0.0) > threat.Radius then
        for _ in 1..200 do
            let middle = (low + high) / 2.0
            if norm1 (shrunk middle) > threat.Radius then low <- middle else high <- middle

        plus origin (shrunk high)
    else
        plus origin (shrunk 0.0)

/// A point brought back to ball and box about an image.
let project threat (origin: float[]) (point: float[]) =
    match threat.Norm with
    | Linf ->
        Array.map2 (fun x p -> max (x - threat.Radius) (min (x + threat.Radius) p)) origin point
        |> clip threat
    | L2 ->
        let v = minus point origin
        plus origin (times (min 1.0 (threat.Radius / max 1e-12 (norm2 v))) v) |> clip threat
    | L1 -> ontoL1 threat origin point

/// The direction of length 1 along which a linear function rises most.
let steepest norm (gradient: float[]) =
    match norm with
    | Linf -> gradient |> Array.map (fun g -> float (sign g))
    | L2 -> times (1.0 / max 1e-12 (norm2 gradient)) gradient
    | L1 ->
        let largest = gradient |> Array.map abs |> Array.max
        let at = gradient |> Array.findIndex (fun g -> abs g = largest)
        gradient |> Array.mapi (fun i g -> if i = at then float (sign g) else 0.0)

/// NT-Xent as its formula reads.
let ntXent t (view1: float[][]) (view2: float[][]) =
    let z = Array.append view1 view2
    let n = z.Length
    let partner i = (i + view1.Length) % n
    let s i k = cosine z[i] z[k] / t

    Array.init n (fun i ->
        logSumExp [|
            for k in 0 .. n - 1 do
                if k <> i then s i k
        |]
        - s i (partner i))
    |> mean

let softmax (z: float[]) = z |> Array.map (fun v -> exp (v - logSumExp z))

/// Cross-entropy of one sample's logits.
let crossEntropy (z: float[]) y = logSumExp z - z[y]

/// The index of the largest.
let argmax (z: float[]) = Array.findIndex ((=) (Array.max z)) z

/// A linear classifier: a row of weights and an offset for each class.
type Linear = {
    Weights: float[][]
    Offsets: float[]
} with

    member m.Logits x = Array.map2 (fun w b -> dot w x + b) m.Weights m.Offsets

    /// The slope of cross-entropy along each pixel.
    member m.Slope x y =
        let p = softmax (m.Logits x)
        let pull = p |> Array.mapi (fun k v -> if k = y then v - 1.0 else v)
        Array.init (Array.length x) (fun i ->
            Array.fold2 (fun sum w c -> sum + c * Array.get w i) 0.0 m.Weights pull)

/// What an attack should have done to one sample.
type Deed = { Image: float[]; Success: bool; First: int64; Forwards: int64; Gradients: int64 }

/// Gradient ascent on cross-entropy against one sample, restart after restart, as an evaluation: every point
/// is evaluated, and the first success ends it. stride: in radii.
let attack
    threat
    stride
    steps
    (starts: float[] list)
    (model: Linear)
    (origin: float[])
    y
    (target: int option)
    =
    let solved x =
        let guess = argmax (model.Logits x)
        match target with
        | Some t -> guess = t
        | None -> guess <> y

    let loss x =
        match target with
        | Some t -> -(crossEntropy (model.Logits x) t)
        | None -> crossEntropy (model.Logits x) y

    let slope x =
        match target with
        | Some t -> times -1.0 (model.Slope x t)
        | None -> model.Slope x y

    let mutable forwards, gradients, first = 0L, 0L, -1L
    let mutable image, best = origin, -infinity

    let look x =
        if solved x then
            first <- forwards
            image <- x
        elif forwards > 0L && loss x > best then
            best <- loss x
            image <- x

        forwards <- forwards + 1L

    look origin

    for start in starts do
        let mutable x = start

        for step in 0..steps do
            if first < 0L then
                look x
                if step < steps then gradients <- gradients + 1L
                let direction = steepest threat.Norm (slope x)
                x <- project threat origin (plus x (times (stride * threat.Radius) direction))

    { Image = image; Success = first >= 0L; First = first; Forwards = forwards; Gradients = gradients }
