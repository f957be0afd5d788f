/// Audits of classifiers that are sound and of such as are spoilt on purpose.
module Audits

open Expecto
open AdvContrast.Core
open Laws
open Pupils

let private clock = System.Diagnostics.Stopwatch.StartNew()

let private show (pupil: Pupil) (audited: Audited) (t: float) =
    printfn "== %s: clean %.2f worst %.2f: %s (%.2f s)" pupil.Name audited.Clean.Fraction audited.Worst.Fraction (Check.word audited.Finding) t

    for check in audited.Checks do
        printfn "  %2d %-18s %-8s %s" check.Number check.Name (match check.Verdict with Verdict.Passed -> "" | Verdict.Warned -> "warn" | Verdict.Failed -> "FAIL" | _ -> "-") (Check.told check)

let tests =
    testList "Audits" [
        test "known" (fun () -> for norm in [Linf; L2; L1] do printfn "%A %d" norm (Oracle.misses norm)) ]
