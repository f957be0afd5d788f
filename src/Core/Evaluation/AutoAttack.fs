namespace AdvContrast.Core.Evaluation

open System
open System.IO
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks

/// Attacks in turn, each on the images that all before it left standing: an image is robust where none of
/// them breaks it (Carlini et al. 2019, the worst case for each sample).
[<NoEquality; NoComparison>]
type AutoAttack = { Name: string; Stages: (string * Attack) list }

/// Where a cascade stands, image by image: all that it takes to go on.
type EnsembleProgress = {
    /// The hash of all that decides the figures; another measurement does not resume from here.
    Key: string
    /// The stage under way.
    Stage: int
    /// Images that this stage has still to attack.
    Queue: int64[]
    /// Images that nothing has broken so far.
    Alive: int64[]
    /// How many were right before the first stage and after each finished one.
    Counts: int list
    /// The cost of each finished stage, and of the running one so far.
    Tallies: AttackCost list
    Cost: AttackCost
    Flags: Set<string>
}

[<RequireQualifiedAccess>]
module EnsembleProgress =

    // What stands in a file: a byte that is changed is noticed.
    type private Notes = { Checksum: string; Standing: EnsembleProgress }

    let private checksum (standing: EnsembleProgress) =
        TensorTree.hash (Map [ JsonText.write standing, Leaf.Int 0L ])

    /// Reads where a measurement stands; None where the file is not there, is damaged, or is of another one.
    let read (path: string) key : EnsembleProgress option =
        try
            JsonText.record<Notes> Map.empty (File.ReadAllText path)
            |> Result.toOption
            |> Option.filter (fun notes -> notes.Checksum = checksum notes.Standing)
            |> Option.map _.Standing
            |> Option.filter (fun standing -> standing.Key = key)
        with
        | :? IOException
        | :? UnauthorizedAccessException -> None

    /// Writes it, whole or not at all.
    let write (path: string) (standing: EnsembleProgress) =
        JsonText.save path { Checksum = checksum standing; Standing = standing }

