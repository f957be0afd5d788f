namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core.Foundation

/// Carlini and Wagner's L2 attack (2017, section VI.A), at one weight c of the missing margin or with a
/// search for the best (<c>CarliniWagnerSearch</c>). It is bound to no radius, and looks for the nearest image
/// instead; the threat gives the box. Images that are misclassified as they are stay so. Success is that of
/// the stored image, however far it is: <c>Attack.within</c> holds it to a radius.
// The type stands in another file.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module CarliniWagner =

    /// The form at a fixed c that libraries of attacks run: c 1, confidence 0, 50 steps at 0.01.
    let defaults = { Weight = 1.0; Confidence = 0.0; Steps = 50; Rate = 0.01; Abort = true }

    /// The authors' own settings, for a search: from c 0.001, confidence 0, at most 10 000 steps at 0.01.
    /// They search in 9 rounds.
    let published = { defaults with Weight = 1e-3; Steps = 10000 }

    // What a search over c knows of one sample: no success at Low, one at High, and what to try now.
    type private Bracket = { Low: float; High: float; Now: float }

    // Where the original code stops.
    let private highest = 1e10

    // Halves a bracket, or multiplies its weight by ten while there is no success yet.
    let private narrowed found bracket =
        let low = if found then bracket.Low else max bracket.Low bracket.Now
        let high = if found then min bracket.High bracket.Now else bracket.High
        let now = if System.Double.IsFinite high then 0.5 * (low + high) else 10.0 * bracket.Now
        { Low = low; High = high; Now = min highest now }

    // The last of ten or more rounds asks for a success once more.
    let private atUpper bracket = { bracket with Now = min highest bracket.High }

    // One run over the images that are not misclassified as they are. Writes down what it finds, and says how
    // near the nearest success is now, and where each sample's search continues.
    let private round' how threat classifier (victims: AttackBatch) ledger (rows: int64[]) nearest brackets =
        Scope.value (fun () ->
            let some = AttackBatch.pick rows victims
            let weights = torch.tensor(brackets |> Array.map _.Now).``to`` some.Images.device
            let weights = weights.``to`` some.Images.dtype
            let run, distances = CarliniWagnerSearch.make how threat classifier some weights
            AttackLog.join ledger rows run
            let distances = distances.``to``(torch.float64).cpu().data<float>().ToArray()
            let better = Array.map2 (<) distances nearest |> AttackLog.places true
            AttackLog.store ledger (better |> Array.map (fun place -> rows[int place])) better run.Stored

            Array.map2 min distances nearest,
            Array.map2 narrowed (distances |> Array.map System.Double.IsFinite) brackets)

    let private searching text rounds (how: CarliniWagner) : Attack =
        Attack.create text (fun _ threat classifier victims ->
            let ledger = AttackLog.start victims.Images
            Scope.value (fun () -> Attack.first ledger classifier victims |> ignore)
            let rows = AttackLog.unsolved ledger (Array.init victims.Ids.Length int64)

            let go (nearest, brackets) round =
                let last = round = rounds && rounds >= 10
                let brackets = if last then Array.map atUpper brackets else brackets
                round' how threat classifier victims ledger rows nearest brackets

            let start = { Low = 0.0; High = infinity; Now = how.Weight }

            if rows.Length > 0 then
                ((Array.create rows.Length infinity, Array.create rows.Length start), [ 1..rounds ])
                ||> List.fold go
                |> ignore

            Attack.closeJudged ledger classifier victims)

    let private text (how: CarliniWagner) weight =
        sprintf
            "C&W L2, c %s, confidence %g, %s%d steps of %g"
            weight
            how.Confidence
            (if how.Abort then "at most " else "")
            how.Steps
            how.Rate

    /// The attack at its one weight, in one run.
    let attack (how: CarliniWagner) : Attack =
        Shape.nonNegative (nameof how.Weight) how.Weight
        searching (text how (sprintf "%g" how.Weight)) 1 how

    /// The attack with the authors' search for the least weight that succeeds, for each sample by itself: a
    /// run a round, all at weights of their own. Until a sample's first success its weight is multiplied by
    /// ten, then the bracket is halved; the last of ten or more rounds is at the least weight that succeeded.
    /// The nearest success of all rounds is stored. rounds: 1 or more, 9 as published; how.Weight: the first
    /// round's, above 0.
    let search rounds (how: CarliniWagner) : Attack =
        Shape.positive (nameof rounds) (float rounds)
        Shape.positive (nameof how.Weight) how.Weight
        searching (text how (sprintf "searched in %d rounds from %g" rounds how.Weight)) rounds how
