/// The fast adaptive boundary attack, in its two forms.
module Fabs

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
open Bordering

let private brisk = { Fab.untargeted with Steps = 12 }
let private forms = [ brisk; { brisk with Targets = Some 9 } ]
let private again how : Fab = { how with Restarts = 3 }

// Runs are long: fewer cases than elsewhere.
let private law name check =
    testPropertyN 15 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (scene seed count)))

let private wrong s = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y

let private model (source: Source) classes pixels : Oracles.Linear = {
    Weights = source.Rows(classes, pixels)
    Offsets = source.Normals classes
}

// Images of a linear model with the labels that it gives them.
let private plain (source: Source) (model: Oracles.Linear) shape =
    let images = noise source shape
    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
    victims (Array.init y.Length int64) images y, y

let private drawOf (victims: Victims) = Draw.create 1UL "a" victims.Ids

// Two pixels, three classes, curved borders.
let private pair (source: Source) : Classifier =
    let w1, w2 = matrix (source.Rows(4, 2)) * 2.0, matrix (source.Rows(3, 4))
    let shift = tensor [ 4 ] (source.Normals 4)

    fun x ->
        Scope.tensor (fun () ->
            torch.nn.functional.linear (
                torch.nn.functional.linear(x.reshape [| x.shape[0]; -1L |], w1, shift).tanh(),
                w2
            ))

let private cells = 100

// All points of a grid over the box of two pixels.
let private grid =
    let at i = float i / float cells
    [|
        for i in 0..cells do
            for j in 0..cells do
                [| at i; at j |]
    |]

