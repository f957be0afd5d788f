/// Automatic projected gradient descent.
module Apgds

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws
open Breaking

// --- slow and obviously right, one image at a time

/// A function to climb, its slope, and whether a point is a success.
[<NoEquality; NoComparison>]
type private Hill = { Value: float[] -> float; Slope: float[] -> float[]; Won: float[] -> bool }

/// The points that a run looked at, in order, and of those the one of the highest value.
type private Walk = { Visited: float[] list; Best: float[] }

let private better hill best x = if hill.Value x > hill.Value best then x else best

// Algorithm 1 with all that it looks at written down, and looked up again in the end.
let private walk threat steps fromZero hill (origin: float[]) start =
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
let private sparseWalk threat given steps hill (origin: float[]) start =
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

let private wide radii threat = { threat with Radius = radii * threat.Radius }

// A run, and how many points it looked at in wider balls before.
let private slowRun threat steps fromZero hill origin start =
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
let private slowAttack threat steps fromZero (hills: Hill list) (origin: float[]) (starts: float[] list) =
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

let private hill (classify: Classifier) objective y : Hill =
    let image (x: float[]) = tensor [ 1; 1; 2; 3 ] x
    let value x = objective (classify x) (labels [| y |])

    {
        Value = fun x -> Scope.value (fun () -> number (value (image x)))
        Slope =
            fun x ->
                Scope.value (fun () ->
                    GradientAttack.look true value (image x) |> snd |> Option.get |> floats)
        Won = fun x -> Scope.value (fun () -> (guesses classify (image x))[0] <> y)
    }

// --- what the laws run over

// Always the same scenes: a look compares values, so that rounding could decide it the other way.
let private law name check =
    test name (fun () ->
        for seed in 1..25 do
            Scope.value (fun () ->
                let s = scene seed (3 * seed)
                let n = Source(seed).Whole(0, 11)
                check { Apgd.defaults with Steps = n } s))

let private attacks how = [ Apgd.ce how; Apgd.dlr how; Apgd.margin how; Apgd.targeted 9 how ]

// Labels are what the model says, images away from the box.
let private straight (seed: int) classes : Oracles.Linear * Tensor * int[] =
    let source = Source seed
    let model: Oracles.Linear = { Weights = source.Rows(classes, 6); Offsets = source.Normals classes }
    let images = noise source [ 8; 1; 2; 3 ] * 0.2 + 0.4
    model, images, rows images |> Array.map (model.Logits >> Oracles.argmax)

let private ids = Array.init 8 int64

// How far the border with the nearest other class is in Linf.
let private nearest (model: Oracles.Linear) x y =
    let z = model.Logits x

    seq { 0 .. z.Length - 1 }
    |> Seq.filter ((<>) y)
    |> Seq.map (fun k -> (z[y] - z[k]) / norm1 (minus model.Weights[y] model.Weights[k]))
    |> Seq.min

let private objectiveOf case : Objective =
    let classify = Reference.classifier case
    let input name = Reference.indices [ "inputs"; name ] case

    match Reference.text [ "params"; "loss" ] case with
    | "ce" -> fun x -> CrossEntropy.perSample (classify x) (input "y")
    | "dlr" -> fun x -> Dlr.perSample (classify x) (input "y")
    | _ -> fun x -> Dlr.targeted (classify x) (input "y") (input "target")

// One run from the start that a case forces: the state at its end, and each sample's last success.
let private runOf case (ascent: Ascent) =
    let param name = Reference.real [ "params"; name ] case
    let threat = Threat.create (Reference.norm case) (param "eps")
    let input name = Reference.array [ "inputs"; name ] case
    let y = Reference.indices [ "inputs"; "y" ] case
    let broken = Array.create (int y.shape[0]) None

    let look x =
        let wrong = truths (((Reference.classifier case) x).argmax(1L).ne y)
        rows x |> Array.iteri (fun i x -> if wrong[i] then broken[i] <- Some x)
        let value, gradient = GradientAttack.look true (objectiveOf case) x
        value, Option.get gradient

    let first = GradientAttack.first (input "x") (input "x0") (look (input "x0"))

    let last =
        (first, [ 1 .. ascent.Steps ])
        ||> List.fold (fun now _ ->
            let x, memory = GradientAttack.next threat ascent now
            GradientAttack.advance now x memory (look x))

    last, broken

