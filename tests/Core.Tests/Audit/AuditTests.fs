/// Audits of classifiers that are trained and sound, and of such as are spoilt on purpose.
module Tests.Audit.AuditTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TrainedClassifiers

// Less than a user's audit spends.
let private brief = { Audit.standard with Queries = 150; Draws = 50; Looks = 12 }

let private silent (_: string) (_: float) = ()

let private failed (audited: Audited) =
    audited.Checks
    |> List.filter (fun c -> c.Verdict = Verdict.Failed)
    |> List.map (fun c -> sprintf "%d %s: %s" c.Number c.Name (Check.told c))

// Pupils that no threshold was fixed on: other seeds, pictures and clothes.
let private lessons = [
    "pictures", tanh', 60, (fun () -> pictures 11UL 4 8L)
    "pictures in L2", relu, 60, (fun () -> pictures 12UL 3 8L |> under (Threat.create L2 0.7))
    "clothes", conv, 50, (fun () -> clothes 0 150 40 14)
    "clothes, few pixels", tanh', 80, (fun () -> clothes 200 300 50 7)
]

let private sound (name, build, steps, lesson) robust =
    test (sprintf "%s, %s: no sign of masking" name (if robust then "robust" else "plain")) (fun () ->
        let audited = teach 1UL build robust steps (lesson ()) |> audit brief 1UL
        Expect.equal (failed audited) [] "checks that failed"
        Expect.equal audited.Finding Finding.NoSign "the finding"
        Expect.isGreaterThan audited.Clean.Fraction 0.5 "it has learnt something"
        Expect.isLessThan audited.Worst.Correct audited.Clean.Correct "and something breaks it")

let private spoilt (name, build, steps, lesson) =
    test (sprintf "%s: each fault is seen by the check meant for it" name) (fun () ->
        let pupil = teach 2UL build true steps (lesson ())

        for fault in faults |> List.filter (fun fault -> fault.Fits build) do
            let audited = pupil |> spoil fault |> audit brief 1UL
            let meant = audited.Checks |> List.find (fun c -> c.Number = fault.Meant)
            Expect.equal meant.Verdict Verdict.Failed (sprintf "%s: %s" fault.Kind (Check.told meant))
            Expect.notEqual audited.Finding Finding.NoSign fault.Kind)

let private noThreat = Threat.create Linf 0.0

let private refusal parts change =
    let images, labels = torch.zeros [| 2L; 1L; 2L; 2L |], torch.tensor [| 0L; 1L |]
    let classify (x: Tensor) = x.reshape [| x.shape[0]; -1L |]
    let threat = Threat.create Linf 0.1
    let classify, images, labels, threat = change (classify, images, labels, threat)
    refuses
        parts
        (fun () -> AuditTarget.create classify None images labels threat 1UL brief |> ignore)
        "refused"

