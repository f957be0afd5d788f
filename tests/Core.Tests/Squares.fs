/// The Square attack.
module Squares

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws
open Breaking

// --- slow and obviously right

// p by what the schedule says, rule by rule.
let private slowShare p0 rescaled queries index =
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

let private scaled size (rows: float[,]) =
    let length = size (rows |> Seq.cast<float> |> Array.ofSeq)
    Array2D.map (fun v -> v / length) rows

// Rectangles painted one over another.
let private slowBump norm side =
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
let private slow how threat (classify: float[] -> float[]) (c, h, w) draw (image: float[]) y target =
    let at k i j = (k * h + i) * w + j
    let numbers purpose shape = floats (Draw.uniform (List.map int64 shape) (Draw.sub purpose draw))
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

let private shapes = [ 1, 1, 1; 1, 2, 3; 1, 3, 7; 2, 4, 4; 3, 6, 4; 1, 9, 2; 1, 12, 12; 3, 11, 13 ]

// A small net with bends on images of a shape.
let private net (source: Source) (c, h, w) classes : Classifier =
    let d = c * h * w
    let w1, w2 = matrix (source.Rows(8, d)) * (2.0 / sqrt (float d)), matrix (source.Rows(classes, 8))

    fun x ->
        Scope.tensor (fun () ->
            torch.nn.functional.linear (
                torch.nn.functional.linear(x.reshape [| x.shape[0]; -1L |], w1.``to`` x.dtype).sin(),
                w2.``to`` x.dtype
            ))

let private brief = { Square.standard with Queries = 25 }

[<NoEquality; NoComparison>]
type private Case = { Shape: int * int * int; How: Square; Scene: Scene }

// Radii that leave some images whole.
let private radius (source: Source) norm (c, h, w) =
    let d = float (c * h * w)

    match norm with
    | Linf -> source.Uniform(0.01, 0.15)
    | L2 -> source.Uniform(0.01, 0.1) * sqrt d
    | L1 -> source.Uniform(0.01, 0.1) * d

let private case (seed: int) (count: int) =
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
            Ascent = Ascent.fgsm
            Classify = classify
            Victims = victims ids images y
            Y = y
            Draw = Draw.create 3UL "evaluate" ids
        }
    }

let private law name check =
    testPropertyN 40 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (case seed count)))

let private run how scene = runBy (Square.attack how) scene

let private margins (s: Scene) x = floats (Margin.perSample (s.Classify x) s.Victims.Labels) |> Array.map (~-)

let private lengths norm (images: Tensor) (original: Tensor) =
    Array.map2 minus (rows images) (rows original) |> Array.map (Oracles.lengthOf norm)

