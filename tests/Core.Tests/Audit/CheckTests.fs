/// The audit's checks of outputs and of gradient attacks, one by one.
module Tests.Audit.CheckTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Audit
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AuditCases

let private words =
    testList "words" [
        test "invalid where the foundations fail, suspicious where another does, else no sign" (fun () ->
            let check number verdict = Check.create number verdict [] []
            let all = [ for number in 1..18 -> check number Verdict.Passed ]
            let but number verdict =
                all |> List.map (fun c -> if c.Number = number then check number verdict else c)
            Expect.equal (Check.finding all) Finding.NoSign "all pass"

            for number in 1..18 do
                let expected =
                    if List.contains number [ 1; 2; 3; 17; 18 ] then Finding.Invalid else Finding.Suspicious
                Expect.equal (Check.finding (but number Verdict.Failed)) expected (sprintf "%d fails" number)
                Expect.equal
                    (Check.finding (but number Verdict.Warned))
                    Finding.NoSign
                    (sprintf "%d warns" number)
                Expect.equal
                    (Check.finding (but number (Verdict.NotRun "")))
                    Finding.NoSign
                    (sprintf "%d not run" number)

            Expect.equal
                (Check.finding (but 7 Verdict.Failed @ [ check 1 Verdict.Failed ]))
                Finding.Invalid
                "the worse counts"
            Expect.equal
                (List.map Check.word [ Finding.NoSign; Finding.Suspicious; Finding.Invalid ])
                [ "no sign of masking"; "suspicious"; "invalid" ]
                "in words")

        test "measures are told in percent or as numbers" (fun () ->
            let check =
                Check.create 5 Verdict.Passed [ Check.share "FGSM" 0.125; Check.number "cosine" 0.98765 ] []
            Expect.equal (Check.told check) "FGSM 12.5 %, cosine 0.988" "told"
            Expect.equal
                (Check.allowed 0.005 100, Check.allowed 0.02 100, Check.allowed 0.02 30)
                (1, 2, 1)
                "allowed")
    ]

let private answers =
    testList "answers" [
        test "a function of each image is determined" (fun () ->
            passes (OutputChecks.determinism (subject (linear 1 4))) "linear")

        test "answers that hang on the images beside are not" (fun () ->
            let own = linear 1 4
            let classify (x: Tensor) = Scope.tensor (fun () -> own (x - x.mean ([| 0L |], true)))
            let check = OutputChecks.determinism (subject classify)
            fails check "less the batch's mean"
            Expect.equal (value "pass to pass" check) 0.0 "the same batch gives the same"
            Expect.isGreaterThan (value "batch to batch" check) 0.01 "half of it does not")

        test "verdicts that change are named" (fun () ->
            let own = linear 1 4
            let mutable pass = 0

            // One image's class changes in every second pass.
            let classify (x: Tensor) =
                pass <- pass + 1
                let bump =
                    tensor
                        [ int x.shape[0]; 4 ]
                        (Array.init (int x.shape[0] * 4) (fun i ->
                            if i = 9 && pass % 2 = 0 then 50.0 else 0.0))
                Scope.tensor (fun () -> own x + bump)

            let check = OutputChecks.determinism (subject classify)
            fails check "changes"
            Expect.equal check.Images [ 2 ] "the image")

        test "probabilities are no logits, and logits may add up to 1" (fun () ->
            let own = linear 1 4
            let softmax x = Scope.tensor (fun () -> (own x).softmax 1L)
            fails (OutputChecks.scale (subject softmax)) "softmax"
            passes (OutputChecks.scale (subject own)) "linear"
            let even x = Scope.tensor (fun () -> let z = own x in z - z.sum (1L, true) * 0.25 + 0.25)
            passes (OutputChecks.scale (subject even)) "rows of sum 1 with negative entries")

        test "pixels outside the box, answers that are not finite and attacks that stray are found" (fun () ->
            let sound = subject (linear 1 4)
            passes (OutputChecks.range sound None) "sound"
            let images = sound.Images.clone ()
            images[3, 0, 1, 2] <- torch.tensor 1.25
            let check = OutputChecks.range { sound with Images = images } None
            fails check "a pixel of 1.25"
            Expect.equal check.Images [ 3 ] "where"
            let own = linear 1 4
            let hole (x: Tensor) =
                Scope.tensor (fun () ->
                    own x / (flat x).narrow(1L, 0L, 1L).gt(0.5.ToScalar()).``to`` torch.float64)
            let holes = [
                for place, row in Array.indexed (rows sound.Images) do
                    if row[0] <= 0.5 then place
            ]
            Expect.equal
                (OutputChecks.range { sound with Classifier = hole } None).Images
                holes
                "infinite logits"
            let astray change =
                OutputChecks.range sound (Some { idle 12 with Aimed = change (strike 12 []) })
            fails (astray (fun s -> { s with Excess = 1e-3 })) "beyond the ball"
            fails (astray (fun s -> { s with Outside = 1e-3 })) "beyond the box"
            fails (astray (fun s -> { s with Flags = Set [ "gradient not finite" ] })) "not finite"
            passes (astray (fun s -> { s with Excess = 1e-6 })) "rounding")

        test "gradients that vanish are counted, image by image" (fun () ->
            let own = linear 1 4
            // No slope where the first pixel is bright, in all of the ball.
            let gated (x: Tensor) =
                Scope.tensor (fun () ->
                    let bright = (flat x).narrow(1L, 0L, 1L).gt(0.5.ToScalar())
                    torch.where (bright, (own x).detach(), own x))

            let subject = subjectOf (Threat.create Linf 1e-4) 12 gated
            let bright = [
                for place, row in Array.indexed (rows subject.Images) do
                    if row[0] > 0.5 then place
            ]
            let check = OutputChecks.gradients subject
            fails check "gated"
            Expect.equal check.Images bright "the bright ones"
            close 1e-12 [| value "cross-entropy" check |] [| float bright.Length / 12.0 |] "their share")

        test "cross-entropy vanishes with the size of the logits, the margin does not" (fun () ->
            let own = linear 1 4
            let at factor =
                OutputChecks.gradients (subject (fun x -> Scope.tensor (fun () -> own x * factor)))
            passes (at 1.0) "as they are"
            let check = at 1e5
            fails check "a hundred thousand times"
            Expect.isGreaterThan (value "cross-entropy" check) 0.5 "cross-entropy"
            Expect.equal (value "margin" check) 0.0 "margin"
            warns (at 20.0) "a probability that rounds to 1 is told of")
    ]

