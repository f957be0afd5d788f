/// The way to a border of a linear function within the box, in plain arrays.
module Support.HyperplaneOracle

open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open Support.Arrays
open Support.Oracles

/// The length in the dual norm: how much a unit's move can gain.
let dualOf norm (slope: float[]) =
    match norm with
    | Linf -> norm1 slope
    | L2 -> norm2 slope
    | L1 -> normInf slope

let private useful w = abs w >= 1e-8

/// How far each pixel can go in the direction that brings a function of this slope and value towards 0.
let roomOf box (slope: float[]) value (x: float[]) =
    Array.map2
        (fun w v ->
            match box with
            | _ when not (useful w) -> 0.0
            | None -> infinity
            | Some(low, high) -> if w * value < 0.0 then high - v else v - low)
        slope
        x

// Whether no point of the box reaches the border.
let unreachable box slope value x =
    let gain w room = if room = 0.0 then 0.0 else abs w * room
    Array.map2 gain slope (roomOf box slope value x) |> Array.sum <= abs value

/// The smallest move to the border, by bisection (Linf, L2) or pixel by pixel (L1).
let slowMove norm box (slope: float[]) (value: float) (x: float[]) =
    let room = roomOf box slope value x
    let gained moved = Array.map2 (fun w m -> abs w * m) slope moved |> Array.sum

    let sized =
        if unreachable box slope value x then
            room
        else
            match norm with
            | L1 ->
                let mutable missing = abs value
                let moved = Array.map (fun _ -> 0.0) x

                // Of pixels alike the first goes first: a stable order.
                for i in List.init x.Length id |> List.sortBy (fun i -> -(abs slope[i])) do
                    if missing > 0.0 && useful slope[i] then
                        moved[i] <- min room[i] (missing / abs slope[i])
                        missing <- missing - moved[i] * abs slope[i]

                moved
            | _ ->
                let at t =
                    let speed w = if norm = Linf then 1.0 else abs w
                    Array.map2 (fun w r -> if useful w then min r (t * speed w) else 0.0) slope room

                let mutable low, high = 0.0, 1.0

                while gained (at high) < abs value do
                    high <- 2.0 * high

                for _ in 1..200 do
                    let middle = 0.5 * (low + high)
                    if gained (at middle) < abs value then low <- middle else high <- middle

                at high

    Array.map2 (fun w m -> -(float (sign w)) * float (sign value) * m) slope sized

/// How far the borders of a linear model are within the box, as far as they can be reached.
let borders norm box (model: Linear) x =
    let z = model.Logits x
    let y = argmax z

    [|
        for k in 0 .. z.Length - 1 do
            if k <> y then
                let slope, value = minus model.Weights[k] model.Weights[y], z[k] - z[y]

                if not (unreachable box slope value x) then lengthOf norm (slowMove norm box slope value x)
    |]

/// One run of FAB against one sample of a linear model: the nearest image found, and the look that found the
/// first (the first step's are 0 and 1), or -1.
let slowRun (how: Fab) threat (model: Linear) (x: float[]) y (rivals: int[]) =
    let mutable now, nearest, image, first = x, infinity, x, -1L

    for step in 0 .. how.Steps - 1 do
        let z = model.Logits now
        let slope k = minus model.Weights[k] model.Weights[y]
        let k = rivals |> Array.minBy (fun k -> abs (z[k] - z[y]) / dualOf threat.Norm (slope k))
        let value = z[k] - z[y]
        let atOriginal = value + dot (slope k) (minus x now)
        let here = slowMove threat.Norm threat.Box (slope k) value now
        let there = slowMove threat.Norm threat.Box (slope k) atOriginal x
        let length move = max 1e-8 (lengthOf threat.Norm move)
        let lean = min how.Lean (length here / (length here + length there))
        let ahead from move = plus from (times how.Overshoot move)
        let next = plus (times (1.0 - lean) (ahead now here)) (times lean (ahead x there)) |> clip threat

        if argmax (model.Logits next) <> y then
            if first < 0L then first <- int64 (2 * step + 1)
            let distance = lengthOf threat.Norm (minus next x)

            if distance < nearest then
                nearest <- distance
                image <- next

            now <- plus x (times how.Backward (minus next x))
        else
            now <- next

    image, first
