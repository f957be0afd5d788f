/// Automatic projected gradient descent slow and obviously right, and what its laws run over.
module Support.ApgdOracle

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Audit
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

// --- slow and obviously right, one image at a time

/// A function to climb, its slope, and whether a point is a success.
[<NoEquality; NoComparison>]
type Hill = { Value: float[] -> float; Slope: float[] -> float[]; Won: float[] -> bool }

/// The points that a run evaluated, in order, and of those the one of the highest value.
type Walk = { Visited: float[] list; Best: float[] }

let better hill best x = if hill.Value x > hill.Value best then x else best

// Algorithm 1 with all its points recorded, and looked up at the end.
let walk threat steps fromZero hill (origin: float[]) start =
    let part share = max 1 (int (floor (share * float steps + 1e-9)))
    let points = ResizeArray [ start ]
    let mutable x, from, g, best = start, start, hill.Slope start, start
    let mutable step, begun, window = 2.0 * threat.Radius, 0, part 0.22
    let mutable halvedBefore, bestBefore = true, hill.Value start

    for made in 1..steps do
        let ahead = Oracles.project threat origin (plus x (times step (Oracles.steepest threat.Norm g)))

        let mixed =
            if made = 1 then ahead else plus x (plus (times 0.75 (minus ahead x)) (times 0.25 (minus x from)))

        let next = Oracles.project threat origin mixed
        from <- x
        x <- next
        g <- hill.Slope x
        points.Add x
        best <- better hill best x

        if made = begun + window then
            let rises =
                [ begun + 1 .. made ]
                |> List.filter (fun k ->
                    let before = if fromZero && k = 1 then 0.0 else hill.Value points[k - 1]
                    hill.Value points[k] > before)
                |> List.length

            let halve =
                float rises <= 0.75 * float window || (not halvedBefore && hill.Value best <= bestBefore)

            if halve then
                step <- step / 2.0
                x <- best
                g <- hill.Slope best

            halvedBefore <- halve
            bestBefore <- hill.Value best
            begun <- made
            window <- max (part 0.06) (window - part 0.03)

    { Visited = List.ofSeq points; Best = best }

// One stage in L1.
let sparseWalk threat given steps hill (origin: float[]) start =
    let d = float origin.Length
    let moved x = minus x origin |> Array.filter (fun v -> abs v > 1e-9) |> Array.length |> float
    let points = ResizeArray [ start ]
    let mutable x, g, best, step = start, hill.Slope start, start, threat.Radius
    let mutable held = if given then moved start else d
    let mutable share = if given then held / (1.5 * d) else 0.2

    for made in 1..steps do
        let sorted = g |> Array.map abs |> Array.sort
        let least = sorted[int (min (d - 1.0) (max 0.0 (floor ((1.0 - share) * d))))]
        let direction = g |> Array.map (fun v -> if abs v >= least then float (sign v) else 0.0)
        x <- Oracles.project threat origin (plus x (times (step / max 1e-10 (norm1 direction)) direction))
        g <- hill.Slope x
        points.Add x
        best <- better hill best x

        if made % max 1 (int (0.04 * float steps)) = 0 then
            let found = moved best
            share <- found / (1.5 * d)

            if found / held < 0.95 then
                step <- threat.Radius
                x <- best
                g <- hill.Slope best
            else
                step <- max (step / 1.5) (threat.Radius / 10.0)

            held <- found

    { Visited = List.ofSeq points; Best = best }

let wide radii threat = { threat with Radius = radii * threat.Radius }

// A run, and the number of points in wider balls before.
let slowRun threat steps fromZero hill origin start =
    if threat.Norm <> L1 then
        0, walk threat steps fromZero hill origin start
    else
        let part = int (ceil (0.3 * float steps - 1e-9))
        let first = sparseWalk (wide 3.0 threat) false part hill origin start
        let second =
            Oracles.project (wide 2.0 threat) origin first.Best
            |> sparseWalk (wide 2.0 threat) true part hill origin
        let last =
            Oracles.project threat origin second.Best
            |> sparseWalk threat true (max 0 (steps - 2 * part)) hill origin
        first.Visited.Length + second.Visited.Length, last