let tests =
    testList "Squares" [
        testList "published" [
            for case in Reference.ofAttacks "square_schedule" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let how = {
                        Share = Reference.real [ "params"; "p_init" ] case
                        Queries = Reference.whole [ "params"; "n_queries" ] case
                        Rescaled = Reference.truth [ "params"; "rescale" ] case
                        ToTheEdge = true
                    }
                    let height, width =
                        Reference.whole [ "params"; "height" ] case,
                        Reference.whole [ "params"; "width" ] case
                    let shares =
                        Reference.values [ "inputs"; "iteration" ] case
                        |> Array.map (int >> Square.share how)
                    let sides =
                        shares |> Array.map (fun share -> SquareWindow.side Linf share height width |> float)
                    let tolerance = Reference.real [ "tolerance" ] case
                    close tolerance shares (Reference.values [ "expected"; "p" ] case) "p"
                    close tolerance sides (Reference.values [ "expected"; "side_linf" ] case) "sides")

            for case in Reference.ofAttacks "square_bump" do
                test (Reference.text [ "id" ] case) (fun () ->
                    for side in Reference.values [ "inputs"; "side" ] case |> Array.map int do
                        close
                            (Reference.real [ "tolerance" ] case)
                            (Array.concat (SquareWindow.bump (Reference.norm case) side))
                            (Reference.values [ "expected"; sprintf "side%d" side ] case)
                            (sprintf "side %d" side))
        ]

        testProperty
            "p is what the schedule's rules say"
            (fun (NonNegativeInt index) (PositiveInt queries) (rescaled: bool) ->
                let index, queries = index * 97 % 10001, 1 + queries * 89 % 12000
                let how = { Square.standard with Queries = queries; Rescaled = rescaled }
                let expected = slowShare 0.8 rescaled queries index
                close 1e-15 [| Square.share how index |] [| expected |] "p")

        testTheory
            "sides: rounded, at least 1 or 3, odd but in Linf, and no longer than the image"
            [
                Linf, 0.8, 32, 32, 29
                Linf, 0.0001, 32, 32, 1
                Linf, 1.0, 32, 8, 8
                Linf, 0.1, 7, 3, 1
                L2, 0.8, 32, 32, 29
                L2, 0.4, 32, 32, 21
                L1, 0.1, 32, 32, 11
                L2, 0.0001, 32, 32, 3
                L1, 0.0001, 2, 9, 2
                L2, 1.0, 1, 1, 1
            ]
            (fun (norm, share, h, w, expected) ->
                Expect.equal (SquareWindow.side norm share h w) expected "side")

        testTheory "bumps are painted rectangles, of length 1" [ 1..11 ] (fun side ->
            for norm, size in [ L2, norm2; L1, norm1 ] do
                let bump = Array.concat (SquareWindow.bump norm side)
                let expected = slowBump norm side |> Seq.cast<float> |> Array.ofSeq
                close 1e-14 bump expected "bump"
                close 1e-14 [| size bump |] [| 1.0 |] "length")

        testPropertyN
            120
            "all is as a slow attack has it, pixel by pixel"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let case = case seed count
                    let s, (c, h, w) = case.Scene, case.Shape
                    let source = Source seed
                    // Some runs that draw more than once.
                    let how =
                        if source.Whole(0, 3) = 0 then
                            { case.How with Queries = source.Whole(60, 140) }
                        else
                            case.How
                    let classes = int (s.Classify s.Victims.Images).shape[1]
                    let targets = s.Y |> Array.map (fun y -> (y + 1) % classes)
                    let s =
                        if targeted then
                            { s with Victims = { s.Victims with Targets = Some(labels targets) } }
                        else
                            s
                    let logits x = floats (s.Classify(tensor [ 1; c; h; w ] x))
                    let expected =
                        rows s.Victims.Images
                        |> Array.mapi (fun i image ->
                            slow
                                how
                                s.Threat
                                logits
                                case.Shape
                                { s.Draw with Ids = [| s.Draw.Ids[i] |] }
                                image
                                s.Y[i]
                                (if targeted then Some targets[i] else None))

                    same (deeds (run how s)) expected "report"))

        law "every point looked at lies in ball and box, in single precision too" (fun case ->
            let s = pick [| 0 |] case.Scene
            let images = single s.Victims.Images
            let seen = ResizeArray<float[]>()
            let classify (x: Tensor) =
                seen.AddRange(rows x)
                s.Classify x
            let s = { s with Classify = classify; Victims = { s.Victims with Images = images } }
            let harm = run case.How s
            Expect.equal harm.Images.dtype torch.float32 "precision"
            Expect.equal (int64 seen.Count) ((wholes harm.Forwards)[0] + 1L) "points"
            let original = floats images
            let moved = seen.ToArray() |> Array.map (fun x -> minus x original)
            within 0.0 1.0 (Array.concat seen) "box"
            let radius = s.Threat.Radius
            atMost
                (radius + 1e-5 * (1.0 + radius))
                (moved |> Array.map (Oracles.lengthOf s.Threat.Norm))
                "ball"

            for norm in [ Linf; L2; L1 ] do
                relative 1e-5 (floats harm.Distance[norm]) (lengths norm harm.Images images) "distance")

        law "more proposals go on where fewer end: the kept margin never rises" (fun case ->
            let s = case.Scene
            let outcome queries =
                let harm = run { case.How with Queries = queries; Rescaled = false } s
                Array.zip3 (truths harm.Success) (wholes harm.FirstSuccess) (margins s harm.Images)

            for fewer, more in [ 1; 3; 20; 70 ] |> List.map outcome |> List.pairwise do
                for (wasBroken, wasFirst, before), (isBroken, isFirst, after) in Array.zip fewer more do
                    Expect.isLessThanOrEqual after (before + 1e-9) "margin"

                    if wasBroken then
                        Expect.equal (isBroken, isFirst) (true, wasFirst) "what fell falls the same")

        law "any split of the batch gives the same, the batch of one too, and so does any order" (fun case ->
            let s = case.Scene
            let together = deeds (run case.How s)
            let n = together.Length

            for size in [ 1; 2 ] do
                let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                let apart = parts |> Array.collect (fun places -> deeds (run case.How (pick places s)))
                same apart together (sprintf "batches of %d" size)

            let order = (Source 1).Order n
            let permuted = deeds (run case.How (pick order s))
            same permuted (order |> Array.map (Array.get together)) "permuted")

        law "the same seed gives the same bytes, and the images given stay as they were" (fun case ->
            let s = case.Scene
            let before = bits s.Victims.Images
            let first = run case.How s
            let again = run case.How s

            for a, b in Seq.zip (Attack.tensors first) (Attack.tensors again) do
                Expect.equal (bits a) (bits b) "bytes"

            Expect.equal (bits s.Victims.Images) before "the images given"
            Expect.isFalse first.Images.requires_grad "gradient attached")

        test "another seed looks elsewhere" (fun () ->
            let s = { (scene 8 5) with Threat = Threat.create L2 0.05 }
            let other = { s with Draw = { s.Draw with Seed = 4UL } }
            Expect.notEqual (bits (run brief s).Images) (bits (run brief other).Images) "images")

        law
            "success is that of the stored image, and looks are counted as the classifier sees them"
            (fun case ->
                let s = case.Scene
                let mutable seen = 0L
                let classify (x: Tensor) =
                    seen <- seen + x.shape[0]
                    s.Classify x
                let harm = run case.How { s with Classify = classify }
                Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses s.Classify harm.Images) s.Y)
                    "misclassified"
                let wrong = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y

                Array.zip3 wrong (deeds harm) (rows s.Victims.Images)
                |> Array.iter (fun (wrong, deed, image) ->
                    Expect.equal deed.Gradients 0L "gradients"

                    if wrong then
                        Expect.equal (deed.Image, deed.First, deed.Forwards) (image, 0L, 1L) "one look"
                    elif deed.Success then
                        Expect.equal deed.Forwards (deed.First + 1L) "it leaves at its first success"
                    else
                        Expect.equal
                            (deed.First, deed.Forwards)
                            (-1L, int64 case.How.Queries + 2L)
                            "every proposal is made"))

        law "a radius of nought changes nothing" (fun case ->
            let s = { case.Scene with Threat = { case.Scene.Threat with Radius = 0.0 } }
            let harm = run case.How s
            close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images")

        testPropertyN 12 "what a linear model of two classes withstands stays whole" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let shape = source.Among shapes
                let c, h, w = shape
                let d = c * h * w
                let model: Oracles.Linear = { Weights = source.Rows(2, d); Offsets = [| 0.0; 0.0 |] }
                let images = noise source [ 1; c; h; w ]
                let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                let across = minus model.Weights[0] model.Weights[1]
                let z = model.Logits(floats images)

                for norm, reach in [ Linf, norm1 across; L2, norm2 across; L1, normInf across ] do
                    let threat = Threat.create norm (0.999 * abs (z[0] - z[1]) / reach)
                    let draw = Draw.create 1UL "a" [| 7L |]
                    let attack = Square.attack { brief with Queries = 100; Rescaled = true }
                    let harm = attack.Run draw threat (linear model) (victims [| 7L |] images y)
                    Expect.equal (truths harm.Success) [| false |] (sprintf "%A" norm)))

        testPropertyN
            12
            "with patience it finds the corner that breaks a linear model, windows to the edge or none"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model: Oracles.Linear = { Weights = source.Rows(2, 16); Offsets = [| 0.0; 0.0 |] }
                    let images = noise source [ 4; 1; 4; 4 ] * 0.2 + 0.4
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let across = minus model.Weights[0] model.Weights[1]

                    // The corner alone is just enough.
                    for i, x in Array.indexed (rows images) do
                        let z = model.Logits x
                        let threat = {
                            Threat.create Linf (1.001 * abs (z[0] - z[1]) / norm1 across) with
                                Box = None
                        }
                        let ids = [| int64 i |]
                        let image = images.narrow (0L, int64 i, 1L)
                        let attack = Square.attack { brief with Queries = 600; Rescaled = true }
                        let harm =
                            attack.Run
                                (Draw.create 1UL "a" ids)
                                threat
                                (linear model)
                                (victims ids image [| y[i] |])
                        Expect.equal (truths harm.Success) [| true |] "broken"))

        test "windows short of the edge never touch the last row and column; others do" (fun () ->
            let s = { (scene 8 5) with Threat = Threat.create Linf 0.01 }
            let images = noise (Source 3) [ 2; 1; 8; 8 ]
            // A model that nothing breaks, and that likes every change: a slope at random.
            let weight = matrix [| (Source 5).Normals 64; Array.create 64 0.0 |]
            let classify (x: Tensor) =
                torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
                + tensor [ 2 ] [| 1000.0; 0.0 |]

            let changed toTheEdge =
                let run queries =
                    let how = { Square.standard with Queries = queries; Share = 0.2; ToTheEdge = toTheEdge }
                    let s = {
                        s with
                            Classify = classify
                            Draw = Draw.create 1UL "a" [| 1L; 2L |]
                            Victims = victims [| 1L; 2L |] images [| 0; 0 |]
                    }
                    floats (run how s).Images |> Array.indexed

                let before, after = run 1, run 120
                Array.zip before after
                |> Array.filter (fun ((p, _), _) -> p / 8 % 8 = 7 || p % 8 = 7)
                |> Array.filter (fun ((_, before), (_, after)) -> before <> after)
                |> Array.length

            Expect.equal (changed false) 0 "short of the edge"
            Expect.isGreaterThan (changed true) 5 "to the edge")

        test "where all fall to the start, nothing is proposed" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let s = scene 8 5
                let mutable calls = 0
                let classify (x: Tensor) =
                    calls <- calls + 1
                    let winner = if calls = 1 then [| 1.0; 0.0 |] else [| 0.0; 1.0 |]
                    torch.zeros ([| x.shape[0]; 1L |], x.dtype) + tensor [ 2 ] winner
                let n = s.Y.Length
                let harm =
                    run Square.standard {
                        s with
                            Threat = Threat.create norm 0.1
                            Classify = classify
                            Victims = victims s.Victims.Ids s.Victims.Images (Array.create n 0)
                    }
                Expect.equal calls 3 "the clean images, the start and the verdict"
                Expect.allEqual (wholes harm.Forwards) 2L "forwards"
                Expect.allEqual (wholes harm.FirstSuccess) 1L "first success"
                Expect.allEqual (truths harm.Success) true "success")

        test "where all are wrong already, nothing is proposed" (fun () ->
            let s = scene 8 5
            let wrong = guesses s.Classify s.Victims.Images |> Array.map (fun g -> (g + 1) % 4)
            let harm = run brief { s with Victims = victims s.Victims.Ids s.Victims.Images wrong }
            Expect.allEqual (wholes harm.Forwards) 1L "forwards"
            Expect.equal (bits harm.Images) (bits s.Victims.Images) "images")

        test "no gradient is asked for, and parameters' gradients stay as they were" (fun () ->
            let weight = (matrix ((Source 2).Rows(4, 6))).requires_grad_ true
            let mark = torch.ones_like weight
            weight.grad <- mark
            let enabled = ResizeArray<bool>()
            let classify (x: Tensor) =
                enabled.Add(torch.is_grad_enabled ())
                torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let s = scene 2 4
            let before = torch.Tensor.TotalCount

            Scope.value (fun () ->
                let harm = run brief { s with Classify = classify }
                Expect.hasLength (Attack.tensors harm) 8 "tensors of a result"
                Expect.equal (torch.Tensor.TotalCount - before) 8L "nothing but the result lives")

            Expect.allEqual enabled false "gradients enabled"
            Expect.equal (bits weight.grad) (bits mark) "gradients of parameters"
            Expect.isTrue (torch.is_grad_enabled ()) "as before")

        test "a long run holds no more tensors than a short one" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let s = scene 4 4
                let highest = ResizeArray<int64>()
                let always (x: Tensor) =
                    highest.Add torch.Tensor.TotalCount
                    torch.zeros ([| x.shape[0]; 1L |], x.dtype) + tensor [ 2 ] [| 1.0; 0.0 |]
                let s = {
                    s with
                        Threat = Threat.create norm 0.1
                        Classify = always
                        Victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)
                }
                run { Square.standard with Queries = 260 } s |> ignore
                // Both stretches draw ahead.
                let early, late = highest.GetRange(60, 67), highest.GetRange(127, 130)
                Expect.isLessThanOrEqual (Seq.max late) (Seq.max early) (sprintf "%A" norm))

        test "a classifier that is not finite is flagged, and the stored images stay finite" (fun () ->
            let s = scene 1 4
            let broken x = s.Classify x * nan
            let harm = run brief { s with Classify = broken }
            Expect.equal harm.Flags (Set [ "not finite" ]) "flag"
            within 0.0 1.0 (floats harm.Images) "images"
            Expect.equal (run brief s).Flags Set.empty "a sound one is not")

        test "faults are named" (fun () ->
            let attack how () = Square.attack how |> ignore
            refuses [ "Share"; "above 0" ] (attack { brief with Share = 0.0 }) "share"
            refuses [ "Queries"; "above 0" ] (attack { brief with Queries = 0 }) "queries"
            let s = scene 1 4
            let flat = s.Victims.Images.reshape ([| -1L; 6L |])
            let s = { s with Victims = { s.Victims with Images = flat } }
            refuses [ "images"; "[n; c; h; w]" ] (fun () -> run brief s |> ignore) "images")

        test "its printed form says what ran" (fun () ->
            let text how = (Square.attack how).Text
            Expect.equal (text Square.standard) "Square, 5000 proposals, p 0.8" "standard"
            Expect.equal
                (text { Square.standard with Rescaled = true; ToTheEdge = false })
                "Square, 5000 proposals, p 0.8, schedule rescaled, windows short of the edge"
                "switches")

        test "by name" (fun () ->
            for name, queries in [ "square", 5000; "Square-1000", 1000 ] do
                let attack = Expect.wantOk (Robustness.attack name) name
                Expect.equal attack.Text (sprintf "Square, %d proposals, p 0.8" queries) name

            for name in [ "square-0"; "square-x"; "square--3"; "square-1.5"; "square-100-2" ] do
                let error = wantError (Robustness.attack name) name
                says [ sprintf "'%s'" name; "square-1000" ] error name)
    ]
