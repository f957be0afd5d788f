/// Classifiers that are not what attacks take them for, at every door.
module Tests.Attacks.ModelSanityTests

open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases

let private changing = "answers change from pass to pass"
let private crowded = "answers depend on the other images of the batch"
let private blocked = "no gradient reaches the images"
let private probable = "gives probabilities, not logits"

// Classifiers made of a sound one, with what is to be said of them.
let private unsound: (string * (Classifier -> Classifier) * string) list = [
    "random",
    (fun classify ->
        let mutable pass = 0L

        fun x ->
            pass <- pass + 1L
            let draw = { Rng.create 1UL "chance" [| 0L .. x.shape[0] - 1L |] with Step = pass }
            classify x + (Rng.normal [ 4L ] draw).``to`` x.dtype),
    changing
    "in train mode", (fun classify x -> classify ((x - x.mean [| 0L |]) / (x.std () + 0.1))), crowded
    "detaching", (fun classify x -> (classify x).detach()), blocked
    "rounding", (fun classify x -> classify ((x * 8.0).round())), blocked
    "of probabilities", (fun classify x -> (classify x).softmax 1L), probable
]

let private threat = Threat.create Linf 0.05

let private attacks = [ "fgsm"; "pgd-3"; "mi-fgsm-3"; "apgd-ce"; "fab"; "square-5"; "cw-l2-1x5" ]

// What each door says of a classifier: its name, and flags.
let private doors (classify: Classifier) (images: Tensor) (y: Tensor) = [
    for name in attacks do
        let attack = Expect.wantOk (AutoAttack.attack name) name

        "attack " + name, Scope.value (fun () -> (Workbench.attack attack 1UL threat classify images y).Flags)

    let e = {
        Evaluation.defaults with
            Attacks = [ "fgsm"; "square-5"; if images.shape[0] = 2L then "autoattack-rand" ]
            Threats = [ "linf:0.05" ]
    }

    let quiet _ _ = ()
    let measured = Workbench.measure quiet CancellationToken.None classify images y e

    for a in Expect.wantOk measured "measured" do
        "measure " + a.Name, a.Flags

    let once = { e with Attacks = [ "square-5" ] }
    let made = Workbench.craftOf None quiet CancellationToken.None classify images y once
    use made = Expect.wantOk made "made"
    "craft", made.Result.Flags
    "craft, own", (AdversarialExamples.own made).Attacked.Flags
    "transfer", (AdversarialExamples.onto cpu classify made).Attacked.Flags
]

let private crowd seed n =
    let source = Source seed
    let classify = bent source
    let images = single (noise source [ n; 1; 2; 3 ])
    let own (x: Tensor) = classify (x.``to`` torch.float64)
    own, images, labels (guesses own images)

