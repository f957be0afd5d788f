namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks

/// The outcome of one attack on an audit's images; images that are misclassified as they are count as broken, and so do
/// those whose logits were not finite somewhere, which check 3 counts.
[<NoComparison>]
type AttackOutcome = {
    Name: string
    Broken: bool[]
    /// Points evaluated before the first success, 0 for the image itself, -1 for none.
    First: int64[]
    /// By how much the farthest image is beyond the radius, and the farthest pixel beyond the box; 0 or less
    /// where none is.
    Excess: float
    Outside: float
    Flags: Set<string>
} with

    /// The share of images that stand.
    member s.Accuracy = TensorStats.share not s.Broken

[<RequireQualifiedAccess>]
module AttackOutcome =

    let private batch = 250

    let private outside (threat: Threat) (images: Tensor) =
        match threat.Box with
        | None -> 0.0
        | Some(low, high) -> max (TensorStats.largest (images - high)) (TensorStats.largest (low - images))

    /// Attacks some of the subject's images. purpose: what is drawn depends on it and the image alone.
    let run name purpose (attack: Attack) threat (among: int64[]) (subject: AuditTarget) : AttackOutcome =
        let right = set subject.Right
        let broken = Array.init subject.Count (fun place -> not (right.Contains(int64 place)))
        let first = broken |> Array.map (fun wrong -> if wrong then 0L else -1L)

        let reports =
            among
            |> Array.filter right.Contains
            |> Array.chunkBySize batch
            |> Array.map (fun some ->
                Scope.value (fun () ->
                    let draw = AuditTarget.draw purpose some subject
                    let harm = attack.Run draw threat subject.Classifier (AuditTarget.pick some subject)
                    let withstood, looks =
                        AttackLog.bools (Attack.withstood harm), TensorStats.floats harm.FirstSuccess

                    some
                    |> Array.iteri (fun row place ->
                        broken[int place] <- not withstood[row]
                        first[int place] <- int64 looks[row])

                    let excess = TensorStats.largest harm.Distance[threat.Norm] - threat.Radius
                    excess, outside threat harm.Images, harm.Flags))

        let most part = reports |> Array.map part |> Array.fold max 0.0

        {
            Name = name
            Broken = broken
            First = first
            Excess = most (fun (excess, _, _) -> excess)
            Outside = most (fun (_, outside, _) -> outside)
            Flags = reports |> Array.map (fun (_, _, flags) -> flags) |> Set.unionMany
        }

    /// The images that withstand all of some attacks.
    let survivors (strikes: AttackOutcome list) (subject: AuditTarget) =
        subject.Right
        |> Array.filter (fun place -> strikes |> List.forall (fun strike -> not strike.Broken[int place]))

    /// The images that one strike breaks and another does not.
    let only (one: AttackOutcome) (other: AttackOutcome) = [
        for place in 0 .. one.Broken.Length - 1 do
            if one.Broken[place] && not other.Broken[place] then place
    ]
