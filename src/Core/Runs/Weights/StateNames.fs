namespace AdvContrast.Core.Runs

open System
open System.Text.RegularExpressions
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation

/// Which tensors of a file of weights are a network's, and what else the file holds.
[<NoEquality; NoComparison>]
type StateNames = {
    /// What stands in front of the network's names: <c>"module.encoder_q."</c>, or nothing.
    Prefix: string
    /// The network's tensors by PyTorch's names, with the batch norms that were chosen.
    Tensors: Map<string, StoredTensor>
    /// Tensors beside the network's that may belong to it and are not known.
    Unknown: string list
    /// The name of the classifier's layer in the file, where there is a classifier.
    Classifier: string option
    /// Which of how many batch norms each layer has, where it has several.
    BatchNorm: (int * int) option
    /// The names of a layer in front that normalises: mean and standard deviation. The same may be there twice.
    Normalisations: (string * string) list
    /// What no pass uses, in words.
    Unused: string list
}

[<RequireQualifiedAccess>]
module StateNames =

    let private classifiers = [ "fc"; "linear"; "classifier"; "head" ]

    // --- batch norms

    // Which of the batch norms of a list a pass uses; None where each layer has one.
    let private chooseNorm (chosen: string option) (norms: NormPlace list) (isWhole: int -> bool) =
        let number norm =
            match norm with
            | Only -> 0
            | Listed n
            | Beside n -> n

        let whole = norms |> List.map number |> List.distinct |> List.sort |> List.filter isWhole
        let isBeside = norms |> List.exists (fun (norm: NormPlace) -> norm.IsBeside)
        let refuse problem = Error(Error.BadOption("--batch-norm", problem))
        let numbers = String.Join(", ", whole)

        match whole, chosen with
        | ([] | [ _ ]), None -> Ok(List.tryHead whole |> Option.defaultValue 0, None)
        | [ 0; 1 ], None -> Ok(if isBeside then 0, Some 2 else 1, Some 2)
        | several, None ->
            refuse (sprintf "each layer has %d batch norms; choose one of %s." several.Length numbers)
        | _, Some text ->
            let wished =
                match text.ToLowerInvariant(), Int32.TryParse text with
                | ("clean" | "normal"), _ when whole.Length <= 2 -> Some 0
                | ("adv" | "adversarial" | "pgd"), _ when whole.Length = 2 -> Some 1
                | _, (true, n) -> Some n
                | _ -> None

            match wished with
            | Some n when List.contains n whole ->
                Ok(n, (if whole.Length > 1 then Some whole.Length else None))
            | _ when whole.Length <= 1 ->
                refuse (sprintf "'%s' is not there; each layer has one batch norm." text)
            | _ -> refuse (sprintf "'%s' is none of %s (clean is 0 and adv is 1 of two)." text numbers)

    // --- what no pass uses

    let private endings = [
        "mean", "std"
        "mu", "sigma"
        "new_mean", "new_std"
        "pixel_mean", "pixel_std"
        "image_mean", "image_std"
        "img_mean", "img_std"
        "_mean", "_std"
    ]

    // Mean and standard deviation of a layer that normalises images.
    let private normalisations (stored: Map<string, StoredTensor>) = [
        for name in stored.Keys do
            let parent = name.Substring(0, name.LastIndexOf '.' + 1)

            for mean, std in endings do
                if name = parent + mean && stored.ContainsKey(parent + std) then name, parent + std
    ]

    let private isCounter (x: StoredTensor) =
        match x.DType with
        | Some dtype -> not (TorchSharp.torch.is_floating_point dtype)
        | None -> x.Type.StartsWith 'U'

    // Names that TRADES' code has twice.
    let private isIdle (name: string) (x: StoredTensor) =
        isCounter x
        || name.EndsWith("num_batches_tracked", StringComparison.Ordinal)
        || name.StartsWith "sub_block1."

    // The part of a name below what it shares with the prefix.
    let private apart (prefix: string) (name: string) =
        let ours, theirs = prefix.Split '.', name.Split '.'
        let shared = Seq.zip ours theirs |> Seq.takeWhile (fun (a, b) -> a = b) |> Seq.length
        theirs[min shared (theirs.Length - 1)]

    // What no pass uses, by its group and the number of its tensors; a copy may be a whole network.
    let private word whole (group: string, count: int) =
        match ForeignNames.tokens group with
        | all when all |> Array.exists (fun t -> t.StartsWith "optim" || t = "scheduler" || t = "schedulers") ->
            "the optimizer's state"
        | all when Array.contains "queue" all -> "the queue"
        | _ when ForeignNames.isCopy group && count >= whole ->
            sprintf "the copy '%s' (%d tensors; --prefix %s takes it)" group count group
        | _ when ForeignNames.isCopy group -> sprintf "the copy '%s' (%d tensors)" group count
        | _ -> sprintf "'%s' (%d tensor%s)" group count (if count = 1 then "" else "s")

    // Whether a tensor that is not the network's may belong to it all the same: a layer within one of its own, or
    // another convolution or batch norm.
    let private mayBelong (wanted: Set<string>) (stored: Map<string, StoredTensor>) prefix (name: string) =
        let rest = name.Substring(String.length prefix)
        let top = (rest.Split '.')[0]
        let isOwn = wanted |> Set.exists (fun known -> known.StartsWith(top + "."))
        let isHead = List.contains top classifiers
        let isWide =
            stored |> Map.exists (fun other x -> other.StartsWith(prefix + top + ".") && x.Shape.Length > 2)

        if rest = top then
            not (ForeignNames.tokens top |> Array.contains "queue")
        elif rest = top + ".bias" && isHead then
            not (stored.ContainsKey(prefix + top + ".weight"))
        else
            not (isHead || ForeignNames.isCopy top)
            && (isOwn || isWide || top.StartsWith "bn" || top.StartsWith "norm")

    // --- all of it

    // The classifier's weight and bias: within the network, or beside it as in solo-learn's code.
    let private classifierOf features (prefix: string) (stored: Map<string, StoredTensor>) =
        let parent = prefix.TrimEnd('.')
        let parent = parent.Substring(0, parent.LastIndexOf '.' + 1)

        [
            for place in List.distinct [ prefix; parent ] do
                for name in classifiers -> place + name
        ]
        |> List.tryFind (fun name ->
            match Map.tryFind (name + ".weight") stored with
            | Some weight -> weight.Shape.Length = 2 && weight.Shape[1] = features
            | None -> false)

    /// Finds a network's tensors among those of a file. wanted: the network's names and shapes but for its
    /// classifier's, fc; features: the width of its features, by the width that the file's tensors have. chosen: how
    /// the prefix ends, and which batch norm, where the user says so.
    let find
        path
        (wanted: Set<string>)
        (features: Map<string, StoredTensor> -> int64)
        (chosenPrefix: string option)
        (chosenNorm: string option)
        (stored: Map<string, StoredTensor>)
        : Result<StateNames, Error> = result {
        let! prefix = ForeignNames.prefixOf path wanted chosenPrefix stored.Keys

        let own =
            stored
            |> Map.toList
            |> List.filter (fun (name, _) -> name.StartsWith(prefix, StringComparison.Ordinal))
            |> List.choose (fun (name, x) ->
                ForeignNames.resolve wanted (name.Substring prefix.Length)
                |> Option.map (fun (known, norm) -> name, known, norm, x))

        let at n known =
            own
            |> List.tryPick (fun (name, k, norm, x) ->
                match norm with
                | _ when k <> known -> None
                | Only when n = 0 -> Some(name, x)
                | Listed m
                | Beside m when m = n -> Some(name, x)
                | _ -> None)

        let isNorm known = wanted.Contains(Regex.Replace(known, @"\.\w+$", ".running_mean"))
        let norms = wanted |> Set.filter (fun known -> known.EndsWith ".running_mean")
        let isWhole n = norms |> Set.forall (fun known -> (at n known).IsSome)
        let kinds = own |> List.choose (fun (_, known, norm, _) -> if isNorm known then Some norm else None)
        let! norm, count = chooseNorm chosenNorm (List.distinct kinds) isWhole

        let network =
            Map [
                for known in wanted do
                    match at (if isNorm known then norm else 0) known with
                    | Some(_, x) -> known, x
                    | None -> ()
            ]

        let classifier = classifierOf (features network) prefix stored

        let head =
            match classifier with
            | Some name ->
                [ "weight"; "bias" ]
                |> List.choose (fun part ->
                    Map.tryFind $"{name}.{part}" stored |> Option.map (fun x -> "fc." + part, x))
            | None -> []

        let normalisations = normalisations stored

        let used =
            Set [
                for name, _, _, _ in own -> name
                for mean, std in normalisations do
                    yield! [ mean; std ]
                for name in Option.toList classifier do
                    yield! [ name + ".weight"; name + ".bias" ]
            ]

        let left =
            stored
            |> Map.toList
            |> List.filter (fun (name, _) -> not (used.Contains name))
            |> List.filter (fun (name, x) ->
                not (isIdle (if name.StartsWith prefix then name.Substring prefix.Length else name) x))
            |> List.map fst

        let unknown, unused =
            left
            |> List.partition (fun name ->
                name.StartsWith(prefix, StringComparison.Ordinal) && mayBelong wanted stored prefix name)

        return {
            Prefix = prefix
            Tensors = Map.toList network @ head |> Map.ofList
            Unknown = unknown
            Classifier = classifier
            BatchNorm = count |> Option.map (fun count -> norm, count)
            Normalisations = normalisations
            Unused = unused |> List.countBy (apart prefix) |> List.map (word wanted.Count) |> List.distinct
        }
    }
