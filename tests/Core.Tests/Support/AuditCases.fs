/// Classifiers to judge whose faults are known, and attacks that have broken what a test says.
module Support.AuditCases

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open Support.Arrays
open Support.Fixtures

let effort = { Steps = 6; Long = 10; Restarts = 4; Queries = 60; Draws = 40; Looks = 8 }
let box = Threat.create Linf 0.1

let flat (x: Tensor) = x.reshape [| x.shape[0]; -1L |]

/// Logits that are linear in the pixels, of images [n; 1; 2; 3].
let linear seed classes : Classifier =
    let weights = matrix ((Source seed).Rows(6, classes))
    fun x -> Scope.tensor (fun () -> (flat x).matmul weights)

/// Noise, which the classifier gets right.
let subjectOf threat count (classify: Classifier) =
    let images = noise (Source 8) [ count; 1; 2; 3 ]
    AuditTarget.create classify None images ((classify images).argmax 1L) threat 1UL effort

let subject classify = subjectOf box 12 classify

/// An outcome that broke some of the images after a number of evaluations.
let strike count (broken: (int * int64) list) : AttackOutcome =
    let first =
        Array.init count (fun place ->
            List.tryPick (fun (p, at) -> if p = place then Some at else None) broken)

    {
        Name = "made"
        Broken = first |> Array.map Option.isSome
        First = first |> Array.map (Option.defaultValue -1L)
        Excess = 0.0
        Outside = 0.0
        Flags = Set.empty
    }

let upTo n = [ for place in 0 .. n - 1 -> place, 1L ]

/// A campaign where no attack broke anything.
let idle count : GradientAttackSuite =
    let none = strike count []

    {
        Single = none
        Usual = none
        Long = none
        Margin = none
        Ratio = Some none
        Scaled = none
        Aimed = none
        Curve = GradientAttackSuite.radii |> List.map (fun radii -> radii, none)
        Half = strike count (upTo count)
        Whole = strike count (upTo count)
    }

let value what (check: Check) = (check.Measures |> List.find (fun m -> m.What = what)).Value

let comesTo verdict (check: Check) message =
    Expect.equal check.Verdict verdict (message + ": " + Check.told check)

let passes check message = comesTo Verdict.Passed check message
let fails check message = comesTo Verdict.Failed check message
let warns check message = comesTo Verdict.Warned check message

/// Of a hundred images that are all classified correctly.
let hundred () =
    let classify (x: Tensor) =
        Scope.tensor (fun () ->
            torch.cat (ResizeArray [ (flat x).sum(1L, true); (flat x).sum(1L, true) - 1.0 ], 1L))
    subjectOf box 100 classify
