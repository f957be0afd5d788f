/// Training on some batches of an epoch alone.
module Tests.Methods.RcsTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support.SmallMethods
open Support

// What a rule was shown when it was asked.
[<NoEquality; NoComparison>]
type private Asked = { HeldOut: int64[]; Weights: string; Batches: int64[][] }

// Trains on the last and the first whole batch, from the second epoch on, chosen anew every other epoch.
let private lastAndFirst (asked: ResizeArray<Asked>) : Coreset = {
    Text = "the last and the first"
    HeldOut = 5
    Due = fun p -> p.Epoch % 2 = 1
    Choose =
        fun probe batches ->
            asked.Add { HeldOut = probe.HeldOut; Weights = hash probe.Parameters; Batches = batches }
            [| batches.Length - 1; 0 |]
}

// A training of 30 images on a net that shows them; the rows of every step are noted.
let private noting (seen: ResizeArray<int64[]>) coreset data : Trainer =
    let loss: Loss =
        fun scene ->
            seen.Add scene.Ids
            square "p" "v1" scene

    let method = own plainViews [ Pass.train "p" [ "v1" ] clean ] loss |> updating (adam 1e-3)

    {
        Machine = machine (glass 256)
        Method = { method with Sampling = Chosen coreset }
        Dataset = data
        Labels = Map.empty
        Images = Map.empty
        Batch = 4
        Epochs = 4
    }

let private progress t = [
    for e in Trainer.events t (fun () -> Trainer.start t) -> (Expect.wantOk e "a step").At
]

// Greedy choice in plain numbers: a head of one matrix, the divergence's gradient `wanted` at a head.
let private greedy count (wanted: float[][] -> float[][]) (gradients: float[][][]) (head: float[][]) =
    let flat (g: float[][]) = Array.init g[0].Length (fun j -> g |> Array.averageBy (fun row -> row[j]))

    ((head, []), [ 1..count ])
    ||> List.fold (fun (head, chosen) _ ->
        let w = flat (wanted head)
        let left = [ 0 .. gradients.Length - 1 ] |> List.except chosen
        let best = left |> List.maxBy (fun i -> dot (flat gradients[i]) w)
        let moved = Array.map2 (fun row g -> minus row (times 1e-3 g)) head gradients[best]
        moved, chosen @ [ best ])
    |> snd

