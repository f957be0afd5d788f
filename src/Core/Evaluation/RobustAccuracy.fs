namespace AdvContrast.Core.Evaluation

open System.Globalization
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks

/// One of several attacks in turn.
type AutoAttackPart = {
    Name: string
    /// Images that were right after it.
    Correct: int
    /// Its cost, on those that were correct before it.
    Cost: AttackCost
}

/// How often a classifier is right, untouched and under attack.
type Accuracy = {
    /// <c>"clean"</c>, the nearest neighbours' <c>"knn-200:0.1"</c>, or the attack's name.
    Name: string
    /// What the attack was allowed; None for clean images.
    Threat: Threat option
    Correct: int
    Total: int
    /// Of attacks in turn, each; else empty.
    Parts: AutoAttackPart list
    /// Its cost in all.
    Cost: AttackCost
    /// What a reader must know of the attack: <c>"zero gradient of 3 image(s)"</c>.
    Flags: Set<string>
} with

    /// The share that is right, 0 to 1.
    member a.Fraction = float a.Correct / float a.Total

    /// Where the share over all such images lies with 95 % confidence (Wilson 1927).
    member a.Interval =
        let n, p, z = float a.Total, a.Fraction, 1.959964
        let centre = p + z * z / (2.0 * n)
        let half = z * sqrt (p * (1.0 - p) / n + z * z / (4.0 * n * n))
        let whole = 1.0 + z * z / n
        max 0.0 ((centre - half) / whole), min 1.0 ((centre + half) / whole)

[<RequireQualifiedAccess>]
module Accuracy =

    /// An accuracy of `correct` in `total` images and nothing else.
    let create name threat correct total = {
        Name = name
        Threat = threat
        Correct = correct
        Total = total
        Parts = []
        Cost = AttackCost.none
        Flags = Set.empty
    }