[<RequireQualifiedAccess>]
module AutoAttack =

    let private batch = 250

    /// AutoAttack's standard version (Croce and Hein 2020, section 4): APGD on cross-entropy and on targeted
    /// DLR, targeted FAB, Square with 5,000 queries.
    let standard = {
        Name = "autoattack"
        Stages = [
            "apgd-ce", Apgd.ce Apgd.defaults
            "apgd-t", Apgd.targeted 9 Apgd.defaults
            "fab-t", Fab.attack Fab.targeted
            "square", Square.attack Square.standard
        ]
    }

    /// Its extended version: the untargeted attacks with five restarts as well.
    let plus =
        let five = { Apgd.defaults with Restarts = 5 }

        {
            Name = "autoattack+"
            Stages = [
                "apgd-ce x5", Apgd.ce five
                "apgd-dlr x5", Apgd.dlr five
                "fab x5", Fab.attack { Fab.untargeted with Restarts = 5 }
                "square", Square.attack Square.standard
                "apgd-t", Apgd.targeted 9 Apgd.defaults
                "fab-t", Fab.attack Fab.targeted
            ]
        }

    /// Its version for classifiers that answer by chance: untargeted APGD alone, on means of 20 passes.
    let rand =
        let means = { Apgd.defaults with Passes = 20 }

        { Name = "autoattack-rand"; Stages = [ "apgd-ce", Apgd.ce means; "apgd-dlr", Apgd.dlr means ] }

    /// A cascade by name: <c>"autoattack"</c>, <c>"autoattack+"</c>, <c>"autoattack-rand"</c>.
    let find (name: string) =
        [ standard; plus; rand ] |> List.tryFind (fun c -> c.Name = name.ToLowerInvariant())

    /// The versions of the code of all attacks that a cascade may hold.
    let versions = [ Apgd.version; Fab.version; Square.version ]

    /// Its name and all attacks in it, in full.
    let text (cascade: AutoAttack) =
        cascade.Stages
        |> List.map (fun (_, attack) -> attack.Text)
        |> String.concat "; "
        |> sprintf "%s: %s" cascade.Name

    let private standing ids (held: bool[]) = Array.zip ids held |> Array.filter snd |> Array.map fst

    // One batch under one attack: the images that stand, and what a reader must know. An image that it leaves
    // undecided stands no more.
    let private under (name: string, attack: Attack) seed threat device classifier (dataset: Dataset) ids =
        Scope.value (fun () ->
            let victims = {
                Ids = ids
                Images = dataset.Batch device ids
                Labels = dataset.LabelsOf device ids
                Targets = None
            }

            let harm = attack.Run (Rng.create seed ("evaluate/" + name) ids) threat classifier victims
            standing ids (AttackLog.bools (Attack.withstood harm)),
            AttackCost.ofHarm threat victims harm,
            harm.Flags)

    // What a stage found, laid into what those before it found; rows says where its images stand.
    let private laid (rows: int64[]) (found: AttackResult) (before: AttackResult) =
        let rows = AttackLog.index before.Success rows
        let own (all: Tensor) = all.index_select (0L, rows)
        let put (all: Tensor) (part: Tensor) = all.index_copy (0L, rows, part)
        let won = found.Success
        let seen = own before.Forwards
        let first = found.FirstSuccess

        {
            Images =
                put
                    before.Images
                    (torch.where (Shape.perSample found.Images won, found.Images, own before.Images))
            Success = put before.Success won
            Distance = before.Distance
            FirstSuccess =
                put before.FirstSuccess (torch.where (first.ge (0L.ToScalar()), seen + first, first))
            Forwards = put before.Forwards (seen + found.Forwards)
            Gradients = put before.Gradients (own before.Gradients + found.Gradients)
            ZeroGradients = put before.ZeroGradients (own before.ZeroGradients + found.ZeroGradients)
            NotFinite =
                before.NotFinite
                |> Map.map (fun place counts -> put counts (own counts + found.NotFinite[place]))
            Flags = before.Flags + found.Flags
        }

    /// Attacks in turn as one attack: later ones skip the images that an earlier one broke. An image that
    /// withstands all of them is stored as the first left it. Passes are counted over all of them, and so are
    /// the points before a first success; each attack evaluates the clean image once more.
    let toAttack (cascade: AutoAttack) : Attack =
        let attack number (draw: Rng) threat classifier (victims: AttackBatch) =
            let name, attack = List.item number cascade.Stages
            attack.Run (Rng.sub ("stage/" + name) draw) threat classifier victims

        Attack.create (text cascade) (fun draw threat classifier victims ->
            let goOn number (before: AttackResult) =
                let rows = AttackLog.places false (AttackLog.bools before.Success)

                if rows.Length = 0 then
                    before
                else
                    let some = AttackBatch.pick rows victims
                    laid rows (attack number (Rng.pick rows draw) threat classifier some) before

            let first = attack 0 draw threat classifier victims
            let harm = Seq.foldBack goOn (Seq.rev [ 1 .. cascade.Stages.Length - 1 ]) first
            { harm with Distance = Attack.distances victims.Images harm.Images })

    /// An attack by any name: those that <c>RobustAccuracy.attack</c> reads, and attacks in turn as one.
    let attack (name: string) : Result<Attack, Error> =
        match find name with
        | Some cascade -> Ok(toAttack cascade)
        | None -> RobustAccuracy.attack name

    /// Where a cascade stands before its first stage. right: which images are right untouched.
    let start key (right: bool[]) =
        let alive = AttackLog.places true right

        {
            Key = key
            Stage = 0
            Queue = alive
            Alive = alive
            Counts = [ alive.Length ]
            Tallies = []
            Cost = AttackCost.none
            Flags = Set.empty
        }

    /// Runs until all stages are done; keep is called with every new progress, report with the stage's
    /// name and the share of it done. What an image meets depends on seed, stage and image alone, so neither
    /// a break nor the order of the batches changes the outcome.
    let run
        (cascade: AutoAttack)
        seed
        threat
        (report: string -> float -> unit)
        (keep: EnsembleProgress -> Result<unit, Error>)
        device
        classifier
        dataset
        (from: EnsembleProgress)
        : Result<EnsembleProgress, Error> =
        let rec go (now: EnsembleProgress) =
            match List.tryItem now.Stage cascade.Stages with
            | None -> Ok now
            | Some(name, _) when now.Queue.Length = 0 ->
                report name 1.0

                let next = {
                    now with
                        Stage = now.Stage + 1
                        Queue = now.Alive
                        Counts = now.Counts @ [ now.Alive.Length ]
                        Tallies = now.Tallies @ [ now.Cost ]
                        Cost = AttackCost.none
                }

                keep next |> Result.bind (fun () -> go next)
            | Some(name, attack) ->
                let done' = float (now.Counts[now.Stage] - now.Queue.Length)
                report name (done' / float (max 1 now.Counts[now.Stage]))
                let ids = Array.truncate batch now.Queue
                let held, tally, flags = under (name, attack) seed threat device classifier dataset ids
                let broken = Set.difference (Set.ofArray ids) (Set.ofArray held)

                let next = {
                    now with
                        Queue = Array.skip ids.Length now.Queue
                        Alive = now.Alive |> Array.filter (broken.Contains >> not)
                        Cost = AttackCost.add now.Cost tally
                        Flags = now.Flags + flags
                }

                keep next |> Result.bind (fun () -> go next)

        go from

    /// What the protocol warns of besides the attacks' own flags: a score-based attack that breaks what the
    /// gradients left standing (by more than 0.2 points) is a sign of masked gradients.
    let warnings (cascade: AutoAttack) total (finished: EnsembleProgress) =
        List.pairwise finished.Counts
        |> List.zip (List.map fst cascade.Stages)
        |> List.choose (fun (name, (before, after)) ->
            if name = "square" && float (before - after) > 0.002 * float total then
                Some "square breaks what gradients did not: do not trust this figure"
            else
                None)
        |> Set.ofList

    /// The result of a finished AutoAttack over n images, with those that were misclassified before it.
    let accuracy (cascade: AutoAttack) threat total (finished: EnsembleProgress) : Accuracy =
        let tally = List.fold AttackCost.add AttackCost.none finished.Tallies

        {
            Name = cascade.Name
            Threat = Some threat
            Correct = finished.Alive.Length
            Total = total
            Parts = [
                for (name, _), correct, tally in
                    List.zip3 cascade.Stages finished.Counts.Tail finished.Tallies ->
                    { Name = name; Correct = correct; Cost = tally }
            ]
            Cost = tally
            Flags = AttackCost.told tally finished.Flags
        }