let tests =
    testList "Fabs" [
        testPropertyN
            40
            "a run on linear classifiers is as a slow one has it"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, classes = 1 + count % 4, source.Whole(2, 4)
                    let model = model source classes 6
                    let how = {
                        Targets = None
                        Steps = source.Whole(0, 15)
                        Lean = source.Uniform(0.0, 0.4)
                        Overshoot = source.Uniform(1.0, 1.3)
                        Backward = source.Uniform(0.5, 1.0)
                        Restarts = 1
                    }
                    let box = source.Among [ Some(0.0, 1.0); Some(-1.0, 2.0); None ]
                    let norm = source.Among [ Linf; L2; L1 ]
                    let threat = { Threat.create norm 0.1 with Box = box }
                    let victims, y = plain source model [ n; 1; 2; 3 ]
                    let rivals =
                        y
                        |> Array.map (fun y ->
                            if targeted then
                                [| (y + 1) % classes |]
                            else
                                Array.init (classes - 1) (fun k -> (y + 1 + k) % classes))
                    let named =
                        torch.tensor(rivals |> Array.concat |> Array.map int64).reshape([| int64 n; -1L |])
                    let harm = Fab.run how threat (linear model) victims named

                    let expected =
                        rows victims.Images
                        |> Array.mapi (fun i x ->
                            let image, first = slowRun how threat model x y[i] rivals[i]
                            {
                                Image = image
                                Success = first >= 0L
                                First = first
                                Forwards = int64 (2 * how.Steps)
                                Gradients = int64 (rivals[i].Length * how.Steps)
                            }
                            : Oracles.Deed)

                    same (deeds harm) expected "report"
                    let moved = Array.map2 minus (rows harm.Images) (rows victims.Images)
                    close
                        1e-12
                        (floats harm.Distance[norm])
                        (moved |> Array.map (Oracles.lengthOf norm))
                        "distance"))

        testPropertyN
            12
            "on linear classifiers it is hardly beyond the nearest border, and never short of it"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model = model source (source.Whole(2, 5)) 12
                    let victims, _ = plain source model [ 4; 3; 2; 2 ]

                    for norm in [ Linf; L2; L1 ] do
                        for box in [ Some(0.0, 1.0); None ] do
                            let threat = { Threat.create norm 0.1 with Box = box }
                            let far = rows victims.Images |> Array.map (borders norm box model)

                            for how in [ Fab.untargeted; Fab.targeted ] do
                                let how = { how with Steps = 40 }
                                let harm =
                                    (Fab.minimal how).Run (drawOf victims) threat (linear model) victims
                                let found, near = truths harm.Success, floats harm.Distance[norm]
                                // Which border seems nearest is asked without regard to the box.
                                let misled = how.Targets.IsNone && box.IsSome

                                for i in 0 .. near.Length - 1 do
                                    match far[i] with
                                    | [||] -> Expect.isFalse found[i] "out of reach"
                                    | far when misled ->
                                        if found[i] then
                                            let far = Array.min far - 1e-9, 1.01 * Array.max far
                                            within (fst far) (snd far) [| near[i] |] "distance"
                                    | far ->
                                        Expect.isTrue found[i] "found"
                                        let far = Array.min far
                                        within (far - 1e-9) (1.01 * far) [| near[i] |] "distance"))

        // Borders bend, so that it may end at one that is nearest only there.
        test "of two pixels and three classes it finds, but for a few, what a whole grid shows" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let hits = [|
                    for seed in 1..6 do
                        let source = Source seed
                        let classify = pair source
                        let images = noise source [ 6; 1; 1; 2 ]
                        let y = guesses classify images
                        let victims = victims [| 0L .. 5L |] images y
                        let verdicts = guesses classify (tensor [ grid.Length; 1; 1; 2 ] (Array.concat grid))
                        let how = { Fab.targeted with Steps = 40; Restarts = 3 }
                        let harm =
                            (Fab.minimal how).Run (drawOf victims) (Threat.create norm 0.5) classify victims
                        let found, near = truths harm.Success, floats harm.Distance[norm]
                        // A neighbour in the grid is at most half a cell away in each of two directions.
                        let cell = 1.0 / float cells

                        for i, x in Array.indexed (rows images) do
                            let far =
                                Array.fold2
                                    (fun far point verdict ->
                                        if verdict = y[i] then
                                            far
                                        else
                                            min far (Oracles.lengthOf norm (minus point x)))
                                    infinity
                                    grid
                                    verdicts

                            if Double.IsFinite far then
                                Expect.isTrue found[i] "found"
                                Expect.isGreaterThan near[i] (far - 1.5 * cell) "no nearer"
                                near[i] <= 1.02 * far + cell
                |]

                let share = hits |> Array.averageBy (fun hit -> if hit then 1.0 else 0.0)
                Expect.isGreaterThanOrEqual share 0.85 (sprintf "%A of %d" norm hits.Length))

        law "the verdict within a radius is that of the nearest image" (fun s ->
            for how in forms do
                let nearest = runBy (Fab.minimal how) s
                let held = runBy (Attack.within (Fab.minimal how)) s
                let harm = runBy (Fab.attack how) s
                Expect.equal (truths harm.Success) (truths held.Success) "verdicts"

                let expected =
                    Array.map2
                        (&&)
                        (truths nearest.Success)
                        (floats nearest.Distance[s.Threat.Norm] |> Array.map (fun d -> d <= s.Threat.Radius))
                Expect.equal (truths harm.Success) expected "verdicts"
                atMost s.Threat.Radius (floats harm.Distance[s.Threat.Norm]) "distance"
                // It never works longer, and what it finds is no nearer.
                let fewer short long = Expect.isLessThanOrEqual short long "looks"
                Array.iter2 fewer (wholes harm.Forwards) (wholes nearest.Forwards)
                let far (harm: Harm) = floats harm.Distance[s.Threat.Norm]

                for found, (near, least) in
                    Array.zip (truths harm.Success) (Array.zip (far harm) (far nearest)) do
                    if found then Expect.isGreaterThanOrEqual near (least - 1e-12) "distance")

        law "success is that of the stored image; what is not broken is the image itself" (fun s ->
            for attack in List.collect (fun how -> [ Fab.minimal how; Fab.attack (again how) ]) forms do
                let harm = runBy attack s
                let broken = Array.map2 (<>) (guesses s.Classify harm.Images) s.Y
                Expect.equal (truths harm.Success) broken "misclassified"
                let originals, wrong = rows s.Victims.Images, wrong s

                deeds harm
                |> Array.iteri (fun i deed ->
                    if wrong[i] then
                        let alone: Oracles.Deed = {
                            Image = originals[i]
                            Success = true
                            First = 0L
                            Forwards = 1L
                            Gradients = 0L
                        }
                        Expect.equal deed alone "one look at what is wrong already"
                    elif deed.Success then
                        Expect.isGreaterThan deed.First 0L "a first success"
                        Expect.isGreaterThan deed.Forwards deed.First "among the looks"
                    else
                        Expect.equal (deed.Image, deed.First) (originals[i], -1L) "unbroken"))

        law "more steps, more borders and more runs never end further away" (fun s ->
            let far how =
                let harm = runBy (Fab.minimal how) s
                Array.map2
                    (fun found d -> if found then d else infinity)
                    (truths harm.Success)
                    (floats harm.Distance[s.Threat.Norm])

            let falls less more message =
                Array.iter2
                    (fun less more -> Expect.isLessThanOrEqual more (less + 1e-12) message)
                    (far less)
                    (far more)

            for how in forms do
                falls { how with Steps = 5 } how "steps"
                falls how (again how) "runs"

            falls { brisk with Targets = Some 1 } { brisk with Targets = Some 3 } "borders")

        law "any split of the batch gives the same, and so does any order" (fun s ->
            for how in forms do
                for attack in [ Fab.minimal how; Fab.attack (again how) ] do
                    let together = deeds (runBy attack s)
                    let n = together.Length

                    for size in [ 1; 2 ] do
                        let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                        let apart =
                            parts |> Array.collect (fun places -> deeds (runBy attack (pick places s)))
                        same apart together (sprintf "batches of %d" size)

                    let order = (Source 1).Order n
                    let expected = order |> Array.map (Array.get together)
                    same (deeds (runBy attack (pick order s))) expected "permuted")

        law "the same seed gives the same bytes" (fun s ->
            for how in forms do
                let attack = Fab.minimal (again how)
                let image s = bits (runBy attack s).Images
                Expect.equal (image s) (image s) "bytes")

        test "later runs depend on the seed and the image's id" (fun () ->
            let s = scene 4 5
            // Each run of one step looks at its beginning and at where the step leads.
            let begun run draw =
                let seen = ResizeArray<float[]>()
                let classify (x: Tensor) =
                    seen.Add(floats x)
                    s.Classify x
                let how = { brisk with Restarts = run + 1; Steps = 1 }
                runBy (Fab.minimal how) { s with Classify = classify; Draw = draw } |> ignore
                seen[2 * run + 1]

            let other = { s.Draw with Seed = 99UL }
            let shifted = { s.Draw with Ids = s.Draw.Ids |> Array.map ((+) 1L) }
            let first, second = begun 0 s.Draw, begun 1 s.Draw
            Expect.notEqual second first "another beginning"
            Expect.notEqual (begun 2 s.Draw) second "and another"
            Expect.notEqual (begun 1 other) second "seed"
            Expect.notEqual (begun 1 shifted) second "id"
            Expect.equal (begun 0 other) first "the first run draws nothing")

        law "a later run begins within half the radius, and half of what was found" (fun s ->
            for norm in [ Linf; L2; L1 ] do
                let s = { s with Threat = { s.Threat with Norm = norm } }
                let one = runBy (Fab.minimal brisk) s
                let nearest =
                    Array.map2
                        (fun found d -> if found then d else infinity)
                        (truths one.Success)
                        (floats one.Distance[norm])
                let seen = ResizeArray<float[][]>()
                let classify (x: Tensor) =
                    seen.Add(rows x)
                    s.Classify x
                let how = { brisk with Restarts = 2 }
                runBy (Fab.minimal how) { s with Classify = classify } |> ignore
                let right = Array.indexed (wrong s) |> Array.filter (snd >> not) |> Array.map fst

                let originals = rows s.Victims.Images
                right
                |> Array.iteri (fun place i ->
                    // The clean look, and the first run's 12 steps of two.
                    let beginnings = seen[25]
                    let begun = minus beginnings[place] originals[i]
                    let most = 0.5 * min nearest[i] s.Threat.Radius
                    Expect.isLessThanOrEqual (Oracles.lengthOf norm begun) (most + 1e-9) "half"))

        law "the images given stay as they were, and the results lie in the box" (fun s ->
            let low, high = 0.2, 0.7
            let images = s.Victims.Images.clamp (low.ToScalar(), high.ToScalar())
            let before = bits images
            let s = {
                s with
                    Threat = { s.Threat with Box = Some(low, high) }
                    Victims = { s.Victims with Images = images }
            }
            let seen = ResizeArray<float[]>()
            let classify (x: Tensor) =
                seen.Add(floats x)
                s.Classify x

            for how in forms do
                let harm = runBy (Fab.minimal (again how)) { s with Classify = classify }
                Expect.equal (bits images) before "the images given"
                within low high (floats harm.Images) "box"
                Expect.isFalse harm.Images.requires_grad "gradient attached"

            for x in seen do
                within (low - 1e-15) (high + 1e-15) x "every look")

        law "the classifier sees as many rows as are counted" (fun s ->
            let mutable seen = 0L
            let classify (x: Tensor) =
                seen <- seen + x.shape[0]
                s.Classify x

            for how in forms do
                for attack in [ Fab.minimal how; Fab.attack (again how) ] do
                    seen <- 0L
                    let harm = runBy attack { s with Classify = classify }
                    // The verdict on what is stored is not the attack's.
                    Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"

            let looks how = wholes (runBy (Fab.minimal how) s).Forwards
            let slopes how = wholes (runBy (Fab.minimal how) s).Gradients
            let right count = wrong s |> Array.map (fun wrong -> if wrong then 0L else count)
            // The net has four classes: 3 borders, 12 steps of two looks each.
            Expect.equal (looks brisk) (right 24L |> Array.map ((+) 1L)) "FAB's looks"
            Expect.equal (slopes brisk) (right 36L) "FAB's gradients"
            let targeted = { brisk with Targets = Some 2; Restarts = 2 }
            Expect.equal (looks targeted) (right 96L |> Array.map ((+) 1L)) "FAB-T's looks"
            Expect.equal (slopes targeted) (right 48L) "FAB-T's gradients")

        test "FAB-T goes to the likeliest classes first" (fun () ->
            // Borders at 0.05 and 0.2 pixels; the nearer one is that of the unlikelier class, which is steep.
            let model: Oracles.Linear = {
                Weights = [| [| 0.0; 0.0 |]; [| 1.0; 0.0 |]; [| 0.0; 8.0 |] |]
                Offsets = [| 0.7; 0.0; -3.7 |]
            }
            let images = tensor [ 1; 1; 1; 2 ] [| 0.5; 0.5 |]
            let victims = victims [| 0L |] images [| 0 |]
            let near how =
                let threat = Threat.create L2 1.0
                let harm = (Fab.minimal how).Run (drawOf victims) threat (linear model) victims
                (floats harm.Distance[L2])[0]
            let within low v = within low (1.01 * low) [| v |] "distance"
            within 0.2 (near { Fab.targeted with Targets = Some 1 })
            within 0.05 (near { Fab.targeted with Targets = Some 2 })
            within 0.05 (near Fab.targeted)
            within 0.05 (near Fab.untargeted))

        law "with targets, only the target counts" (fun s ->
            let targets = guesses s.Classify s.Victims.Images |> Array.map (fun g -> (g + 1) % 4)
            let s = { s with Victims = { s.Victims with Targets = Some(labels targets) } }

            for how in forms do
                let harm = runBy (Fab.minimal { how with Steps = 40 }) s
                let reached = Array.map2 (=) (guesses s.Classify harm.Images) targets
                Expect.equal (truths harm.Success) reached "success"

                Array.iter2
                    (fun reached first -> Expect.equal (first > 0L) reached "first success")
                    reached
                    (wholes harm.FirstSuccess))

        test "targets on linear classifiers are reached where their region is nearest" (fun () ->
            let source = Source 5
            let model = model source 3 12
            let victims, y = plain source model [ 6; 3; 2; 2 ]
            let targets = y |> Array.map (fun y -> (y + 1) % 3)
            let victims = { victims with Targets = Some(labels targets) }
            let threat = { Threat.create L2 1.0 with Box = None }
            let harm = (Fab.minimal Fab.targeted).Run (drawOf victims) threat (linear model) victims
            Expect.allEqual (truths harm.Success) true "all reached"
            // No nearer than the border with the label, which is only one of the target's.
            let least =
                rows victims.Images
                |> Array.mapi (fun i x ->
                    let z = model.Logits x
                    (z[y[i]] - z[targets[i]]) / norm2 (minus model.Weights[y[i]] model.Weights[targets[i]]))
            Array.iter2
                (fun least far -> Expect.isGreaterThanOrEqual far (least - 1e-9) "distance")
                least
                (floats harm.Distance[L2]))

        test "one class cannot be left" (fun () ->
            let one (x: Tensor) = x.reshape([| x.shape[0]; -1L |]).narrow(1L, 0L, 1L)
            let s = scene 2 3
            let victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)

            for how in [ Fab.untargeted; Fab.targeted ] do
                let harm = (Fab.minimal how).Run s.Draw s.Threat one victims
                Expect.allEqual (truths harm.Success) false "broken"
                Expect.allEqual (wholes harm.Forwards) 1L "looks")

        test "a flat classifier is told, and so are logits that are no numbers" (fun () ->
            let s = scene 8 5
            let flat factor (x: Tensor) =
                (x.reshape [| x.shape[0]; -1L |]).narrow(1L, 0L, 4L) * factor
                + tensor [ 4 ] [| 2.0; 0.0; 0.0; 0.0 |]
            let victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)

            for how in forms do
                let harm = (Fab.minimal how).Run s.Draw s.Threat (flat 0.0) victims
                Expect.equal harm.Flags (Set [ "zero gradient" ]) "flat"
                Expect.allEqual (truths harm.Success) false "broken"
                Expect.equal (bits harm.Images) (bits victims.Images) "images"
                let steep (x: Tensor) = flat 1.0 x + (x.sum () * 0.0 + 1.0).log() * infinity
                let harm = (Fab.minimal how).Run s.Draw s.Threat steep victims
                Expect.isTrue (harm.Flags.Contains "not finite") "not finite"
                within 0.0 1.0 (floats harm.Images) "finite images")

        test "single precision stays so" (fun () ->
            let s = scene 8 5
            let w1 = single (matrix ((Source 3).Rows(4, 6)))
            let classify (x: Tensor) =
                Scope.tensor (fun () -> torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], w1))
            let images = single s.Victims.Images
            let victims = victims s.Victims.Ids images (guesses classify images)

            for norm in [ Linf; L2; L1 ] do
                let harm = (Fab.minimal Fab.targeted).Run s.Draw (Threat.create norm 0.1) classify victims
                Expect.equal harm.Images.dtype torch.float32 "type"
                within 0.0 1.0 (floats harm.Images) "box"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses classify harm.Images) (guesses classify images))
                    "success")

        test "faults are named" (fun () ->
            let build (how: Fab) () = Fab.minimal how |> ignore
            refuses [ "Overshoot"; "0" ] (build { brisk with Overshoot = 0.0 }) "overshoot"
            refuses [ "Lean"; "-1" ] (build { brisk with Lean = -1.0 }) "lean"
            refuses [ "Backward" ] (build { brisk with Backward = nan }) "backward"
            refuses [ "Targets"; "0" ] (build { brisk with Targets = Some 0 }) "targets"
            let s = scene 2 3
            let run () = Fab.run brisk s.Threat s.Classify s.Victims s.Victims.Labels |> ignore
            refuses [ "rivals"; "[n; r]" ] run "rivals")

        testList "published" [
            for case in Reference.ofAttacks "fab" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let classify = Reference.classifier case
                    let images = Reference.array [ "inputs"; "x" ] case
                    let y = Reference.values [ "inputs"; "y" ] case |> Array.map int
                    let param key = Reference.real [ "params"; key ] case
                    let how = {
                        Targets = None
                        Steps = Reference.whole [ "params"; "n_iter" ] case
                        Lean = param "alpha_max"
                        Overshoot = param "eta"
                        Backward = param "beta"
                        Restarts = 1
                    }
                    let victims = victims (Array.init y.Length int64) images y
                    let norm = Reference.norm case
                    let threat = Threat.create norm 1.0

                    let harm =
                        if Reference.truth [ "params"; "targeted" ] case then
                            let rivals = (Reference.indices [ "inputs"; "target" ] case).unsqueeze 1L
                            Fab.run how threat classify victims rivals
                        else
                            (Fab.minimal how).Run (drawOf victims) threat classify victims

                    Expect.allEqual (truths harm.Success) true "found"
                    let allowed = Reference.real [ "tolerance"; "x" ] case
                    let expected key = Reference.values [ "expected"; key ] case
                    close allowed (floats harm.Images) (expected "x_adv") "x_adv"
                    let shares = Array.map2 (/) (floats harm.Distance[norm]) (expected "distance")
                    let allowed = Reference.real [ "tolerance"; "distance_relative" ] case
                    within (1.0 - allowed) (1.0 + allowed) shares "distance")
        ]
    ]
