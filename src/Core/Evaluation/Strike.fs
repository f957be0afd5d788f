namespace AdvContrast.Core

open TorchSharp

/// What one attack did to a subject's images; images that are wrong as they are count as broken, and so do
/// those whose logits were not finite somewhere, which check 3 counts.
[<NoComparison>]
type Strike = {
    Name: string
    Broken: bool[]
    /// Points looked at before the first success, 0 for the image itself, -1 for none.
    First: int64[]
    /// By how much the farthest image is beyond the radius, and the farthest pixel beyond the box; 0 or less
    /// where none is.
    Excess: float
    Outside: float
    Flags: Set<string>
} with

    /// The share of images that stand.
    member s.Accuracy = Figures.share not s.Broken

[<RequireQualifiedAccess>]
module Strike =

    let private batch = 250

    let private outside threat (images: Tensor) =
        match threat.Box with
        | None -> 0.0
        | Some(low, high) -> max (Figures.largest (images - high)) (Figures.largest (low - images))

    /// Attacks some of the subject's images. purpose: what is drawn depends on it and the image alone.
    let run name purpose (attack: Attack) threat (among: int64[]) (subject: Subject) : Strike =
        let right = set subject.Right
        let broken = Array.init subject.Count (fun place -> not (right.Contains(int64 place)))
        let first = broken |> Array.map (fun wrong -> if wrong then 0L else -1L)

        let reports =
            among
            |> Array.filter right.Contains
            |> Array.chunkBySize batch
            |> Array.map (fun some ->
                Scope.value (fun () ->
                    let draw = Subject.draw purpose some subject
                    let harm = attack.Run draw threat subject.Classifier (Subject.pick some subject)
                    let withstood, looks =
                        Ledger.bools (Attack.withstood harm), Figures.floats harm.FirstSuccess

                    some
                    |> Array.iteri (fun row place ->
                        broken[int place] <- not withstood[row]
                        first[int place] <- int64 looks[row])

                    let excess = Figures.largest harm.Distance[threat.Norm] - threat.Radius
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

    /// What stands after all of some strikes.
    let survivors (strikes: Strike list) (subject: Subject) =
        subject.Right
        |> Array.filter (fun place -> strikes |> List.forall (fun strike -> not strike.Broken[int place]))

    /// The images that one strike breaks and another does not.
    let only (one: Strike) (other: Strike) = [
        for place in 0 .. one.Broken.Length - 1 do
            if one.Broken[place] && not other.Broken[place] then place
    ]
