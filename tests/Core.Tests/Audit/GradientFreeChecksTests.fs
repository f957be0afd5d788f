/// The checks of an audit that look beyond its attacks by gradients, one by one, where the answer is known.
module Tests.Audit.GradientFreeChecksTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AuditCases

// Its margin changes sign along the first pixel alone, and its gradient says nothing of it.
let private hidden: Classifier =
    fun x ->
        Scope.tensor (fun () ->
            let first = (flat x).narrow(1L, 0L, 1L)
            torch.cat((ResizeArray [ first; 1.0 - first ]), 1L).detach())

let private strangers =
    testList "strangers" [
        test "Square and noise break what gradients that are hidden did not" (fun () ->
            let s = subjectOf (Threat.create Linf 0.4) 12 hidden
            let near = [
                for place, row in Array.indexed (rows s.Images) do
                    if abs (row[0] - 0.5) < 0.3 then place
            ]
            Expect.isNonEmpty near "some are near the border"

            for broken, check in
                [ GradientFreeChecks.square (idle 12) s; GradientFreeChecks.noise (idle 12) s ] do
                fails check "hidden"
                Expect.equal check.Images broken "what is told"
                Expect.containsAll broken near "those near the border"

            let all = { idle 12 with Single = strike 12 (upTo 12) }
            passes (snd (GradientFreeChecks.square all s)) "nothing is left for Square"
            passes (snd (GradientFreeChecks.noise all s)) "nor for noise")

        test "they break nothing that cannot be broken" (fun () ->
            let s = subjectOf (Threat.create Linf 1e-4) 12 (linear 1 4)
            passes (snd (GradientFreeChecks.square (idle 12) s)) "Square"
            passes (snd (GradientFreeChecks.noise (idle 12) s)) "noise")

        test "a surrogate's adversaries that do better than the classifier's own are found" (fun () ->
            let s = subjectOf (Threat.create Linf 0.3) 12 (linear 1 4)
            Expect.equal
                (snd (GradientFreeChecks.transfer (idle 12) s)).Verdict
                (Verdict.NotRun "no surrogate was given")
                "none"
            let same = { s with Surrogate = Some s.Classifier }
            let broken, check = GradientFreeChecks.transfer (idle 12) same
            fails check "its own twin"
            Expect.isNonEmpty broken "what it breaks"
            passes
                (snd (GradientFreeChecks.transfer { idle 12 with Long = strike 12 (upTo 12) } same))
                "where gradients broke all")

        test "what fools the surrogate alone is no matter" (fun () ->
            let other = linear 1 4
            // Whatever the image, the class is the first.
            let steady (x: Tensor) =
                Scope.tensor (fun () -> other x * 0.0 + tensor [ 4 ] [| 3.0; 2.0; 1.0; 0.0 |])
            let s = { subjectOf (Threat.create Linf 0.3) 12 steady with Surrogate = Some other }
            let broken, check = GradientFreeChecks.transfer (idle 12) s
            passes check "steady"
            Expect.equal broken [] "what it breaks")
    ]

let private landscape =
    testList "landscape" [
        test "a linear classifier of two classes has no surprises" (fun () ->
            let s = subjectOf (Threat.create L2 0.05) 12 (linear 2 2)
            let check = LossLandscapeChecks.surroundings s
            passes check "surroundings"
            close 1e-5 [| value "cosine" check |] [| 1.0 |] "the same gradient everywhere"
            atMost 1e-5 [| value "bend" check |] "and no bend"
            let differences = LossLandscapeChecks.differences s
            passes differences "differences"
            atMost 1e-6 [| value "differ by" differences |] "none"
            let ascent = LossLandscapeChecks.ascent s
            passes ascent "ascent"
            Expect.equal
                (value "steps that fall" ascent, value "images that stay" ascent)
                (0.0, 0.0)
                "it climbs")

        test "gradients that are none, or turned round, are found" (fun () ->
            let own = linear 2 2
            let without (x: Tensor) = (own x).detach()
            // The value of the one with the slope of the other: what a straight-through trick does.
            let turned (x: Tensor) = Scope.tensor (fun () -> own(x).detach() * 2.0 - own x)

            for name, classify in [ "none", without; "turned round", turned ] do
                let s = subjectOf (Threat.create Linf 0.05) 12 classify
                fails (LossLandscapeChecks.surroundings s) (name + ": surroundings")
                fails (LossLandscapeChecks.differences s) (name + ": differences")
                fails (LossLandscapeChecks.ascent s) (name + ": ascent")
                Expect.equal (LossLandscapeChecks.differences s).Images [ 0..7 ] "all that were examined")
    ]

let private oracle =
    testList "oracle" [
        test "PGD and FAB find the borders of linear classifiers" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                Expect.equal (SanityChecks.misses norm) 0 (sprintf "%A" norm))

        test "spoilt copies are seen through" (fun () ->
            Expect.equal (SanityChecks.seen (subject (linear 3 4))) 4 "all four")

        test "planted adversaries are found by gradients, and not without" (fun () ->
            let own = linear 3 4

            for threat in [ Threat.create Linf 0.1; Threat.create L2 0.2; Threat.create L1 0.4 ] do
                let found = SanityChecks.planted (subjectOf threat 12 own)
                Expect.equal found (Array.create 8 (Some true)) (Threat.text threat)

            let blind = SanityChecks.planted (subject (fun x -> (own x).detach()))
            Expect.isGreaterThan
                (blind |> Array.filter ((=) (Some false)) |> Array.length)
                5
                "without gradients"
            let constant (x: Tensor) = Scope.tensor (fun () -> (own x) * 0.0)
            Expect.equal (SanityChecks.planted (subject constant)) (Array.create 8 None) "nothing to find")

        test "the check as a whole" (fun () ->
            passes (SanityChecks.check (subject (linear 3 4))) "linear"
            let own = linear 3 4
            let check = SanityChecks.check (subject (fun x -> (own x).detach()))
            fails check "detached"
            Expect.isNonEmpty check.Images "what was not found")
    ]

[<Tests>]
let tests = testList "Audit.GradientFreeChecks" [ strangers; landscape; oracle ]
