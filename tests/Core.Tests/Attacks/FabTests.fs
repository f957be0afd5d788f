/// The fast adaptive boundary attack, in its two forms.
module Tests.Attacks.FabTests

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
open Support.HyperplaneOracle
open Support.FabCases
open Support

[<Tests>]
let tests =
    testList "Attacks.Fab" [
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
                    let harm = FabSearch.at how threat (linear model) victims named

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
                let far (harm: AttackResult) = floats harm.Distance[s.Threat.Norm]

                for found, (near, least) in
                    Array.zip (truths harm.Success) (Array.zip (far harm) (far nearest)) do
                    if found then Expect.isGreaterThanOrEqual near (least - 1e-12) "distance")

        law "success is that of the stored image; what is not broken is the image itself" (fun s ->
            for attack in List.collect (fun how -> [ Fab.minimal how; Fab.attack (again how) ]) forms do
                runBy attack s |> leavesTheUnbroken s)

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
    ]
