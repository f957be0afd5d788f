/// Attacks in turn: the worst case for each image, from wherever they stand.
module Tests.Evaluation.AutoAttackTests

open System
open System.IO
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

// Breaks the images whose id is a multiple of a number.
let private breaking (every: int64) : Attack =
    Named.create (sprintf "multiples of %d" every) (fun _ _ _ victims ->
        let broken = victims.Ids |> Array.map (fun id -> id % every = 0L)
        let counts = torch.zeros_like victims.Labels

        {
            Images = victims.Images
            Success = torch.tensor broken
            Distance = Map.empty
            FirstSuccess = counts
            Forwards = counts
            Gradients = counts
            ZeroGradients = counts
            NotFinite = Map [ for place in NotFinite.places -> place, counts ]
            Flags = Set [ sprintf "seen %d" every ]
        })

let private stages = [ "three", breaking 3L; "five", breaking 5L; "square", breaking 7L ]
let private cascade = { Name = "stub"; Stages = stages }
let private threat = Threat.create Linf 0.1

// Right where the label is even.
let private even (dataset: Dataset) : Classifier =
    let labels = wholes dataset.Labels

    // Images are told apart by their first pixels' place in the set.
    fun images ->
        let known = rows (dataset.Batch cpu [| 0L .. dataset.Count - 1L |])
        let guess (image: float[]) =
            let at = Array.findIndex (fun other -> other = image) known
            if labels[at] % 2L = 0L then labels[at] else (labels[at] + 1L) % 10L

        let logits =
            rows images
            |> Array.map (fun image -> Array.init 10 (fun k -> if int64 k = guess image then 1.0 else 0.0))
        matrix logits

let private run keep from dataset =
    AutoAttack.run cascade 1UL threat (fun _ _ -> ()) keep cpu (even dataset) dataset from

let private start dataset = AutoAttack.start "key" (fst (RobustAccuracy.cleanly cpu (even dataset) dataset))
let private keepNothing _ = Ok()