[<RequireQualifiedAccess>]
module RobustAccuracy =

    /// Attacks by the names that the command line takes: <c>"fgsm"</c>; <c>"pgd-20"</c> with steps of a
    /// quarter radius (the field's 2/255 at 8/255), <c>"pgd-20:0.125"</c> with the step in radii;
    /// <c>"cw-pgd-20"</c> and <c>"cw-pgd-20:0.125"</c>, the same on the margin, which tables call CW;
    /// <c>"cw-l2"</c>, Carlini and Wagner's attack, which looks for the nearest image in L2: an image counts
    /// as broken where the one found is misclassified and lies within the threat's radius. It searches for c
    /// in 9 rounds of at most 1000 steps; <c>"cw-l2-9x10000"</c> as published, or ROUNDSxSTEPS;
    /// <c>"cw-l2-fixed"</c> at c = 1 in 50 steps, as many libraries run it; <c>"square"</c>, the Square
    /// attack as AutoAttack runs it, and <c>"square-1000"</c>, its first 1000 proposals; <c>"mi-fgsm-10"</c>
    /// with steps of a radius over their number, as published, or of a step in radii as in
    /// <c>"mi-fgsm-10:0.25"</c>; <c>"apgd-ce"</c>, <c>"apgd-dlr"</c> and <c>"apgd-t"</c>, the parts of
    /// AutoAttack with its 100 steps and up to 9 targets; <c>"fab"</c> and <c>"fab-t"</c>, the fast adaptive
    /// boundary attack to the border that seems nearest, or to those of the 9 likeliest classes, held to the
    /// radius in the same way.
    let attack (name: string) : Result<Attack, Error> =
        let climb kind (attack: float -> int -> Attack) (steps: string) (step: string) =
            // Without separators of thousands: "0,5" is a slip for 0.5, not 5.
            let step = System.Double.TryParse(step, NumberStyles.Float, CultureInfo.InvariantCulture)

            match System.Int32.TryParse steps, step with
            | (true, steps), (true, step) when steps >= 1 && step > 0.0 && System.Double.IsFinite step ->
                Ok(attack step steps)
            | _ ->
                let advice =
                    sprintf
                        "'%s' does not say its steps; write for instance %s-20 or %s-20:0.125."
                        name
                        kind
                        kind
                Error(Error.BadOption("--attack", advice))

        let searching rounds steps =
            Attack.within (CarliniWagner.search rounds { CarliniWagner.published with Steps = steps })

        match name.ToLowerInvariant().Split('-', ':') with
        | [| "fgsm" |] -> Ok Attack.fgsm
        | [| "pgd"; steps |] -> climb "pgd" Attack.pgd steps "0.25"
        | [| "pgd"; steps; step |] -> climb "pgd" Attack.pgd steps step
        | [| "cw"; "pgd"; steps |] -> climb "cw-pgd" Attack.cwPgd steps "0.25"
        | [| "cw"; "pgd"; steps; step |] -> climb "cw-pgd" Attack.cwPgd steps step
        | [| "mi"; "fgsm"; steps |] ->
            climb "mi-fgsm" (fun _ steps -> Attack.miFgsm (1.0 / float steps) steps) steps "1"
        | [| "mi"; "fgsm"; steps; step |] -> climb "mi-fgsm" Attack.miFgsm steps step
        | [| "apgd"; "ce" |] -> Ok(Apgd.ce Apgd.defaults)
        | [| "apgd"; "dlr" |] -> Ok(Apgd.dlr Apgd.defaults)
        | [| "apgd"; "t" |] -> Ok(Apgd.targeted 9 Apgd.defaults)
        | [| "fab" |] -> Ok(Fab.attack Fab.untargeted)
        | [| "fab"; "t" |] -> Ok(Fab.attack Fab.targeted)
        | [| "cw"; "l2" |] -> Ok(searching 9 1000)
        | [| "cw"; "l2"; "fixed" |] -> Ok(Attack.within (CarliniWagner.attack CarliniWagner.defaults))
        | [| "cw"; "l2"; times |] ->
            match times.Split 'x' |> Array.map System.Int32.TryParse with
            | [| true, rounds; true, steps |] when rounds >= 1 && steps >= 1 -> Ok(searching rounds steps)
            | _ ->
                let advice =
                    sprintf
                        "'%s' is not C&W; write cw-l2, cw-l2-fixed, or cw-l2-9x1000 (rounds x steps); pgd-20 is another attack."
                        name
                Error(Error.BadOption("--attack", advice))
        | [| "square" |] -> Ok(Square.attack Square.standard)
        | [| "square"; queries |] ->
            match System.Int32.TryParse queries with
            | true, queries when queries >= 1 -> Ok(Square.attack { Square.standard with Queries = queries })
            | _ ->
                let advice = sprintf "'%s' is not Square; write square, or for instance square-1000." name
                Error(Error.BadOption("--attack", advice))
        | _ ->
            let known = [
                "fgsm"
                "pgd-20"
                "pgd-20:0.125"
                "cw-pgd-20"
                "cw-pgd-20:0.125"
                "cw-l2"
                "cw-l2-9x10000"
                "cw-l2-fixed"
                "square"
                "square-1000"
                "mi-fgsm-10"
                "mi-fgsm-10:0.25"
                "apgd-ce"
                "apgd-dlr"
                "apgd-t"
                "fab"
                "fab-t"
                "autoattack"
                "autoattack+"
            ]

            Error(Error.UnknownName("attack", name, known))

    let private ids (dataset: Dataset) batch = Seq.chunkBySize batch (seq { 0L .. dataset.Count - 1L })

    let private count (mask: Tensor) = int (mask.sum(System.Nullable torch.int64).item<int64>())

    // perBatch: how many are right, what it took, and flags.
    let private total (dataset: Dataset) name threat perBatch batch =
        let counts, tallies, flags = ids dataset batch |> Seq.map perBatch |> List.ofSeq |> List.unzip3
        let tally = List.fold AttackCost.add AttackCost.none tallies

        {
            Name = name
            Threat = threat
            Parts = []
            Correct = List.sum counts
            Total = int dataset.Count
            Cost = tally
            Flags = Set.unionMany flags |> AttackCost.told tally
        }

    // Fewer images than these cannot tell chance from more.
    let private leastForChance = 30

    // What is said of a clean accuracy that chance explains.
    let private chance classes (clean: Accuracy) =
        if clean.Total >= leastForChance && fst clean.Interval <= 1.0 / float classes then
            Set [ sprintf "no better than chance among %d classes: check labels and normalisation" classes ]
        else
            Set.empty

    /// Which untouched images are classified rightly, and how often: what all accuracies under attack are
    /// held to. Logits that are not finite are never right.
    let cleanly (device: torch.Device) (classifier: Classifier) (dataset: Dataset) : bool[] * Accuracy =
        let mutable classes = 1L

        let perBatch ids =
            Scope.value (fun () ->
                use _ = torch.no_grad ()
                let logits = classifier (dataset.Batch device ids)
                classes <- logits.shape[1]
                let lost = (ModelSanity.answered logits).logical_not()
                AttackLog.bools ((ModelSanity.guesses logits).eq(dataset.LabelsOf device ids)), count lost)

        let right, lost = ids dataset 500 |> Seq.map perBatch |> Array.ofSeq |> Array.unzip
        let right, lost = Array.concat right, Array.sum lost

        let tally = {
            AttackCost.none with
                Forwards = dataset.Count
                NotFinite = AttackCost.none.NotFinite |> Map.add NotFinite.Logits lost
        }

        let clean = {
            Accuracy.create "clean" None (right |> Array.filter id |> Array.length) right.Length with
                Cost = tally
        }

        let flags = if lost > 0 then Set [ NotFinite.flag NotFinite.Logits ] else Set.empty
        right, { clean with Flags = AttackCost.told tally flags + chance classes clean }

    /// Accuracy on untouched images.
    let clean device classifier dataset = snd (cleanly device classifier dataset)

    /// Accuracy under an attack, in the images' precision: an image counts as right where it was right
    /// untouched and the attack neither broke it nor met logits that are not finite. Every batch calls
    /// `report` with the number of images done. What is drawn depends on seed and image alone.
    ///
    /// right: which images are right untouched, as <c>cleanly</c> gives them.
    let under
        (right: bool[])
        (name: string, attack: Attack)
        seed
        threat
        (report: int -> unit)
        (device: torch.Device)
        classifier
        (dataset: Dataset)
        =
        let mutable finished = 0

        let perBatch (ids: int64[]) =
            let outcome =
                Scope.value (fun () ->
                    let victims = {
                        Ids = ids
                        Images = dataset.Batch device ids
                        Labels = dataset.LabelsOf device ids
                        Targets = None
                    }

                    let harm =
                        attack.Run (Rng.create seed ("evaluate/" + name) ids) threat classifier victims

                    let stand =
                        Array.zip ids (AttackLog.bools (Attack.withstood harm))
                        |> Array.filter (fun (id, withstood) -> withstood && right[int id])

                    stand.Length, AttackCost.ofHarm threat victims harm, harm.Flags)

            finished <- finished + ids.Length
            report finished
            outcome

        total dataset name (Some threat) perBatch 250
