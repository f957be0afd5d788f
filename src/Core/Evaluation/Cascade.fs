namespace AdvContrast.Core

open System
open System.IO
open System.Text.Json
open TorchSharp

/// Attacks in turn, each on the images that all before it left standing: an image is robust where none of them
/// breaks it (Carlini et al. 2019, the worst case for each sample).
[<NoEquality; NoComparison>]
type Cascade = { Name: string; Stages: (string * Attack) list }

/// Where a cascade stands, image by image: all that it takes to go on.
type Standing = {
    /// What is being measured; another measurement does not go on from here.
    Key: string
    /// The stage under way.
    Stage: int
    /// Images that this stage has still to attack.
    Queue: int64[]
    /// Images that nothing has broken so far.
    Alive: int64[]
    /// How many were right before the first stage and after each finished one.
    Counts: int list
    Flags: Set<string>
}

[<RequireQualifiedAccess>]
module Standing =

    let private json = JsonSerializerOptions(WriteIndented = false)

    /// Reads where a measurement stands; None where the file is not there, is damaged, or is of another one.
    let read (path: string) key =
        try
            let standing = JsonSerializer.Deserialize<Standing>(File.ReadAllText path, json)
            if standing.Key = key then Some standing else None
        with
        | :? IOException
        | :? UnauthorizedAccessException
        | :? JsonException
        | :? NullReferenceException -> None

    /// Writes it, whole or not at all.
    let write (path: string) (standing: Standing) =
        try
            File.WriteAllText(path + ".part", JsonSerializer.Serialize(standing, json))
            File.Move(path + ".part", path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

[<RequireQualifiedAccess>]
module Cascade =

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

    /// A cascade by name: <c>"autoattack"</c>, <c>"autoattack+"</c>.
    let find (name: string) = [ standard; plus ] |> List.tryFind (fun c -> c.Name = name.ToLowerInvariant())

    // Which of some images the classifier gets right.
    let private right device (classifier: Classifier) (dataset: Dataset) (ids: int64[]) =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let guess = (classifier (dataset.Batch device ids)).argmax 1L
            (guess.eq (dataset.LabelsOf device ids)).cpu().data<bool>().ToArray())

    let private standing ids (held: bool[]) = Array.zip ids held |> Array.filter snd |> Array.map fst

    let private clean device classifier (dataset: Dataset) =
        [| 0L .. dataset.Count - 1L |]
        |> Array.chunkBySize 500
        |> Array.collect (fun ids -> standing ids (right device classifier dataset ids))

    // One batch under one attack: the images that stand, and what a reader must know.
    let private under (name: string, attack: Attack) seed threat device classifier (dataset: Dataset) ids =
        Scope.value (fun () ->
            let victims = {
                Ids = ids
                Images = dataset.Batch device ids
                Labels = dataset.LabelsOf device ids
                Targets = None
            }

            let harm = attack.Run (Draw.create seed ("evaluate/" + name) ids) threat classifier victims
            let broken = harm.Success.cpu().data<bool>().ToArray()
            standing ids (Array.map not broken), harm.Flags)

    /// Where a cascade stands before its first stage.
    let start key device classifier dataset =
        let alive = clean device classifier dataset
        { Key = key; Stage = 0; Queue = alive; Alive = alive; Counts = [ alive.Length ]; Flags = Set.empty }

    /// Goes on until all stages are done; keep is called with every new standing, report with the stage's name
    /// and the share of it done. What an image meets depends on seed, stage and image alone, so neither a break
    /// nor the order of the batches changes the outcome.
    let run
        (cascade: Cascade)
        seed
        threat
        (report: string -> float -> unit)
        (keep: Standing -> Result<unit, Error>)
        device
        classifier
        dataset
        (from: Standing)
        : Result<Standing, Error> =
        let rec go (now: Standing) =
            match List.tryItem now.Stage cascade.Stages with
            | None -> Ok now
            | Some(name, _) when now.Queue.Length = 0 ->
                report name 1.0

                let next = {
                    now with
                        Stage = now.Stage + 1
                        Queue = now.Alive
                        Counts = now.Counts @ [ now.Alive.Length ]
                }

                keep next |> Result.bind (fun () -> go next)
            | Some(name, attack) ->
                let done' = float (now.Counts[now.Stage] - now.Queue.Length)
                report name (done' / float (max 1 now.Counts[now.Stage]))
                let ids = Array.truncate batch now.Queue
                let held, flags = under (name, attack) seed threat device classifier dataset ids
                let broken = Set.difference (Set.ofArray ids) (Set.ofArray held)

                let next = {
                    now with
                        Queue = Array.skip ids.Length now.Queue
                        Alive = now.Alive |> Array.filter (broken.Contains >> not)
                        Flags = now.Flags + flags
                }

                keep next |> Result.bind (fun () -> go next)

        go from

    /// What the protocol warns of besides the attacks' own flags: a score-based attack that breaks what the
    /// gradients left standing (by more than 0.2 points) is a sign of masked gradients.
    let warnings (cascade: Cascade) total (finished: Standing) =
        List.pairwise finished.Counts
        |> List.zip (List.map fst cascade.Stages)
        |> List.choose (fun (name, (before, after)) ->
            if name = "square" && float (before - after) > 0.002 * float total then
                Some "square breaks what gradients did not: do not trust this figure"
            else
                None)
        |> Set.ofList
