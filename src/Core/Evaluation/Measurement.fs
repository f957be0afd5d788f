namespace AdvContrast.Core.Evaluation

open System
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs

/// An attack by itself, or attacks in turn on what those before left standing.
[<NoEquality; NoComparison>]
type AttackSpec =
    | Alone of Attack
    | InTurn of AutoAttack

/// Attacks, threat models and seed of a measurement.
[<NoEquality; NoComparison>]
type Measurement = {
    /// Attacks by the names that their accuracies get.
    Assaults: (string * AttackSpec) list
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
    let assault (name: string) : Result<string * AttackSpec, Error> =
        match AutoAttack.find name with
        | Some cascade -> Ok(name, InTurn cascade)
        | None -> RobustAccuracy.attack name |> Result.map (fun attack -> name, Alone attack)

    let private delete (path: string) =
        try
            Ok(File.Delete path)
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    // What a classifier gives for every image, and its gradient in a few: weights, head, normalisation and precision
    // all take part in it.
    let private answers device (classifier: Classifier) (test: Dataset) =
        let logits (ids: int64[]) =
            Scope.value (fun () ->
                use _ = torch.no_grad ()
                TensorTree.hash (Map [ "logits", Leaf.Tensor(classifier (test.Batch device ids)) ]))

        let gradient =
            Scope.value (fun () ->
                let images = (test.Batch device [| 0L .. min 8L test.Count - 1L |]).detach().requires_grad_()
                let top = (classifier images).amax([| 1L |]).sum()
                let gradients =
                    if top.requires_grad then Autograd.grad false top [ images ] |> List.choose id else []
                TensorTree.hash (
                    Map [ for i, g in List.indexed gradients -> sprintf "gradient/%d" i, Leaf.Tensor g ]
                ))

        [| 0L .. test.Count - 1L |]
        |> Array.chunkBySize 250
        |> Array.map logits
        |> Array.append [| gradient |]
        |> String.concat " "

    // All that decides the figures of attacks in turn, as one hash.
    let private keyOf (m: Measurement) who device classifier (test: Dataset) cascade threat =
        [
            who
            Provenance.ofDataset test
            string test.Images.dtype
            answers device classifier test
            AutoAttack.text cascade
            sprintf "%A" AutoAttack.versions
            Threat.text threat
            string m.Seed
        ]
        |> String.concat "\n"
        |> fun text -> TensorTree.hash (Map [ text, Leaf.Int 0L ])

    // Accuracy under attacks in turn, from where the notes say that they stand.
    let private inTurn
        (m: Measurement)
        who
        device
        classifier
        (test: Dataset)
        right
        (cascade: AutoAttack)
        threat
        report
        = result {
        let key = if m.Notes.IsSome then keyOf m who device classifier test cascade threat else ""

        let keep standing =
            m.Notes
            |> Option.traverseResult (fun path -> EnsembleProgress.write path standing)
            |> Result.map ignore

        let there = m.Notes |> Option.filter File.Exists
        let before = there |> Option.bind (fun path -> EnsembleProgress.read path key)

        let start = before |> Option.defaultWith (fun () -> AutoAttack.start key right)

        let passedOver =
            match there, before with
            | Some path, None ->
                Set [ sprintf "the notes in %s are damaged or of another measurement and were not used" path ]
            | _ -> Set.empty

        let! finished = AutoAttack.run cascade m.Seed threat report keep device classifier test start
        do! m.Notes |> Option.traverseResult delete |> Result.map ignore
        let flags = finished.Flags + passedOver + AutoAttack.warnings cascade (int test.Count) finished
        return AutoAttack.accuracy cascade threat (int test.Count) { finished with Flags = flags }
    }

    // The least and the greatest pixel of a data set.
    let internal pixels (test: Dataset) =
        let unit = if test.Images.is_floating_point () then 1.0 else 255.0
        TensorStats.smallest test.Images / unit, TensorStats.largest test.Images / unit

    /// Clean accuracy, measured once and first, then for each threat accuracy under each attack, which is of
    /// those that were right untouched. What is wrong with the classifier stands among the flags of all of
    /// them. who: what tells this classifier from others, for the notes. share: called with the name of what
    /// is being done, how much of it is done, and how much there is.
    let run who (share: string -> int64 -> int64 -> unit) (m: Measurement) device classifier (test: Dataset) =
        let pixels = pixels test

        let measure right classifier threat (name, assault) =
            let title = if m.Threats.Length = 1 then name else sprintf "%s, %s" name (Threat.label threat)

            match assault with
            | Alone attack ->
                let report finished = share title (int64 finished) test.Count
                Ok(RobustAccuracy.under right (name, attack) m.Seed threat report device classifier test)
            | InTurn cascade ->
                let report stage part = share (sprintf "%s: %s" title stage) (int64 (part * 1000.0)) 1000L
                Scope.value (fun () -> inTurn m who device classifier test right cascade threat report)

        let box = m.Threats |> List.tryHead |> Option.bind _.Box

        let found, faults =
            ModelSanity.during box classifier (fun classifier ->
                let right, clean = RobustAccuracy.cleanly device classifier test

                List.allPairs m.Threats m.Assaults
                |> List.traverseResultM (fun (threat, assault) ->
                    measure right classifier threat assault
                    |> Result.map (fun a -> { a with Flags = a.Flags + Projection.notes threat pixels }))
                |> Result.map (fun attacked -> clean :: attacked))

        found |> Result.map (List.map (fun a -> { a with Flags = a.Flags + faults }))