let tests =
    testList "Apgds" [
        law "every norm and loss: all is as a slow attack has it" (fun how s ->
            for norm in [ Linf; L2; L1 ] do
                for loss in [ CrossEntropy.perSample; Dlr.perSample ] do
                    let s = { s with Threat = { s.Threat with Norm = norm } }
                    let restarts = 1 + how.Steps % 2
                    let how = { how with Restarts = restarts; FirstRiseFromZero = how.Steps % 3 = 0 }
                    let harm = runBy (Apgd.on "test" loss how) s

                    let starts = [
                        for number in 0 .. restarts - 1 do
                            let draw = Draw.sub (sprintf "restart %d" number) s.Draw
                            rows (GradientAttack.start s.Threat (Apgd.ascent how norm) draw s.Victims.Images)
                    ]

                    let expected =
                        rows s.Victims.Images
                        |> Array.mapi (fun i image ->
                            let hills = List.replicate restarts (hill s.Classify loss s.Y[i])
                            starts
                            |> List.map (Array.item i)
                            |> slowAttack s.Threat how.Steps how.FirstRiseFromZero hills image)

                    same (deeds harm) expected (sprintf "%A, %d steps" norm how.Steps))

        law "APGD-T runs towards class after class, the nearest by the clean logits first" (fun how s ->
            let norm = if s.Threat.Norm = L1 then L2 else s.Threat.Norm
            let s = { s with Threat = { s.Threat with Norm = norm } }
            let harm = runBy (Apgd.targeted 2 how) s

            let starts = [
                for number in 0..1 do
                    let draw = Draw.sub (sprintf "restart %d" number) s.Draw
                    rows (GradientAttack.start s.Threat (Apgd.ascent how norm) draw s.Victims.Images)
            ]

            let expected =
                rows s.Victims.Images
                |> Array.mapi (fun i image ->
                    let z = floats (s.Classify(tensor [ 1; 1; 2; 3 ] image))

                    let hills =
                        [ 0..3 ]
                        |> List.filter ((<>) s.Y[i])
                        |> List.sortByDescending (Array.get z)
                        |> List.take 2
                        |> List.map (fun t ->
                            hill s.Classify (fun z y -> Dlr.targeted z y (labels [| t |])) s.Y[i])

                    starts |> List.map (Array.item i) |> slowAttack s.Threat how.Steps false hills image)

            same (deeds harm) expected "report")

        law
            "results lie in ball and box, success is that of the stored image, and what is given stays"
            (fun how s ->
                let before = bits s.Victims.Images

                for attack in attacks how do
                    let harm = runBy attack s
                    Expect.equal (bits s.Victims.Images) before "the images given"
                    within 0.0 1.0 (floats harm.Images) "box"
                    let moved = Array.map2 minus (rows harm.Images) (rows s.Victims.Images)
                    let lengths = moved |> Array.map (Oracles.lengthOf s.Threat.Norm)
                    atMost (s.Threat.Radius + 1e-5) lengths "ball"
                    close 1e-9 (floats harm.Distance[s.Threat.Norm]) lengths "distance"
                    let wrong = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
                    Expect.equal (truths harm.Success) wrong "misclassified"
                    Expect.equal
                        (wholes harm.FirstSuccess |> Array.map (fun f -> f >= 0L))
                        wrong
                        "a first success")

        law "an unbroken image is never below its start" (fun how s ->
            let s = { s with Threat = { s.Threat with Norm = if s.Threat.Norm = L1 then Linf else L2 } }
            let harm = runBy (Apgd.ce how) s
            let draw = Draw.sub "restart 0" s.Draw
            let start = GradientAttack.start s.Threat (Apgd.ascent how L2) draw s.Victims.Images

            for ended, began, success in
                Array.zip3 (losses s harm.Images) (losses s start) (truths harm.Success) do
                if not success then Expect.isGreaterThanOrEqual ended (began - 1e-9) "loss")

        law "any split of the batch gives the same, and so does any order" (fun how s ->
            for attack in [ Apgd.dlr { how with Restarts = 2 }; Apgd.targeted 3 how ] do
                let together = deeds (runBy attack s)

                for size in [ 1; 2 ] do
                    let parts = Array.chunkBySize size [| 0 .. together.Length - 1 |]
                    let apart = parts |> Array.collect (fun places -> deeds (runBy attack (pick places s)))
                    same apart together (sprintf "batches of %d" size)

                let order = (Source 1).Order s.Y.Length
                let permuted = deeds (runBy attack (pick order s))
                same permuted (order |> Array.map (Array.get together)) "permuted")

        law "the same seed gives the same bytes" (fun how s ->
            for attack in attacks how do
                let image () = bits (runBy attack s).Images
                Expect.equal (image ()) (image ()) "images")

        law "a radius of nought changes nothing" (fun how s ->
            let s = { s with Threat = { s.Threat with Radius = 0.0 } }

            for attack in attacks how do
                let harm = runBy attack s
                close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y)
                    "success")

        law "every run takes all its steps, and runs go on with survivors alone" (fun how s ->
            let points = int64 how.Steps + 1L

            for attack, runs in [ Apgd.margin { how with Restarts = 3 }, 3L; Apgd.targeted 9 how, 3L ] do
                let s = { s with Threat = { s.Threat with Norm = Linf } }
                let mutable seen = 0L

                let classify (x: Tensor) =
                    seen <- seen + x.shape[0]
                    s.Classify x

                let harm = runBy attack { s with Classify = classify }
                Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows seen"

                for deed in deeds harm do
                    let taken = (deed.Forwards - 1L) / points
                    Expect.equal deed.Forwards (1L + taken * points) "whole runs"
                    Expect.equal deed.Gradients (taken * int64 how.Steps) "gradients"

                    if not deed.Success then
                        Expect.equal taken runs "all runs"
                    elif deed.First = 0L then
                        Expect.equal taken 0L "wrong before"
                    else
                        Expect.equal
                            taken
                            (1L + (deed.First - 1L) / points)
                            "the run that broke it is the last")

        testTheory
            "with few classes other losses stand in, and this is told"
            [ 2, true, true, 1L; 3, false, true, 2L; 4, false, false, 3L; 6, false, false, 3L ]
            (fun (classes, dlrTold, targetedTold, runs) ->
                balanced (fun () ->
                    let model, images, y = straight classes classes
                    let how = { Apgd.defaults with Steps = 4 }
                    let run (attack: Attack) targets =
                        attack.Run (Draw.create 1UL "a" ids) (Threat.create Linf 1e-4) (linear model) {
                            victims ids images y with
                                Targets = targets
                        }
                    let told (harm: Harm) = Set.contains "few classes" harm.Flags
                    Expect.isFalse (told (run (Apgd.ce how) None)) "cross-entropy"
                    Expect.isFalse (told (run (Apgd.margin how) None)) "margin"
                    Expect.equal (told (run (Apgd.dlr how) None)) dlrTold "DLR"
                    let harm = run (Apgd.targeted 3 how) None
                    Expect.equal (told harm) targetedTold "APGD-T"
                    Expect.equal (Array.max (wholes harm.Forwards)) (1L + 5L * runs) "a run a target"
                    let target = labels (y |> Array.map (fun y -> (y + 1) % classes))
                    let aimed = run (Apgd.dlr how) (Some target)
                    Expect.equal (told aimed) targetedTold "DLR towards targets"
                    Expect.equal
                        (bits (run (Apgd.targeted 3 how) (Some target)).Images)
                        (bits aimed.Images)
                        "given targets, APGD-T has no choice"))

        test
            "two and three linear classes: an image falls exactly where the ball reaches over a border"
            (fun () ->
                for seed in 1..20 do
                    for classes in [ 2; 3 ] do
                        Scope.value (fun () ->
                            let model, images, y = straight seed classes
                            let radius = (Source seed).Uniform(0.02, 0.3)
                            let threat = { Threat.create Linf radius with Box = None }
                            let attack = Apgd.targeted 9 { Apgd.defaults with Steps = 2 }
                            let harm =
                                attack.Run
                                    (Draw.create 1UL "a" ids)
                                    threat
                                    (linear model)
                                    (victims ids images y)
                            let expected =
                                Array.map2 (fun x y -> nearest model x y < radius) (rows images) y
                            Expect.equal (truths harm.Success) expected "broken"))

        test "targets are reached, and nothing else counts" (fun () ->
            for seed in 1..10 do
                Scope.value (fun () ->
                    let s = scene seed 5
                    let target = s.Y |> Array.map (fun y -> (y + 2) % 4)
                    let s = { s with Victims = { s.Victims with Targets = Some(labels target) } }

                    for attack in attacks { Apgd.defaults with Steps = 6 } do
                        let harm = runBy attack s
                        let expected = Array.map2 (=) (guesses s.Classify harm.Images) target
                        Expect.equal (truths harm.Success) expected "success"))

        test "the last success is stored, not the first" (fun () ->
            // One pixel, wrong above 0.5 and the more so the higher: the run climbs on.
            let classify (x: Tensor) =
                let v = x.reshape [| -1L; 1L |]
                torch.cat (ResizeArray [ 0.5 - v; v - 0.5 ], 1L)
            let images = torch.full ([| 1L; 1L; 1L; 1L |], 0.45.ToScalar(), torch.float64)
            let victims = victims [| 0L |] images [| 0 |]
            let harm =
                (Apgd.ce { Apgd.defaults with Steps = 20 }).Run
                    (Draw.create 2UL "a" [| 0L |])
                    (Threat.create Linf 0.3)
                    classify
                    victims
            close 1e-12 (floats harm.Images) [| 0.75 |] "the highest"
            Expect.equal (wholes harm.Forwards) [| 22L |] "every step taken")

        test "a classifier without slope, and one that is not finite, are flagged" (fun () ->
            let s = scene 1 4
            let flags factor =
                let classify x = s.Classify x * factor + tensor [ 4 ] [| 3.0; 2.0; 1.0; 0.0 |]
                let victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)
                let s = { s with Classify = classify; Victims = victims }
                (runBy (Apgd.dlr { Apgd.defaults with Steps = 3 }) s).Flags
            Expect.equal (flags 0.0) (Set [ "zero gradient" ]) "flat"
            Expect.contains (flags nan) "not finite" "not a number")

        test "images may have any shape" (fun () ->
            let source = Source 1
            let images = noise source [ 2; 3; 5; 2 ]
            let weight = matrix (source.Rows(5, 30))
            let classify (x: Tensor) = torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let y = guesses classify images

            for norm in [ Linf; L2; L1 ] do
                for attack in attacks { Apgd.defaults with Steps = 5 } do
                    let victims = victims [| 1L; 2L |] images y
                    let harm =
                        attack.Run
                            (Draw.create 1UL "a" victims.Ids)
                            (Threat.create norm 0.3)
                            classify
                            victims
                    Expect.equal harm.Images.shape images.shape "shape")

        test "in training it is an ascent like any other" (fun () ->
            for seed in 1..20 do
                Scope.value (fun () ->
                    let s = Climbing.scene seed seed

                    for norm in [ Linf; L2; L1 ] do
                        let threat = { s.Threat with Norm = norm }
                        let ascent = Apgd.ascent { Apgd.defaults with Steps = 7 } norm
                        let s = { s with Threat = threat; Ascent = ascent }
                        let objective = Climbing.bumpy s.Slopes
                        let x = Climbing.ascend s objective s.Origin
                        within 0.0 1.0 (floats x) "box"
                        let lengths = Climbing.moved s x |> Array.map (Oracles.lengthOf norm)
                        atMost (threat.Radius + 1e-9) lengths "ball"

                        if norm <> L1 then
                            let start = floats (objective (Climbing.start s))
                            Array.iter2
                                (fun best start ->
                                    Expect.isGreaterThanOrEqual best start "not below the start")
                                (floats (objective x))
                                start))

        test "an ascent goes on from where another was best" (fun () ->
            for seed in 1..20 do
                Scope.value (fun () ->
                    let s = Climbing.scene seed seed
                    let objective = Climbing.bumpy s.Slopes
                    let first = { Ascent.pgd 0.4 3 with Start = AtInput; Keep = Best }
                    let second = { first with After = Some(2.0, first); Keep = Last }
                    let wider = { s.Threat with Radius = 2.0 * s.Threat.Radius }
                    let found = Climbing.ascend { s with Threat = wider; Ascent = first } objective s.Origin
                    let begun = Ball.project s.Threat s.Origin found
                    let expected = Climbing.climb s.Threat second objective s.Origin begun
                    let x = Climbing.ascend { s with Ascent = second } objective s.Origin
                    close 1e-12 (floats x) (floats expected) "end"))

        test "the published code's first count can be had, and matters" (fun () ->
            let differs =
                [ 1..25 ]
                |> List.filter (fun seed ->
                    Scope.value (fun () ->
                        let s = scene seed 5
                        let s = { s with Threat = { s.Threat with Norm = Linf } }
                        let images fromZero =
                            let how = { Apgd.defaults with Steps = 8; FirstRiseFromZero = fromZero }
                            bits (runBy (Apgd.dlr how) s).Images
                        images true <> images false))
            Expect.isGreaterThan differs.Length 0 "scenes that differ")

        test "the step size is looked at after windows that shrink" (fun () ->
            for steps in 0..300 do
                let gaps = 0 :: Apgd.checkpoints steps |> List.pairwise |> List.map (fun (a, b) -> b - a)
                let part percent = max 1 (percent * steps / 100)

                match gaps with
                | [] -> Expect.isLessThan steps (part 22) "no look at all"
                | first :: _ ->
                    Expect.equal first (part 22) "the first window"

                    for before, after in List.pairwise gaps do
                        Expect.equal after (max (part 6) (before - part 3)) "the next"

                    let last = List.sum gaps
                    Expect.isLessThanOrEqual last steps "within the run"
                    Expect.isGreaterThan (last + max (part 6) (List.last gaps - part 3)) steps "to its end")

        test "in fractions of 100 steps it is the paper's" (fun () ->
            let fractions =
                (0.0, 0.22)
                |> List.unfold (fun (before, now) ->
                    if now > 1.0 then None else Some(now, (now, now + max (now - before - 0.03) 0.06)))
            let expected = fractions |> List.map (fun p -> int (ceil (100.0 * p - 1e-9)))
            Expect.equal (Apgd.checkpoints 100) expected "checkpoints")

        test "no target is refused" (fun () ->
            refuses [ "targets"; "0" ] (fun () -> Apgd.targeted 0 Apgd.defaults |> ignore) "targets")

        testList "published" [
            for case in Reference.ofAttacks "apgd_schedule" do
                test (Reference.text [ "id" ] case) (fun () ->
                    Expect.equal
                        (Apgd.checkpoints (Reference.whole [ "inputs"; "n_iter" ] case))
                        (Reference.values [ "expected"; "checkpoints" ] case |> Array.map int |> List.ofArray)
                        "checkpoints")

            for case in Reference.ofAttacks "apgd" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let how = { Apgd.defaults with Steps = Reference.whole [ "params"; "n_iter" ] case }
                    let ended, broken = runOf case (Apgd.ascent how (Reference.norm case))
                    let expected key = Reference.values [ "expected"; key ] case
                    let loose, near =
                        Reference.real [ "tolerance"; "loss" ] case, Reference.real [ "tolerance"; "x" ] case
                    relative loose (floats ended.BestValue) (expected "loss_best") "loss_best"
                    close near (floats ended.BestX) (expected "x_best") "x_best"
                    let fooled = broken |> Array.map (fun x -> if x.IsSome then 1.0 else 0.0)
                    Expect.equal fooled (expected "fooled") "fooled"
                    let adversarial = Reference.at [ "expected"; "x_adv" ] case

                    for i in 0 .. broken.Length - 1 do
                        match broken[i] with
                        | Some x -> close near x (Reference.values [] adversarial[i]) "x_adv"
                        | None ->
                            Expect.equal adversarial[i].ValueKind System.Text.Json.JsonValueKind.Null "none")

            for case in Reference.ofAttacks "apgd_l1" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let ended, broken =
                        runOf case (Apgd.stage true (Reference.whole [ "params"; "n_iter" ] case))
                    let expected key = Reference.values [ "expected"; key ] case
                    let allowed = Reference.real [ "tolerance"; "loss_relative" ] case
                    let ratios = Array.map2 (/) (floats ended.BestValue) (expected "loss_best")
                    close allowed ratios (Array.create ratios.Length 1.0) "loss_best"
                    let fooled = broken |> Array.map (fun x -> if x.IsSome then 1.0 else 0.0)
                    Expect.equal fooled (expected "fooled") "fooled")
        ]
    ]