// Runs against one image, each up its own hill, until one has won.
let slowAttack threat steps fromZero (hills: Hill list) (origin: float[]) (starts: float[] list) =
    let mutable deed: Oracles.Deed = {
        Image = origin
        Success = hills.Head.Won origin
        First = if hills.Head.Won origin then 0L else -1L
        Forwards = 1L
        Gradients = 0L
    }

    let mutable highest = -infinity

    for hill, start in List.zip hills starts do
        if not deed.Success then
            let before, walk = slowRun threat steps fromZero hill origin start
            let looked = deed.Forwards + int64 before

            match walk.Visited |> List.tryFindIndex hill.Won with
            | Some place ->
                deed <- {
                    deed with
                        Success = true
                        First = looked + int64 place
                        Image = walk.Visited |> List.findBack hill.Won
                }
            | None when hill.Value walk.Best > highest ->
                highest <- hill.Value walk.Best
                deed <- { deed with Image = walk.Best }
            | None -> ()

            // In L1 every stage has a first point of its own, and no gradient at its last.
            let points = before + walk.Visited.Length
            let stages = if threat.Norm = L1 then 3 else 1
            deed <- {
                deed with
                    Forwards = deed.Forwards + int64 points
                    Gradients = deed.Gradients + int64 (points - stages)
            }

    deed

let hill (classify: Classifier) objective y : Hill =
    let image (x: float[]) = tensor [ 1; 1; 2; 3 ] x
    let value x = objective (classify x) (labels [| y |])

    {
        Value = fun x -> Scope.value (fun () -> number (value (image x)))
        Slope =
            fun x ->
                Scope.value (fun () ->
                    GradientAttackLoop.look true value (image x) |> snd |> Option.get |> floats)
        Won = fun x -> Scope.value (fun () -> (guesses classify (image x))[0] <> y)
    }

// --- what the laws run over

// Always the same scenes: a look compares values, so that rounding could decide it the other way.
let law name check =
    test name (fun () ->
        for seed in 1..25 do
            Scope.value (fun () ->
                let s = scene seed (3 * seed)
                let n = Source(seed).Whole(0, 11)
                check { Apgd.defaults with Steps = n } s))

let attacks how = [ Apgd.ce how; Apgd.dlr how; Apgd.margin how; Apgd.targeted 9 how ]

// Labels are what the model says, images away from the box.
let straight (seed: int) classes : Oracles.Linear * Tensor * int[] =
    let source = Source seed
    let model: Oracles.Linear = { Weights = source.Rows(classes, 6); Offsets = source.Normals classes }
    let images = noise source [ 8; 1; 2; 3 ] * 0.2 + 0.4
    model, images, rows images |> Array.map (model.Logits >> Oracles.argmax)

let ids = Array.init 8 int64

// How far the border with the nearest other class is in Linf.
let nearest (model: Oracles.Linear) x y =
    let z = model.Logits x

    seq { 0 .. z.Length - 1 }
    |> Seq.filter ((<>) y)
    |> Seq.map (fun k -> (z[y] - z[k]) / norm1 (minus model.Weights[y] model.Weights[k]))
    |> Seq.min

let objectiveOf case : Objective =
    let classify = GoldenValues.classifier case
    let input name = GoldenValues.indices [ "inputs"; name ] case

    match GoldenValues.text [ "params"; "loss" ] case with
    | "ce" -> fun x -> CrossEntropy.perSample (classify x) (input "y")
    | "dlr" -> fun x -> Dlr.perSample (classify x) (input "y")
    | _ -> fun x -> Dlr.targeted (classify x) (input "y") (input "target")

// One run from the start that a case forces: the state at its end, and each sample's last success.
let runOf case (ascent: GradientAttack) =
    let param name = GoldenValues.real [ "params"; name ] case
    let threat = Threat.create (GoldenValues.norm case) (param "eps")
    let input name = GoldenValues.array [ "inputs"; name ] case
    let y = GoldenValues.indices [ "inputs"; "y" ] case
    let broken = Array.create (int y.shape[0]) None

    let look x =
        let wrong = truths (((GoldenValues.classifier case) x).argmax(1L).ne y)
        rows x |> Array.iteri (fun i x -> if wrong[i] then broken[i] <- Some x)
        let value, gradient = GradientAttackLoop.look true (objectiveOf case) x
        value, Option.get gradient

    let first = GradientAttackLoop.first (input "x") (input "x0") (look (input "x0"))

    let last =
        (first, [ 1 .. ascent.Steps ])
        ||> List.fold (fun now _ ->
            let x, memory = GradientAttackLoop.next threat ascent now
            GradientAttackLoop.advance now x memory (look x))

    last, broken
