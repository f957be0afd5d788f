namespace AdvContrast.Core.Evaluation

open System
open System.Globalization
open System.IO
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks

/// Adversarial images, with what they were made from, by and against. It owns its tensors, which are on the
/// CPU; dispose it when done.
[<NoEquality; NoComparison>]
type AdversarialExamples = {
    /// The attack by name, and in full.
    Attack: string
    Text: string
    Threat: Threat
    Seed: uint64
    /// Which images of their set these are.
    Coverage: Coverage
    /// Whatever else a reader should know: <c>"run"</c>, <c>"dataset"</c>.
    About: Map<string, string>
    /// [n; c; h; w].
    Original: Tensor
    /// int64 [n].
    Labels: Tensor
    /// The place of each original in the set that it was drawn from, int64 [n].
    Indices: Tensor
    /// Labels that were to be reached, int64 [n]; None for an untargeted attack.
    Targets: Tensor option
    /// What the classifier takes the originals for, and the stored images: int64 [n], -1 where its logits are
    /// not finite.
    Before: Tensor
    After: Tensor
    /// What the attack did; its images are the adversarial ones.
    Result: AttackResult
} with

    interface IDisposable with
        member a.Dispose() =
            a.Original.Dispose()
            a.Labels.Dispose()
            a.Indices.Dispose()
            a.Targets |> Option.iter _.Dispose()
            a.Before.Dispose()
            a.After.Dispose()
            Attack.tensors a.Result |> Seq.iter _.Dispose()

/// How a classifier fares on images that were made against another one.
type Transferred = {
    /// On the originals.
    Clean: Accuracy
    /// On the adversarial images.
    Attacked: Accuracy
}

