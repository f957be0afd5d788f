namespace AdvContrast.Core

open System.Globalization
open TorchSharp

/// How often a classifier is right, untouched and under attack.
type Accuracy = {
    /// <c>"clean"</c>, or the attack's name.
    Name: string
    Correct: int
    Total: int
    /// What a reader must know of the attack: <c>"zero gradient"</c>.
    Flags: Set<string>
} with

    /// The share that is right, 0 to 1.
    member a.Fraction = float a.Correct / float a.Total

[<RequireQualifiedAccess>]
module Robustness =

    /// Attacks by the names that the command line takes: <c>"fgsm"</c>; <c>"pgd-20"</c> with steps of a
    /// quarter radius (the field's 2/255 at 8/255), <c>"pgd-20:0.125"</c> with steps of so many radii;
    /// <c>"cw-pgd-20"</c> and <c>"cw-pgd-20:0.125"</c>, the same on the margin, which tables call CW;
    /// <c>"cw-l2"</c>, Carlini and Wagner's attack with c = 1, which looks for the nearest image in L2: an
    /// image counts as broken where the one found is misclassified and lies within the threat's radius;
    /// <c>"fab"</c> and <c>"fab-t"</c>, the fast adaptive boundary attack to the border that seems nearest, or
    /// to those of the 9 likeliest classes, held to the radius in the same way.
    let attack (name: string) : Result<Attack, Error> =
        let climb kind (attack: float -> int -> Attack) (steps: string) (step: string) =
            // Without separators of thousands: "0,5" is a slip for 0.5, not 5.
            let step = System.Double.TryParse(step, NumberStyles.Float, CultureInfo.InvariantCulture)

            match System.Int32.TryParse steps, step with
            | (true, steps), (true, step) when steps >= 1 && step > 0.0 && System.Double.IsFinite step ->
                Ok(attack step steps)
            | _ ->
                let advice =
                    sprintf "'%s' is not PGD; write for instance %s-20 or %s-20:0.125." name kind kind
                Error(Error.BadOption("--attack", advice))

        match name.ToLowerInvariant().Split('-', ':') with
        | [| "fgsm" |] -> Ok Attack.fgsm
        | [| "pgd"; steps |] -> climb "pgd" Attack.pgd steps "0.25"
        | [| "pgd"; steps; step |] -> climb "pgd" Attack.pgd steps step
        | [| "cw"; "pgd"; steps |] -> climb "cw-pgd" Attack.cwPgd steps "0.25"
        | [| "cw"; "pgd"; steps; step |] -> climb "cw-pgd" Attack.cwPgd steps step
        | [| "fab" |] -> Ok(Fab.attack Fab.untargeted)
        | [| "fab"; "t" |] -> Ok(Fab.attack Fab.targeted)
        | [| "cw"; "l2" |] -> Ok(Attack.within (CarliniWagner.attack CarliniWagner.defaults))
        | _ ->
            let known = [
                "fgsm"
                "pgd-20"
                "pgd-20:0.125"
                "cw-pgd-20"
                "cw-pgd-20:0.125"
                "cw-l2"
                "fab"
                "fab-t"
            ]
            Error(Error.UnknownName("attack", name, known))

    let private ids (dataset: Dataset) batch = Seq.chunkBySize batch (seq { 0L .. dataset.Count - 1L })

    let private count (mask: Tensor) = int (mask.sum(System.Nullable torch.int64).item<int64>())

    let private total (dataset: Dataset) name perBatch batch =
        let counts = ids dataset batch |> Seq.map perBatch |> List.ofSeq

        {
            Name = name
            Correct = counts |> List.sumBy fst
            Total = int dataset.Count
            Flags = counts |> List.map snd |> Set.unionMany
        }

    /// Accuracy on untouched images, in float32.
    let clean (device: torch.Device) (classifier: Classifier) (dataset: Dataset) =
        let perBatch ids =
            Scope.value (fun () ->
                use _ = torch.no_grad ()
                let guess = (classifier (dataset.Batch device ids)).argmax 1L
                count (guess.eq (dataset.LabelsOf device ids)), Set.empty)

        total dataset "clean" perBatch 500

    /// Accuracy under an attack, in float32: an image counts as right where the attack found nothing. Every
    /// batch calls `report` with the number of images done. What is drawn depends on seed and image alone.
    let under
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
                        attack.Run (Draw.create seed ("evaluate/" + name) ids) threat classifier victims
                    ids.Length - count harm.Success, harm.Flags)

            finished <- finished + ids.Length
            report finished
            outcome

        total dataset name perBatch 250
