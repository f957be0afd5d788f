namespace AdvContrast.Core

open FsToolkit.ErrorHandling
open TorchSharp

/// An attack by itself, or attacks in turn on what those before left standing.
[<NoEquality; NoComparison>]
type Assault =
    | Alone of Attack
    | InTurn of Cascade

/// What is measured of a classifier.
[<NoEquality; NoComparison>]
type Measurement = {
    /// Attacks by the names that their accuracies get.
    Assaults: (string * Assault) list
    /// What they may do, each in turn.
    Threats: Threat list
    Seed: uint64
    /// A file in which attacks in turn note where they stand; it is gone when they are done.
    Notes: string option
}

/// Clean accuracy and accuracy under attacks, of any classifier on any images.
[<RequireQualifiedAccess>]
module Measurement =

    /// An attack, or attacks in turn, by name.
    let assault (name: string) : Result<string * Assault, Error> =
        match Cascade.find name with
        | Some cascade -> Ok(name, InTurn cascade)
        | None -> Robustness.attack name |> Result.map (fun attack -> name, Alone attack)

    // Accuracy under attacks in turn, from where the notes say that they stand.
    let private inTurn
        (m: Measurement)
        who
        device
        classifier
        (test: Dataset)
        (cascade: Cascade)
        threat
        report
        = result {
        // What is measured and nothing else: notes of another measurement are not gone on from.
        let key =
            sprintf "%s %s %d %s %s %d" who test.Name test.Count cascade.Name (Threat.text threat) m.Seed

        let keep standing =
            m.Notes |> Option.traverseResult (fun path -> Standing.write path standing) |> Result.map ignore

        let start =
            m.Notes
            |> Option.bind (fun path -> Standing.read path key)
            |> Option.defaultWith (fun () -> Cascade.start key device classifier test)

        let! finished = Cascade.run cascade m.Seed threat report keep device classifier test start
        m.Notes |> Option.iter System.IO.File.Delete
        let few = test.Batch device [| 0L .. min 50L test.Count - 1L |]
        let faults = Soundness.faults classifier few |> Set.ofList

        let flags = finished.Flags + faults + Cascade.warnings cascade (int test.Count) finished
        return Cascade.accuracy cascade threat (int test.Count) { finished with Flags = flags }
    }

    /// Clean accuracy, then for each threat accuracy under each attack. who: what tells this classifier from
    /// others, for the notes. share: called with the name of what is being done, how much of it is done, and
    /// how much there is.
    let run who (share: string -> int64 -> int64 -> unit) (m: Measurement) device classifier (test: Dataset) =
        let measure threat (name, assault) =
            let title = if m.Threats.Length = 1 then name else sprintf "%s, %s" name (Threat.label threat)

            match assault with
            | Alone attack ->
                let report finished = share title (int64 finished) test.Count
                Ok(Robustness.under (name, attack) m.Seed threat report device classifier test)
            | InTurn cascade ->
                let report stage part = share (sprintf "%s: %s" title stage) (int64 (part * 1000.0)) 1000L
                Scope.value (fun () -> inTurn m who device classifier test cascade threat report)

        List.allPairs m.Threats m.Assaults
        |> List.traverseResultM (fun (threat, assault) -> measure threat assault)
        |> Result.map (fun attacked -> Robustness.clean device classifier test :: attacked)
