/// One run of Carlini and Wagner's L2 attack slow and obviously right, and models whose borders are known.
module Support.CarliniWagnerOracle

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

// One run against one sample of a linear model, Adam and all, in plain arrays.
let slow
    (how: CarliniWagner)
    threat
    (model: Oracles.Linear)
    (x: float[])
    y
    (target: int option)
    c
    : Oracles.Deed =
    let pixel, number, slope =
        match threat.Box with
        | Some(low, high) ->
            let centre, half = 0.5 * (low + high), 0.5 * (high - low)
            (fun w -> centre + half * tanh w),
            (fun v -> Math.Atanh(0.999999 * (v - centre) / half)),
            (fun w -> half * (1.0 - tanh w ** 2.0))
        | None -> id, id, (fun _ -> 1.0)

    let start = Array.map number x
    let begun = Array.map pixel start
    let every = max 1 ((how.Steps + 9) / 10)
    let label, sign =
        match target with
        | None -> y, 1.0
        | Some t -> t, -1.0
    let mutable delta, m, v = (let zeros = Array.map (fun _ -> 0.0) x in zeros, zeros, zeros)
    let mutable before, nearest, image, first = infinity, infinity, x, -1L
    let mutable k, gradients, goesOn = 0, 0L, true

    while goesOn && k < how.Steps do
        let w = plus start delta
        let now = Array.map pixel w
        let z = model.Logits now
        let other = seq { 0 .. z.Length - 1 } |> Seq.filter ((<>) label) |> Seq.maxBy (Array.get z)
        let rise = sign * (z[other] - z[label])
        let moved = minus now begun
        let value = dot moved moved + c * max 0.0 (how.Confidence - rise)
        let looks = k % every = 0
        goesOn <- not (how.Abort && looks && value > 0.9999 * before)
        if k + 1 < how.Steps then gradients <- gradients + 1L

        if goesOn then
            if looks then before <- value
            let distance = norm2 (minus now x)

            if rise > how.Confidence then
                if first < 0L then first <- int64 k

                if distance < nearest then
                    nearest <- distance
                    image <- now

            let pull = if rise < how.Confidence then c * sign else 0.0
            let g =
                Array.init x.Length (fun i ->
                    let margin = model.Weights[label][i] - model.Weights[other][i]
                    (2.0 * moved[i] + pull * margin) * slope w[i])
            let t = float (k + 1)
            m <- Array.map2 (fun m g -> 0.9 * m + 0.1 * g) m g
            v <- Array.map2 (fun v g -> 0.999 * v + 0.001 * g * g) v g
            let step m v = how.Rate * m / (1.0 - 0.9 ** t) / (sqrt (v / (1.0 - 0.999 ** t)) + 1e-8)
            delta <- minus delta (Array.map2 step m v)

        k <- k + 1

    { Image = image; Success = first >= 0L; First = first; Forwards = int64 k; Gradients = gradients }

let model (source: Source) classes : Oracles.Linear = {
    Weights = source.Rows(classes, 6)
    Offsets = source.Normals classes
}

// How far the border of the nearest other class is, without a box.
let border (model: Oracles.Linear) x =
    let z = model.Logits x
    let y = Oracles.argmax z

    seq { 0 .. z.Length - 1 }
    |> Seq.filter ((<>) y)
    |> Seq.map (fun k -> (z[y] - z[k]) / norm2 (minus model.Weights[y] model.Weights[k]))
    |> Seq.min

let unbound = { Threat.create L2 1.0 with Box = None }

// Runs are long: fewer cases than elsewhere.
let law name check =
    testPropertyN 15 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (scene seed count)))