[<Tests>]
let tests =
    testList "Audit.Audit" [
        for lesson in lessons do
            sound lesson false
            sound lesson true

        spoilt lessons[0]
        spoilt lessons[2]

        test "all checks in their order, and what is being done" (fun () ->
            let told = ResizeArray<string * float>()
            use _ = torch.NewDisposeScope()
            let pupil = teach 1UL tanh' false 40 (pictures 13UL 3 6L)
            let l = pupil.Lesson
            let subject = AuditTarget.create pupil.Classify None l.TestImages l.TestLabels l.Threat 1UL brief
            let audited = Audit.run (fun what share -> told.Add(what, share)) subject
            Expect.equal (audited.Checks |> List.map _.Number |> List.sort) [ 1..18 ] "each once"
            Expect.equal (audited.Checks |> List.map _.Number) [ 1..18 ] "in order"
            Expect.equal
                (told |> Seq.map fst |> Seq.distinct |> List.ofSeq)
                [ "answers"; "gradient attacks"; "other attacks"; "surroundings"; "known cases" ]
                "stages"
            within 0.0 1.0 (told |> Seq.map snd |> Array.ofSeq) "shares"
            let transfer = audited.Checks[10]
            Expect.equal transfer.Verdict (Verdict.NotRun "no surrogate was given") "transfer")

        test "the same seed finds the same, whatever batches the images come in" (fun () ->
            let pupil = teach 1UL tanh' false 40 (pictures 13UL 3 6L)
            let first = audit brief 7UL pupil
            Expect.equal (audit brief 7UL pupil) first "again"
            Expect.equal first.Worst.Total 60 "all images")

        test "a classifier that is never right cannot be judged" (fun () ->
            let images = single (noise (Source 3) [ 6; 1; 2; 3 ])
            let labels = torch.tensor (Array.create 6 2L)
            let classify (x: Tensor) =
                x.reshape([| x.shape[0]; -1L |]).narrow(1L, 0L, 3L) * tensor [ 3 ] [| 1.0; 1.0; 0.0 |]
            let audited =
                AuditTarget.create classify None images labels (Threat.create L2 0.1) 1UL brief
                |> Audit.run silent
            Expect.equal audited.Finding Finding.Invalid "the finding"

            for check in audited.Checks[3..15] do
                Expect.equal check.Verdict (Verdict.NotRun "no image is classified correctly") check.Name

            Expect.equal audited.Worst.Correct 0 "none stands")

        test "two classes, images that are not square, double precision" (fun () ->
            let source = Source 5
            let weights = matrix (source.Rows(12, 2))
            let classify (x: Tensor) =
                Scope.tensor (fun () -> x.reshape([| x.shape[0]; -1L |]).matmul weights)
            let images = noise source [ 30; 2; 2; 3 ]
            let labels = (classify images).argmax 1L
            let audited =
                AuditTarget.create classify None images labels (Threat.create Linf 0.05) 1UL brief
                |> Audit.run silent
            Expect.equal (failed audited) [] "checks that failed")

        test
            "attacks on a classifier that detaches its answers end, and say that there is no gradient"
            (fun () ->
                let source = Source 6
                let weights = matrix (source.Rows(6, 4))
                let logits (x: Tensor) = x.reshape([| x.shape[0]; -1L |]).matmul weights
                let images = noise source [ 5; 1; 2; 3 ]
                let labels = (logits images).argmax 1L

                let cuts = [
                    "detached", (fun x -> (logits x).detach())
                    "without recording", (fun x -> use _ = torch.no_grad () in logits x)
                    "of its own leaf", (fun (x: Tensor) -> logits (x.detach().requires_grad_ true))
                ]

                let attacks = [
                    Attack.fgsm
                    Attack.pgd 0.25 3
                    Apgd.ce { Apgd.defaults with Steps = 5 }
                    Fab.attack { Fab.targeted with Steps = 3 }
                    Fab.attack { Fab.untargeted with Steps = 3 }
                    CarliniWagner.attack { CarliniWagner.defaults with Steps = 5 }
                ]

                for name, classify in cuts do
                    for attack in attacks do
                        let harm = Workbench.attack attack 1UL (Threat.create L2 0.01) classify images labels
                        Expect.hasLength (truths harm.Success) 5 (name + ": " + attack.Text)

                    let harm =
                        Workbench.attack Attack.fgsm 1UL (Threat.create L2 0.01) classify images labels
                    Expect.contains harm.Flags "zero gradient" name)

        test "what cannot be audited is refused" (fun () ->
            refusal [ "threat"; "above 0" ] (fun (c, x, y, _) -> c, x, y, noThreat)
            refusal [ "classifier"; "two classes" ] (fun (_, x, y, t) ->
                (fun x -> x.reshape([| x.shape[0]; -1L |]).narrow(1L, 0L, 1L)), x, y, t)
            refusal [ "classifier"; "[n; k]" ] (fun (_, x, y, t) -> (fun x -> x.alias ()), x, y, t)
            refusal [ "images"; "[n; c; h; w]" ] (fun (c, x, y, t) -> c, x.squeeze 1L, y, t)
            refusal [ "images"; "float32 or float64" ] (fun (c, x, y, t) -> c, x.``to`` torch.uint8, y, t)
            refusal [ "images"; "1 image or more" ] (fun (c, x, y, t) ->
                c, x.narrow (0L, 0L, 0L), y.narrow (0L, 0L, 0L), t)
            refusal [ "labels"; "2 of them" ] (fun (c, x, y, t) -> c, x, y.narrow (0L, 0L, 1L), t)
            refusal [ "labels"; "int64" ] (fun (c, x, y, t) -> c, x, y.``to`` torch.int32, t)
            refusal [ "labels"; "0 .. 3" ] (fun (c, x, y, t) -> c, x, y + 3L, t))
    ]