[<RequireQualifiedAccess>]
module AdversarialExamples =

    let private batch = 250

    let private norms = [ "linf", Linf; "l2", L2; "l1", L1 ]

    // All tensors by the names that they have in a file.
    let private table
        original
        labels
        indices
        targets
        before
        after
        (harm: AttackResult)
        : Map<string, Tensor> =
        [
            [ "original", original; "adversarial", harm.Images; "labels", labels; "indices", indices ]
            targets |> Option.map (fun targets -> "targets", targets) |> Option.toList
            [ "predictions/original", before; "predictions/adversarial", after; "success", harm.Success ]
            norms |> List.map (fun (name, norm) -> "distance/" + name, harm.Distance[norm])
            [ "first-success", harm.FirstSuccess; "forwards", harm.Forwards; "gradients", harm.Gradients ]
            [ "zero-gradients", harm.ZeroGradients ]
            [ for place in NotFinite.places -> "not-finite/" + place, harm.NotFinite[place] ]
        ]
        |> List.concat
        |> Map.ofList

    let private create about coverage (name, text) threat seed flags (table: Map<string, Tensor>) = {
        Attack = name
        Text = text
        Threat = threat
        Seed = seed
        Coverage = coverage
        About = about
        Original = table["original"]
        Labels = table["labels"]
        Indices = table["indices"]
        Targets = Map.tryFind "targets" table
        Before = table["predictions/original"]
        After = table["predictions/adversarial"]
        Result = {
            Images = table["adversarial"]
            Success = table["success"]
            Distance = Map [ for name, norm in norms -> norm, table["distance/" + name] ]
            FirstSuccess = table["first-success"]
            Forwards = table["forwards"]
            Gradients = table["gradients"]
            ZeroGradients = table["zero-gradients"]
            NotFinite = Map [ for place in NotFinite.places -> place, table["not-finite/" + place] ]
            Flags = flags
        }
    }

    let private guesses (classifier: Classifier) (images: Tensor) =
        Scope.tensor (fun () ->
            use _ = torch.no_grad ()
            ModelSanity.guesses (classifier images))

    /// Attacks images, some at a time; what it makes belongs to no scope. about: what a reader should know of
    /// where classifier and images came from. name: the attack's, for people and for what is drawn. targets:
    /// labels to reach, int64 [n]. report: called with the number of images done. An image's outcome depends
    /// on seed, name and image alone, and is the one that an evaluation with this seed counts. What is wrong
    /// with the classifier stands among the flags.
    let craft
        about
        (name, attack: Attack)
        seed
        threat
        targets
        (report: int -> unit)
        device
        classifier
        images
        =
        if (images: Dataset).Count = 0L then
            invalidArg (nameof images) "1 image or more was expected, got none."

        use _ = torch.NewDisposeScope()

        let part classifier (ids: int64[]) =
            Scope.keeping (fun (table: Map<string, Tensor>, _) -> Map.values table) (fun () ->
                let victims = {
                    Ids = ids
                    Images = images.Batch device ids
                    Labels = images.LabelsOf device ids
                    Targets =
                        targets
                        |> Option.map (fun (all: Tensor) ->
                            all
                                .index_select(0L, torch.tensor(ids).``to`` all.device)
                                .``to``(device: torch.Device))
                }

                let before = guesses classifier victims.Images
                let harm = attack.Run (Rng.create seed ("evaluate/" + name) ids) threat classifier victims
                let after = guesses classifier harm.Images
                let indices = torch.tensor (ids |> Array.map (fun id -> images.Indices[int id]))
                let table = table victims.Images victims.Labels indices victims.Targets before after harm
                report (int ids[ids.Length - 1] + 1)
                table |> Map.map (fun _ x -> x.cpu ()), harm.Flags)

        let parts, faults =
            ModelSanity.during (threat: Threat).Box classifier (fun classifier ->
                seq { 0L .. images.Count - 1L }
                |> Seq.chunkBySize batch
                |> Seq.map (part classifier)
                |> List.ofSeq)

        let flags = faults + (parts |> List.map snd |> Set.unionMany)

        fst parts.Head
        |> Map.map (fun name _ ->
            let parts = parts |> List.map (fun (table, _) -> table[name])
            (torch.cat (ResizeArray parts, 0L)).DetachFromDisposeScope())
        |> create about (Coverage.ofDataset images) (name, attack.Text) threat seed flags

    let private accuracy name threat flags (right: Tensor) =
        let total = right.shape[0]

        {
            Accuracy.create name threat (int (right.sum(Nullable torch.int64).item<int64>())) (int total) with
                // One forward pass of each image.
                Cost = { AttackCost.none with Forwards = total }
                Flags = flags
        }

    // An image that is wrong untouched is not right under attack either.
    let private accuracies (a: AdversarialExamples) flags before after =
        Scope.value (fun () ->
            let right (guesses: Tensor) = guesses.eq a.Labels
            let clean = right before

            {
                Clean = accuracy "clean" None Set.empty clean
                Attacked = accuracy a.Attack (Some a.Threat) flags (clean.logical_and (right after))
            })

    /// The flags with the numbers of images that there are for them.
    let flags (a: AdversarialExamples) : Set<string> =
        let victims: AttackBatch = { Ids = [||]; Images = a.Original; Labels = a.Labels; Targets = a.Targets }

        AttackCost.told (AttackCost.ofHarm a.Threat victims a.Result) a.Result.Flags

    /// How the classifier that the images were made against fares on them. An image that the attack left
    /// undecided is not right.
    let own (a: AdversarialExamples) : Transferred =
        Scope.value (fun () ->
            a.After.masked_fill (Attack.undecided a.Result, (-1L).ToScalar())
            |> accuracies a (flags a) a.Before)

    /// How another classifier fares on the same images (a transfer attack; Papernot et al. 2016). The flags
    /// are about that classifier.
    let onto (device: torch.Device) (classifier: Classifier) (a: AdversarialExamples) : Transferred =
        Scope.value (fun () ->
            let all classifier (images: Tensor) =
                images.split (int64 batch, 0)
                |> Array.map (fun part -> (guesses classifier (part.``to`` device)).cpu())
                |> fun parts -> torch.cat (ResizeArray parts, 0L)

            let (before, after), faults =
                ModelSanity.during a.Threat.Box classifier (fun classifier ->
                    all classifier a.Original, all classifier a.Result.Images)

            accuracies a faults before after)

    /// Mean and maximum of something of each image, [n], over the images that were right untouched: those
    /// that the attack had something to do with. None where there are none.
    let summary (a: AdversarialExamples) (values: Tensor) : (float * float) option =
        Scope.value (fun () ->
            let right = a.Before.eq a.Labels
            let values = values.``to``(torch.float64).masked_select right

            if values.numel () = 0L then
                None
            else
                Some(values.mean().item<float>(), values.max().item<float>()))

    // --- files

    // What the file's metadata says that it holds.
    let private content = "advcontrast adversarial images 2"

    /// Writes them as a safetensors file, whole or not at all. BadOption where the file's name has another ending.
    let save (path: string) (a: AdversarialExamples) : Result<unit, Error> =
        let metadata =
            [
                "content", content
                "attack", a.Attack
                "text", a.Text
                "threat", Threat.text a.Threat
                "seed", a.Seed.ToString CultureInfo.InvariantCulture
                "flags", JsonText.write a.Result.Flags
                "coverage", JsonText.write a.Coverage
            ]
            @ [ for KeyValue(key, text) in a.About -> "about/" + key, text ]
            |> Map.ofList

        FileName.requireEnding ".safetensors" path
        |> Result.bind (fun () ->
            table a.Original a.Labels a.Indices a.Targets a.Before a.After a.Result
            |> TensorTree.ofTensors
            |> Safetensors.write path metadata)

    // What a file of them must hold: rank, type.
    let private wanted =
        let whole = 1, (fun (x: Tensor) -> x.dtype = torch.ScalarType.Int64)
        let truth = 1, (fun (x: Tensor) -> x.dtype = torch.ScalarType.Bool)
        let real rank = rank, (fun (x: Tensor) -> x.is_floating_point ())

        [ "original", real 4; "adversarial", real 4; "labels", whole; "indices", whole; "success", truth ]
        @ [ for name, _ in norms -> "distance/" + name, real 1 ]
        @ [ for name in [ "original"; "adversarial" ] -> "predictions/" + name, whole ]
        @ [ for name in [ "first-success"; "forwards"; "gradients"; "zero-gradients" ] -> name, whole ]
        @ [ for place in NotFinite.places -> "not-finite/" + place, whole ]

    let private understand path (metadata: Map<string, string>) (tree: TensorTree) = result {
        let damaged problem = Error.Damaged(path, problem)
        let tensors = TensorTree.toTensors tree

        do!
            Map.tryFind "content" metadata = Some content
            |> Result.requireTrue (damaged "it holds no adversarial images of this version of the program.")

        let text key =
            Map.tryFind key metadata |> Result.requireSome (damaged (sprintf "it does not say its %s." key))

        let check (name, (rank, isOfType)) =
            match Map.tryFind name tensors with
            | Some(x: Tensor) when
                x.shape.Length = rank
                && isOfType x
                && x.shape[0] = tensors["original"].shape[0]
                && (rank = 1 || x.shape = tensors["original"].shape)
                ->
                Ok()
            | Some _ -> Error(damaged (sprintf "its '%s' is not of the shape and type that it must be." name))
            | None -> Error(damaged (sprintf "it has no '%s'." name))

        let targets = if tensors.ContainsKey "targets" then [ "targets", (List.item 2 wanted |> snd) ] else []

        do! wanted @ targets |> List.traverseResultM check |> Result.map ignore
        let! name = text "attack"
        let! full = text "text"
        let! threat = text "threat"
        let! threat = Threat.parse threat |> Result.mapError (Error.message >> damaged)
        let! seed = text "seed"

        let! seed =
            match UInt64.TryParse(seed, NumberStyles.None, CultureInfo.InvariantCulture) with
            | true, seed -> Ok seed
            | _ -> Error(damaged (sprintf "'%s' is no seed." seed))

        let! flags = text "flags"

        let! flags =
            JsonText.tryRead<Set<string>> flags
            |> Result.requireSome (damaged "its flags are not a list of strings.")

        let! coverage = text "coverage"

        let! coverage =
            JsonText.tryRead<Coverage> coverage
            |> Result.requireSome (damaged "it does not say which images it holds.")

        let about =
            Map [
                for KeyValue(key, text) in metadata do
                    if key.StartsWith("about/", StringComparison.Ordinal) then key.Substring 6, text
            ]

        return create about coverage (name, full) threat seed flags tensors
    }

    /// Reads a file of them; what it holds belongs to no scope.
    let load (path: string) : Result<AdversarialExamples, Error> =
        if not (File.Exists path) then
            Error(Error.Missing("A file of adversarial images", path, "advcontrast attack --out writes one."))
        else
            Safetensors.read path
            |> Result.bind (fun (metadata, tree) ->
                understand path metadata tree
                |> Result.teeError (fun _ -> TensorTree.tensors tree |> Seq.iter _.Dispose()))