let private strength =
    testList "strength" [
        test "steps must find what one step finds" (fun () ->
            let s = hundred ()
            let check single usual =
                ConvergenceChecks.steps
                    { idle 100 with Single = strike 100 (upTo single); Usual = strike 100 (upTo usual) }
                    s
            passes (check 20 50) "they do"
            passes (check 20 19) "one is none"
            fails (check 20 18) "two are not"
            Expect.equal (check 20 18).Images [ 18; 19 ] "which"
            // What only later starts found is not the first run's.
            let late = strike 100 [ for place in 0..49 -> place, int64 effort.Steps + 2L ]
            fails
                (ConvergenceChecks.steps { idle 100 with Single = strike 100 (upTo 20); Usual = late } s)
                "later starts")

        test "a wider ball must not hold more" (fun () ->
            let s = hundred ()
            let curve counts =
                ConvergenceChecks.radius
                    {
                        idle 100 with
                            Curve =
                                List.zip GradientAttackSuite.radii (counts |> List.map (upTo >> strike 100))
                    }
                    s
            passes (curve [ 10; 20; 20; 60 ]) "falling"
            passes (curve [ 10; 20; 19; 60 ]) "one is none"
            fails (curve [ 10; 20; 18; 60 ]) "two more stand"
            close 1e-12 [| value "2r" (curve [ 10; 20; 20; 60 ]) |] [| 0.4 |] "the last")

        test "without bounds all must fall" (fun () ->
            let s = hundred ()
            let check half whole =
                ConvergenceChecks.unbounded
                    { idle 100 with Half = strike 100 (upTo half); Whole = strike 100 (upTo whole) }
                    s
            passes (check 50 100) "chance of two classes"
            fails (check 49 100) "more than chance"
            fails (check 100 99) "one stands"
            Expect.equal (check 100 99).Images [ 99 ] "which")

        test "more steps and more starts must have nothing left to break" (fun () ->
            let s = hundred ()
            let late count at = strike 100 [ for place in 0 .. count - 1 -> place, at ]
            // Of 10 steps the first half ends after the clean image, the start and 5 steps: look 6.
            let steps count at = ConvergenceChecks.iterations { idle 100 with Long = late count at } s
            passes (steps 50 6L) "all fall in the first half"
            warns (steps 4 7L) "four fall later"
            fails (steps 5 7L) "five do"
            // Two starts of 6 steps each end at look 14.
            let starts count at = ConvergenceChecks.restarts { idle 100 with Usual = late count at } s
            passes (starts 50 14L) "all fall to the first two"
            fails (starts 5 15L) "five fall to the others"
            Expect.equal (starts 5 15L).Images [ 0..4 ] "which")

        test "losses that do not saturate must find no more than cross-entropy" (fun () ->
            let s = hundred ()
            let check margin =
                ConvergenceChecks.losses
                    { idle 100 with Usual = strike 100 (upTo 30); Margin = strike 100 (upTo margin) }
                    s
            passes (check 35) "five"
            warns (check 36) "six"
            fails (check 41) "eleven"
            Expect.equal (check 41).Images [ 30..40 ] "which")

        test "the worst case counts what anything within the threat broke" (fun () ->
            let s = hundred ()
            let c = {
                idle 100 with
                    Single = strike 100 [ 1, 1L ]
                    Aimed = strike 100 [ 2, 1L ]
                    Curve = [ 0.5, strike 100 [ 3, 1L ]; 2.0, strike 100 [ 4, 1L ] ]
            }
            let worst = ConvergenceChecks.worst c [ 5; 2 ] s
            Expect.equal worst.Correct 96 "four of five are within it"
            passes (ConvergenceChecks.worstCase worst s) "known well enough"
            warns
                (ConvergenceChecks.worstCase { worst with Correct = 10; Total = 20 } s)
                "twenty images tell little")
    ]

[<Tests>]
let tests = testList "Audit.Check" [ words; answers; strength ]