[<Tests>]
let tests =
    testList "Evaluation.AutoAttack" [
        test "an image is robust where none of them breaks it, and each stage sees what is left" (fun () ->
            use data = sample false 120
            let labels = wholes data.Labels
            let finished = Expect.wantOk (run keepNothing (start data) data) "finished"
            let left divisors = [|
                for id in 0L .. 119L do
                    if labels[int id] % 2L = 0L && divisors |> List.forall (fun d -> id % d <> 0L) then id
            |]
            Expect.equal finished.Alive (left [ 3L; 5L; 7L ]) "alive"
            Expect.equal
                finished.Counts
                [ for divisors in [ []; [ 3L ]; [ 3L; 5L ]; [ 3L; 5L; 7L ] ] -> (left divisors).Length ]
                "clean, and after each"
            Expect.equal finished.Flags (Set [ "seen 3"; "seen 5"; "seen 7" ]) "flags of all")

        test "stopped anywhere and gone on with from its notes it ends the same" (fun () ->
            use data = sample false 60
            let whole = Expect.wantOk (run keepNothing (start data) data) "whole"

            for after in 1..5 do
                inFolder (fun folder ->
                    let notes = Path.Combine(folder, "notes.json")
                    let mutable kept = 0

                    let stopping standing =
                        kept <- kept + 1
                        EnsembleProgress.write notes standing
                        |> Result.bind (fun () -> if kept = after then Error Error.Interrupted else Ok())

                    let stopped = run stopping (start data) data
                    Expect.equal (stopped |> Result.map ignore) (Error Error.Interrupted) "stopped"
                    let from = Expect.wantSome (EnsembleProgress.read notes "key") "its notes"
                    Expect.equal (Expect.wantOk (run keepNothing from data) "the rest") whole "the same end"))

        testProperty "notes give back what was written, NaN and infinities included" (fun (seed: int) ->
            inFolder (fun folder ->
                let source = Source seed
                let ids () = Array.init (source.Whole(0, 5)) (fun i -> int64 i * 7L)
                let real () =
                    source.Among [ nan; infinity; -infinity; 0.0; source.Normal(); Double.Epsilon ]

                let tally () = {
                    Forwards = int64 (source.Whole(0, 1000))
                    Gradients = Int64.MaxValue
                    ZeroGradients = source.Whole(0, 9)
                    Furthest = real ()
                    Pixels = source.Among [ None; Some(real (), real ()) ]
                    NotFinite = Map [ for place in NotFinite.places -> place, source.Whole(0, 9) ]
                }

                let standing = {
                    Key = "key"
                    Stage = source.Whole(0, 3)
                    Queue = ids ()
                    Alive = ids ()
                    Counts = List.init (source.Whole(0, 4)) id
                    Tallies = List.init (source.Whole(0, 4)) (fun _ -> tally ())
                    Cost = tally ()
                    Flags = Set [ "zero gradient"; "\"odd\", ünï" ]
                }
                let notes = Path.Combine(folder, "notes.json")
                Expect.wantOk (EnsembleProgress.write notes standing) "written"
                let found = Expect.wantSome (EnsembleProgress.read notes "key") "read"
                // NaN is not equal to itself, but is printed the same.
                Expect.equal (sprintf "%A" found) (sprintf "%A" standing) "every field"
                let text = File.ReadAllText notes
                Expect.wantOk (EnsembleProgress.write notes found) "written again"
                Expect.equal (File.ReadAllText notes) text "every digit"))

        test "notes of something else, damaged ones and none are not gone on from" (fun () ->
            inFolder (fun folder ->
                use data = sample false 10
                let notes = Path.Combine(folder, "notes.json")
                Expect.isNone (EnsembleProgress.read notes "key") "none"
                Expect.wantOk (EnsembleProgress.write notes (start data)) "written"
                Expect.isSome (EnsembleProgress.read notes "key") "its own"
                Expect.isNone (EnsembleProgress.read notes "other") "another measurement's"
                File.WriteAllText(notes, (File.ReadAllText notes).Substring 20)
                Expect.isNone (EnsembleProgress.read notes "key") "damaged"
                let earlier = """{"key":"key","stage":0,"queue":[],"alive":[],"counts":[0],"flags":[]}"""
                File.WriteAllText(notes, earlier)
                Expect.isNone (EnsembleProgress.read notes "key") "without tallies"
                File.WriteAllText(notes, "null")
                Expect.isNone (EnsembleProgress.read notes "key") "empty"))

        test "a score-based attack that breaks what gradients left is warned of" (fun () ->
            let finished counts = {
                Key = ""
                Stage = 3
                Queue = [||]
                Alive = [||]
                Counts = counts
                Tallies = []
                Cost = AttackCost.none
                Flags = Set.empty
            }
            let warned counts = AutoAttack.warnings cascade 1000 (finished counts)
            Expect.isNonEmpty (warned [ 500; 400; 400; 397 ]) "three of a thousand"
            Expect.isEmpty (warned [ 500; 400; 400; 398 ]) "two of a thousand"
            Expect.isEmpty (warned [ 500; 100; 50; 50 ]) "what gradients break is no matter")

        test "AutoAttack leaves no more standing than any of its members" (fun () ->
            use data = sample false 30
            use encoder = pixels 784
            use train = sample true 100
            use head = LinearProbe.fit LinearProbe.quick ignore encoder train
            let classify = LinearProbe.classifier encoder head
            let brief = { Apgd.defaults with Steps = 10 }

            let members = [
                "apgd-ce", Apgd.ce brief
                "fab-t", Fab.attack { Fab.targeted with Steps = 5; Targets = Some 2 }
                "square", Square.attack { Square.standard with Queries = 20 }
            ]

            let threat = Threat.create Linf 0.02
            let cascade = { Name = "brief"; Stages = members }
            let right, _ = RobustAccuracy.cleanly cpu classify data
            let start = AutoAttack.start "" right
            let run = AutoAttack.run cascade 1UL threat (fun _ _ -> ()) keepNothing cpu classify data start
            let finished = Expect.wantOk run "finished"
            Expect.equal finished.Counts (List.sortDescending finished.Counts) "never more"
            Expect.isLessThan finished.Alive.Length finished.Counts.Head "something breaks"

            for stage in members do
                let alone = RobustAccuracy.under right stage 1UL threat ignore cpu classify data
                Expect.isLessThanOrEqual finished.Alive.Length alone.Correct (fst stage))

        test "the names that there are" (fun () ->
            Expect.equal
                (AutoAttack.standard.Stages |> List.map fst)
                [ "apgd-ce"; "apgd-t"; "fab-t"; "square" ]
                "the standard"
            for name in [ "autoattack"; "AutoAttack+"; "autoattack-RAND" ] do
                Expect.isSome (AutoAttack.find name) name
            Expect.isNone (AutoAttack.find "pgd-20") "one alone")

        test "a classifier that answers by chance or with probabilities is found out" (fun () ->
            let source = Source 5
            let weights = matrix (source.Rows(6, 4))
            let logits (x: Tensor) = x.reshape([| x.shape[0]; -1L |]).matmul weights
            let images = noise source [ 8; 1; 2; 3 ]
            let mutable calls = 0.0

            let noisy (x: Tensor) =
                calls <- calls + 1.0
                let count = int x.shape[0] * 4
                logits x + tensor [ count / 4; 4 ] (Array.init count (fun i -> 0.01 * sin (calls * float i)))

            let faults classifier = ModelSanity.faults (Some(0.0, 1.0)) classifier images
            Expect.equal (faults logits) Set.empty "sound"
            Expect.equal (faults noisy) (Set [ "answers change from pass to pass" ]) "chance"
            let softmax x = (logits x).softmax 1L
            Expect.equal (faults softmax) (Set [ "gives probabilities, not logits" ]) "probabilities")
    ]