[<Tests>]
let tests =
    testList "Methods.Rcs" [
        test "until the first choice all batches are trained on, then the chosen ones alone" (fun () ->
            use data = middles 30
            let asked, seen = ResizeArray<Asked>(), ResizeArray<int64[]>()
            let at = progress (noting seen (lastAndFirst asked) data)
            // 27 rows: six batches of four and one of three.
            Expect.equal
                (seen |> Seq.map _.Length |> List.ofSeq)
                ([ 4; 4; 4; 4; 4; 4; 3 ] @ List.replicate 6 4)
                "steps"
            Expect.hasLength asked 2 "chosen in the second epoch and in the fourth"
            let first, second = asked[0], asked[1]
            Expect.equal (first.Batches.Length, second.Batches.Length) (6, 6) "among the whole batches"
            let steps = List.ofSeq seen
            Expect.equal steps[7..8] [ first.Batches[5]; first.Batches[0] ] "the chosen, in their order"
            Expect.equal steps[9..10] steps[7..8] "and again in the epoch after"
            Expect.equal steps[11..12] [ second.Batches[5]; second.Batches[0] ] "chosen anew"
            Expect.notEqual second.Batches first.Batches "among that epoch's own batches"

            let ends = at |> List.filter (fun p -> p.StepInEpoch = 0) |> List.map _.Epoch
            Expect.equal ends [ 1; 2; 3; 4 ] "an epoch ends after its last batch"
            Expect.equal (List.last at).Step (List.last at).Steps "and the run with the last epoch"
            Expect.all at (fun p -> p.Step = int64 (p.Epoch * 7 + p.StepInEpoch)) "step and epoch agree")

        test "samples that are held out are never trained on" (fun () ->
            use data = middles 30
            let asked, seen = ResizeArray<Asked>(), ResizeArray<int64[]>()
            let t = noting seen (lastAndFirst asked) data
            progress t |> ignore
            let heldOut = asked[0].HeldOut
            Expect.hasLength (Array.distinct heldOut) 3 "a tenth of all"
            Expect.equal asked[1].HeldOut heldOut "the same all along"
            let trained = seen |> Seq.concat |> Seq.distinct |> List.ofSeq
            Expect.isEmpty (List.filter (fun id -> Array.contains id heldOut) trained) "none of them"
            Expect.hasLength trained 27 "all others"

            // No more than the rule asks for.
            let few = { lastAndFirst asked with HeldOut = 1 }
            progress (noting seen few data) |> ignore
            Expect.hasLength asked[2].HeldOut 1 "one"

            let other = { t with Machine = { t.Machine with Seed = 6UL } }
            progress other |> ignore
            Expect.notEqual asked[4].HeldOut heldOut "drawn by the seed")

        test "a rule may take gradients of any step at any weights" (fun () ->
            use data = middles 30
            let mutable found = None

            let rule: Coreset = {
                lastAndFirst (ResizeArray()) with
                    Choose =
                        fun probe batches ->
                            let step = own plainViews [ Pass.train "q" [ "v2" ] clean ] (square "q" "v2")
                            let twice = probe.Parameters |> Map.map (fun _ p -> p * 2.0)
                            let at p =
                                let found = probe.Gradient everything step.Step p batches[2]
                                floats found["scale"]
                            found <-
                                Some(
                                    batches[2],
                                    floats probe.Parameters["scale"],
                                    at probe.Parameters,
                                    at twice
                                )
                            [| 1 |]
            }

            progress (noting (ResizeArray()) rule data) |> ignore
            let ids, scale, once, twice = Expect.wantSome found "asked"
            let square = floats (data.Batch cpu ids) |> Array.averageBy (fun v -> v * v)
            // d/ds of s^2 times the mean square.
            close 1e-5 once [| 2.0 * scale[0] * square |] "at the weights"
            close 1e-5 twice (times 2.0 once) "at others")

        testPropertyN
            40
            "robustness-aware choice is greedy, each time from the head moved on"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let batches = Array.init (source.Whole(2, 6)) (fun i -> [| int64 i |])
                    let matrix () = Array.init 3 (fun _ -> source.Normals 2)
                    let gradients = batches |> Array.map (fun _ -> matrix ())
                    let head, target = matrix (), matrix ()
                    // So steep that the small step of a choice turns the next one.
                    let wanted (w: float[][]) = Array.map2 (fun row t -> times 800.0 (minus row t)) w target
                    let name = "head.fc1.weight"
                    let ofRows (g: float[][]) : Parameters = Map [ name, Arrays.matrix g ]
                    let step, heldOut = SimClr.method.Step, [| 77L; 78L |]

                    let probe: Probe = {
                        Parameters = Map.add "conv1.weight" (torch.ones [| 2L |]) (ofRows head)
                        HeldOut = heldOut
                        Gradient =
                            fun scored asked parameters ids ->
                                Expect.isTrue (scored name) "the head's matrices are scored"

                                for other in
                                    [ "conv1.weight"; "head.fc1.bias"; "head.bn1.weight@adv"; "fc.weight" ] do
                                    Expect.isFalse (scored other) other

                                if ids = heldOut then
                                    Expect.isTrue
                                        (obj.ReferenceEquals(asked, Rcs.divergenceStep))
                                        "the divergence"
                                    ofRows (wanted (Array.chunkBySize 2 (floats parameters[name])))
                                else
                                    Expect.isTrue (obj.ReferenceEquals(asked, step)) "the method's own step"
                                    Expect.equal
                                        (floats parameters[name])
                                        (Array.concat head)
                                        "at the run's weights"
                                    ofRows gradients[int ids[0]]
                    }

                    let share = source.Uniform(0.05, 1.0)
                    let count = max 1 (int (Math.Round(share * float batches.Length)))
                    let chosen = (Rcs.coreset step 1 1 share).Choose probe batches
                    Expect.equal (List.ofArray chosen) (greedy count wanted gradients head) "choice"))

        test "the greedy choice is not the plain ranking" (fun () ->
            // The second batch ranks next, but after the first one's step the third agrees more.
            let gradients = [| [| [| 10.0; 0.0 |] |]; [| [| 9.0; 0.0 |] |]; [| [| 0.0; 1.0 |] |] |]
            let wanted (w: float[][]) = [| [| 1.0 + 110.0 * w[0][0]; 0.5 |] |]
            Expect.equal (greedy 2 wanted gradients [| [| 0.0; 0.0 |] |]) [ 0; 2 ] "choice")

        test "a coreset is due after the warm-up, every few epochs" (fun () ->
            let rule = Rcs.coreset Acl.dualStream.Step 100 20 0.2
            let due = [
                for e in 0..160 do
                    if rule.Due(Progress.atEpoch e (Progress.start 3 200)) then e
            ]
            Expect.equal due [ 100; 120; 140; 160 ] "epochs"
            Expect.equal rule.HeldOut 512 "held out")

        test "stopped within an epoch of chosen batches, a run resumes bit for bit" (fun () ->
            let m = { small Rcs.method with Sampling = Chosen(Rcs.coreset Acl.dualStream.Step 1 2 0.4) }

            tryingAsIs 44 m (fun t ->
                let t = { t with Epochs = 4 }
                let start () = Trainer.start t
                // 40 rows: five batches, then two of them in each epoch, chosen in the second and the fourth.
                let whole = trace 99 t start
                Expect.hasLength whole 11 "steps"

                for steps in [ 5; 6; 7; 8 ] do
                    inFolder (fun folder ->
                        let taken = advance steps t start

                        try
                            let checkpoint = {
                                Configuration = sizes
                                Input = grey
                                Deployment = Deployment.ofMethod true t.Method
                                Provenance = None
                                State = taken
                            }
                            Expect.isOk (Checkpoint.save folder 2 checkpoint) "saved"
                        finally
                            State.dispose taken

                        let loaded, _ = Expect.wantOk (Checkpoint.load folder) "loaded"
                        let rest = trace 99 t (fun () -> loaded.State)
                        Expect.equal rest (List.skip steps whole) (sprintf "after %d steps" steps))))
    ]