[<Tests>]
let tests =
    testList "Attacks.ModelSanity" [
        testList "an unsound classifier is told of at every door" [
            for name, spoil, expected in unsound ->
                test name (fun () ->
                    for n in [ 1; 2; 9 ] do
                        let sound, images, y = crowd 1 n

                        for door, flags in doors (spoil sound) images y do
                            Expect.contains flags expected (sprintf "%s, %d images" door n))
        ]

        test "a sound classifier is not" (fun () ->
            for n in [ 1; 2; 40 ] do
                let sound, images, y = crowd 2 n

                for door, flags in doors sound images y do
                    for said in [ changing; crowded; blocked; probable ] do
                        Expect.isFalse (flags.Contains said) (sprintf "%s: %s" door said))

        test "a classifier that changes its images in place changes neither them nor the figures" (fun () ->
            let sound, images, y = crowd 3 9
            let before = bits images

            let greedy (x: Tensor) =
                let z = sound (x.add_ (0.0.ToScalar()))
                x.mul_ (0.0.ToScalar()) |> ignore
                z

            let figures classify =
                let e = { Evaluation.defaults with Attacks = attacks; Threats = [ "linf:0.05" ] }

                Expect.wantOk
                    (Workbench.measure (fun _ _ -> ()) CancellationToken.None classify images y e)
                    "measured"

            Expect.equal (figures greedy) (figures sound) "figures"
            Expect.equal (bits images) before "images"

            for name in attacks do
                let attack = Expect.wantOk (AutoAttack.attack name) name

                let subtracting (x: Tensor) =
                    x.sub_ (0.25.ToScalar()) |> ignore
                    sound (x + 0.25)

                let own = Workbench.attack attack 1UL threat subtracting images y
                let expected = Workbench.attack attack 1UL threat (fun x -> sound (x - 0.25 + 0.25)) images y
                Expect.equal (bits own.Images) (bits expected.Images) name
                Expect.equal (bits images) before (name + ": the images given"))

        test "what there is to say takes less than one more pass" (fun () ->
            for n in [ 1; 2; 20; 100 ] do
                let sound, images, y = crowd 4 n
                let mutable seen = 0L

                let counting (x: Tensor) =
                    seen <- seen + x.shape[0]
                    sound x

                let harm = Workbench.attack Attack.fgsm 1UL threat counting images y
                let needed = Array.sum (wholes harm.Forwards) + int64 n
                Expect.isLessThanOrEqual
                    (seen - needed)
                    (min 17L (int64 (n / 2) + 1L + int64 (n % 2)))
                    "rows")

        testPropertyN 4 "no accuracy under attack is above the clean one, even by chance" (fun (seed: int) ->
            balanced (fun () ->
                let sound, images, y = crowd seed 12
                let mutable pass = 0L

                let random (x: Tensor) =
                    pass <- pass + 1L
                    let draw = Rng.create (uint64 (abs (int64 seed))) "c" [| 0L .. x.shape[0] - 1L |]
                    let draw = { draw with Step = pass }
                    sound x * 0.1 + (Rng.normal [ 4L ] draw).``to`` torch.float64

                let e = {
                    Evaluation.defaults with
                        Attacks = [ "fgsm"; "pgd-2"; "square-3"; "autoattack-rand" ]
                        Threats = [ "linf:0.001" ]
                }

                let found = Workbench.measure (fun _ _ -> ()) CancellationToken.None random images y e
                let found = Expect.wantOk found "measured"

                for a in found.Tail do
                    Expect.isLessThanOrEqual a.Correct found.Head.Correct a.Name))

        test "one class, another shape and labels beyond the classes are refused at every door" (fun () ->
            let sound, images, y = crowd 5 3

            let refusedAtAll parts (classify: Classifier) (y: Tensor) =
                for name in attacks @ [ "autoattack" ] do
                    let attack = Expect.wantOk (AutoAttack.attack name) name
                    refuses
                        parts
                        (fun () -> Workbench.attack attack 1UL threat classify images y |> ignore)
                        name

                    let e = { Evaluation.defaults with Attacks = [ name ]; Threats = [ "linf:0.05" ] }
                    let quiet _ _ = ()

                    refuses
                        parts
                        (fun () ->
                            Workbench.measure quiet CancellationToken.None classify images y e |> ignore)
                        ("measure " + name)

                    refuses
                        parts
                        (fun () ->
                            Workbench.craftOf None quiet CancellationToken.None classify images y e
                            |> ignore)
                        ("craft " + name)

                refuses
                    parts
                    (fun () ->
                        Workbench.auditOf (fun _ _ -> ()) Audit.standard 1UL threat classify None images y
                        |> ignore)
                    "audit"

            let none = torch.zeros_like y
            refusedAtAll [ "two classes" ] (fun x -> (sound x).narrow(1L, 0L, 1L)) none
            refusedAtAll [ "[n; k]" ] (fun x -> (sound x).amax [| 1L |]) none
            refusedAtAll [ "labels" ] sound (none + 4L)
            refusedAtAll [ "labels" ] sound (none - 1L))

        test "radii that reach every image, and units that are not the box's, are refused or told" (fun () ->
            let sound, images, y = crowd 6 4
            let attacked threat () = Workbench.attack Attack.fgsm 1UL threat sound images y |> ignore
            let audited threat () =
                Workbench.auditOf (fun _ _ -> ()) Audit.standard 1UL threat sound None images y |> ignore

            // Images of 6 pixels.
            let tooFar = [
                Threat.create Linf 1.0, []
                Threat.create Linf 8.0, [ "linf:8/255?" ]
                Threat.create L2 (sqrt 6.0), []
                Threat.create L2 128.0, [ "l2:128/255?" ]
                Threat.create L1 6.0, []
                Threat.create L1 255.0, [ "l1:255/255?" ]
                Threat.create Linf 2.0 |> Threat.boxed -1.0 1.0, []
                Threat.create Linf 300.0 |> Threat.boxed 0.0 255.0, []
                { Threat.create Linf 0.1 with Radius = nan }, [ "NaN" ]
                { Threat.create Linf 0.1 with Radius = -1.0 }, [ "-1" ]
                { Threat.create Linf 0.1 with Box = Some(1.0, 0.0) }, []
            ]

            for threat, parts in tooFar do
                if threat.Box <> Some(1.0, 0.0) then
                    refuses parts (attacked threat) (Threat.text threat)
                    refuses parts (audited threat) (Threat.text threat)

                let e = { Evaluation.defaults with Attacks = [ "fgsm" ]; Threats = [ Threat.text threat ] }

                let measured = Workbench.measure (fun _ _ -> ()) CancellationToken.None sound images y e

                match measured with
                | Error [ Error.BadOption("--threat", _) ] -> ()
                | other -> failtestf "%s: %A" (Threat.text threat) other

            for threat in [ Threat.create Linf 0.99; Threat.create L2 2.4; Threat.create L1 5.9 ] do
                attacked threat ()

            let flags threat images = (Workbench.attack Attack.fgsm 1UL threat sound images y).Flags
            let said part flags message =
                Expect.exists flags (fun (flag: string) -> flag.Contains(part: string)) message
            said "radius 0" (flags (Threat.create Linf 0.0) images) "nothing may change"
            said "255 twice" (flags threat (images / 255.0)) "divided twice"
            let wide = Threat.create Linf 0.1 |> Threat.boxed -1.0 1.0
            said "box's units" (flags wide images) "pixels from 0 in a box from -1"
            said "normalised" (flags (Threat.unbounded threat) ((images - 0.5) / 0.25)) "normalised"
            Expect.equal (flags threat images) Set.empty "nothing else")

        test "a threat in another box: the audit finds the same" (fun () ->
            let sound, images, y = crowd 7 16
            let effort = { Audit.standard with Steps = 5; Long = 10; Restarts = 2; Queries = 20; Draws = 10 }

            let audit threat classify images =
                let found = Workbench.auditOf (fun _ _ -> ()) effort 1UL threat classify None images y
                found.Clean.Correct,
                found.Worst.Correct,
                found.Checks |> List.map (fun c -> c.Number, c.Verdict)

            let own = audit threat sound images
            let low = Threat.create Linf 0.1 |> Threat.boxed -1.0 1.0
            let other = audit low (fun x -> sound ((x + 1.0) / 2.0)) (images * 2.0 - 1.0)
            Expect.equal other own "pixels from -1 to 1"
            let wide = Threat.create Linf 12.75 |> Threat.boxed 0.0 255.0
            Expect.equal
                (audit wide (fun x -> sound (x / 255.0)) (images * 255.0))
                own
                "pixels from 0 to 255")
    ]
