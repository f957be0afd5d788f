/// How often a classifier is right, under attack and not.
module Tests.Evaluation.RobustAccuracyTests

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

// An attack that breaks the images whose id is odd and raises a flag in batches that hold id 0.
let private stub: Attack =
    Named.create "stub" (fun draw _ _ victims ->
        let odd = victims.Ids |> Array.map (fun id -> id % 2L = 1L)
        let counts = torch.zeros_like victims.Labels
        {
            Images = victims.Images
            Success = torch.tensor odd
            Distance = Map.empty
            FirstSuccess = counts
            Forwards = counts
            Gradients = counts
            ZeroGradients = counts
            NotFinite = Map [ for place in NotFinite.places -> place, counts ]
            Flags = if Array.contains 0L draw.Ids then Set [ "zero gradient" ] else Set.empty
        })

[<Tests>]
let tests =
    testList "Evaluation.RobustAccuracy" [
        testTheory
            "attacks by name"
            [
                "fgsm", "FGSM"
                "FGSM", "FGSM"
                "pgd-20", "PGD-20, step 0.25 radii"
                "PGD-7", "PGD-7, step 0.25 radii"
                "pgd-20:0.125", "PGD-20, step 0.125 radii"
                "cw-pgd-20", "CW-PGD-20, step 0.25 radii"
                "CW-PGD-7:0.5", "CW-PGD-7, step 0.5 radii"
                "mi-fgsm-10", "MI-FGSM-10, decay 1, step 0.1 radii"
                "MI-FGSM-5:0.25", "MI-FGSM-5, decay 1, step 0.25 radii"
                "apgd-ce", "APGD-CE, 100 steps"
                "apgd-dlr", "APGD-DLR, 100 steps"
                "apgd-t", "APGD-T, 100 steps"
                "cw-l2", "C&W L2, c searched in 9 rounds from 0.001, confidence 0, at most 1000 steps of 0.01"
                "CW-L2-5x40",
                "C&W L2, c searched in 5 rounds from 0.001, confidence 0, at most 40 steps of 0.01"
                "cw-l2-fixed", "C&W L2, c 1, confidence 0, at most 50 steps of 0.01"
                "fab", "FAB, 100 steps"
                "FAB-T", "FAB-T, 9 targets, 100 steps"
            ]
            (fun (name, text) ->
                Expect.equal (Expect.wantOk (RobustAccuracy.attack name) name).Text text name)

        testTheory
            "what is no attack"
            [
                "pgd-0"
                "pgd-x"
                "pgd--3"
                "pgd-20:0"
                "pgd-20:-1"
                "pgd-20:nan"
                "pgd-20:infinity"
                "pgd-20:0,5"
                "pgd-20:x"
                "pgd-1.5"
                "pdg-20"
                "pgd"
                "fgsm-2"
                "cw"
                "cw-pgd"
                "cw-pgd-0"
                "cw-pgd-20:x"
                "cw-l2-9"
                "cw-l2-9x"
                "cw-l2-0x10"
                "cw-l2-9x10x3"
                "apgd"
                "apgd-ce-0"
                "cw-linf"
                "fab-u"
                "fab-t-9"
                ""
            ]
            (fun name ->
                let error = wantError (RobustAccuracy.attack name) name
                says [ sprintf "'%s'" name; "pgd-20" ] error name
                Expect.contains [ 2; 3 ] (Error.exitCode error) "a bad option or an unknown name")

        test "accuracy counts what is right, over all batches" (fun () ->
            // More than one batch, and a last one that is not full.
            use data = sample false 700
            let guess = 3L
            let always (x: Tensor) =
                torch.nn.functional
                    .one_hot(torch.full ([| x.shape[0] |], guess.ToScalar(), torch.int64), 10L)
                    .``to``
                    torch.float32
            let expected = wholes data.Labels |> Array.filter ((=) guess) |> Array.length
            let accuracy = RobustAccuracy.clean cpu always data
            Expect.equal (accuracy.Name, accuracy.Correct, accuracy.Total) ("clean", expected, 700) "counts"
            close 1e-12 [| accuracy.Fraction |] [| float expected / 700.0 |] "share")

        test "under attack, what the attack did not break is right; flags and images done are told" (fun () ->
            use data = sample false 601
            let told = ResizeArray<int>()
            let accuracy =
                RobustAccuracy.under
                    (Array.create 601 true)
                    ("stub", stub)
                    1UL
                    (Threat.create Linf 0.1)
                    told.Add
                    cpu
                    (fun x -> x)
                    data
            Expect.equal (accuracy.Name, accuracy.Correct, accuracy.Total) ("stub", 301, 601) "counts"
            Expect.equal accuracy.Flags (Set [ "zero gradient" ]) "flags"
            Expect.isAscending told "images done"
            Expect.equal (Seq.last told) 601 "all of them")

        test "a real attack's accuracy is that of the whole set at once" (fun () ->
            use data = sample false 300
            let weights = shaken (Source 3) (init 3UL (tinyNet grey SimClr.method))
            use encoder = encoderOf (tinyNet grey SimClr.method) weights clean |> asSingle
            use train = sample true 200
            use head = LinearProbe.fit LinearProbe.quick ignore encoder train
            let classify = LinearProbe.classifier encoder head
            let threat = Threat.create Linf 0.02
            let attack = Attack.pgd 0.5 2
            let right, clean = RobustAccuracy.cleanly cpu classify data
            let accuracy = RobustAccuracy.under right ("pgd", attack) 9UL threat ignore cpu classify data
            let ids = [| 0L .. 299L |]

            let harm =
                attack.Run (Rng.create 9UL "evaluate/pgd" ids) threat classify {
                    Ids = ids
                    Images = data.Batch cpu ids
                    Labels = data.LabelsOf cpu ids
                    Targets = None
                }

            let unbroken = truths harm.Success |> Array.filter not |> Array.length
            Expect.equal accuracy.Correct unbroken "right"
            Expect.equal clean (RobustAccuracy.clean cpu classify data) "clean"
            Expect.isLessThan accuracy.Correct clean.Correct "it breaks some"
            Expect.isGreaterThan accuracy.Correct 0 "and not all"
            Expect.equal
                (RobustAccuracy.under right ("pgd", attack) 9UL threat ignore cpu classify data)
                accuracy
                "again")
    ]
