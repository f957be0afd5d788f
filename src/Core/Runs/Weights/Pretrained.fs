namespace AdvContrast.Core.Runs

open System
open System.Globalization
open FsToolkit.ErrorHandling
open AdvContrast.Engine
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks

/// How weights of another program are read.
type ForeignOptions = {
    /// A network of the zoo.
    Network: string
    /// What images were normalised by, as <c>Pretrained.normalisation</c> reads it; None for what the file says,
    /// else for what is usual.
    Normalise: string option
    /// What the names of the network begin with, or the end of that; None for the only one there is.
    Prefix: string option
    /// Which batch norms of a file with several: a number from 0, <c>"clean"</c> or <c>"adv"</c>.
    BatchNorm: string option
}

/// Weights that another program trained: a state dict under PyTorch's names, in safetensors or of torch.save. The
/// network is one of the zoo's; its width, the channels of its images and its classes are read from the file.
[<RequireQualifiedAccess>]
module Pretrained =

    // --- what the images are normalised by

    let private normalisations = [
        "none", ([ 0.0 ], [ 1.0 ])
        "imagenet", ([ 0.485; 0.456; 0.406 ], [ 0.229; 0.224; 0.225 ])
        "cifar10", ([ 0.4914; 0.4822; 0.4465 ], [ 0.2470; 0.2435; 0.2616 ])
        "cifar100", ([ 0.5071; 0.4865; 0.4409 ], [ 0.2673; 0.2564; 0.2762 ])
    ]

    let private numbers (text: string) : float list option =
        let parts = text.Split ','

        let numbers = [
            for part in parts do
                match Double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture) with
                | true, value when Double.IsFinite value -> value
                | _ -> ()
        ]

        if numbers.Length = parts.Length then Some numbers else None

    /// Mean and standard deviation of each channel, in [0, 1]: those of a data set by name,
    /// <c>"imagenet"</c>, <c>"cifar10"</c> or <c>"cifar100"</c>; <c>"none"</c>, as most robust networks have
    /// it; or the numbers, <c>"0.5,0.5,0.5/0.2,0.2,0.2"</c>. A single number holds for all channels.
    let normalisation (text: string) : Result<float list * float list, Error> =
        let known = normalisations |> List.map fst

        match text.Split '/' |> List.ofArray |> List.map numbers with
        | [ Some mean; Some std ] when mean.Length = std.Length && List.forall (fun s -> s > 0.0) std ->
            Ok(mean, std)
        | [ _; _ ] ->
            let form = "write as many means as deviations above 0, as in 0.5,0.5,0.5/0.2,0.2,0.2."
            Error(Error.BadOption("--normalise", sprintf "'%s' cannot be read; %s" text form))
        | _ ->
            normalisations
            |> List.tryFind (fun (name, _) -> name = text.ToLowerInvariant())
            |> Option.map snd
            |> Result.requireSome (Error.UnknownName("normalisation", text, known))

    /// What a network of the zoo is usually given: ImageNet's where it has ImageNet's stem. Error for others,
    /// for which programs differ.
    let usual (architecture: string) : Result<float list * float list, Error> =
        if architecture.EndsWith("-imagenet", StringComparison.OrdinalIgnoreCase) then
            normalisation "imagenet"
        else
            let names = normalisations |> List.map fst |> String.concat ", "
            let advice = sprintf "say what '%s' was trained with: %s or MEAN/STD." architecture names
            Error(Error.BadOption("--normalise", advice))

    let private size name axis (tensors: Map<string, StoredTensor>) =
        Map.tryFind name tensors |> Option.bind (fun x -> Array.tryItem axis x.Shape)

    let private widthOf (architecture: Architecture) tensors =
        size architecture.Gauge 0 tensors |> Option.defaultValue architecture.Width

    let private inputOf channels classes (mean, std) =
        let spread (values: float list) =
            match values with
            | [ value ] -> List.replicate (int channels) value
            | _ -> values

        let input: ImageInfo = {
            Channels = channels
            Mean = spread mean
            Std = spread std
            Classes = classes
        }

        if int64 input.Mean.Length = channels then
            Ok input
        else
            let problem = sprintf "it is for %d channels; the network has %d." input.Mean.Length channels
            Error(Error.BadOption("--normalise", problem))

    // --- reading

    let private read (path: string) (work: Map<string, StoredTensor> -> Result<Encoder, Error>) =
        if TorchFile.isOne path then
            TorchFile.openWith path work
        else
            Safetensors.openWith path (fun metadata stored ->
                if metadata.ContainsKey "configuration" then
                    let advice = sprintf "'%s' is of a run of this program, which knows its network." path
                    Error(Error.BadOption("--network", advice))
                else
                    work stored)

    // What the weights are of where they do not fit, as far as their names tell it.
    let private misfit
        path
        (architecture: Architecture)
        (network: Network)
        (names: StateNames)
        stored
        faults
        =
        let shapes =
            stored
            |> Map.toSeq
            |> Seq.filter (fun (name: string, _) -> name.StartsWith(names.Prefix, StringComparison.Ordinal))
            |> Seq.map (fun (name, x: StoredTensor) -> name.Substring names.Prefix.Length, x.Shape)
            |> Map.ofSeq

        let details = String.concat "; " faults

        match Recognition.ofShapes shapes with
        | Some found when not (List.contains architecture.Name found.Networks) ->
            let advice =
                match found.Networks with
                | [] -> "which is none of the networks that are read."
                | networks -> sprintf "name that network: %s." (String.concat " or " networks)

            Error.Damaged(path, sprintf "these are the weights of %s; %s" found.Text advice)
        | _ -> Error.Damaged(path, sprintf "it does not fit %s: %s." network.Text details)

    // The tensors of a network as float32 on a device; they belong to no scope.
    let private place path (device: torch.Device) (names: StateNames) (wanted: Map<string, int64[]>) =
        let tensor (name: string) =
            let stored = names.Tensors[Branch.stem name]

            match stored.DType with
            | Some dtype when not (torch.is_floating_point dtype) ->
                Error(
                    Error.Damaged(
                        path,
                        sprintf "'%s' has the type %s; weights are floating point." name stored.Type
                    )
                )
            | _ -> Ok(stored.Read().``to``(torch.float32).``to``(device))

        wanted.Keys
        |> List.ofSeq
        |> List.traverseResultM (fun name -> tensor name |> Result.map (fun x -> name, x))
        |> Result.map Map.ofList

    // Of what is not used, how much is named.
    let private shownGroups = 8

    // What was understood of a file, in one sentence.
    let private noteOf
        path
        (architecture: Architecture)
        (network: Network)
        (names: StateNames)
        (input: ImageInfo)
        why
        =
        let parts = [
            network.Text

            if architecture.Name.StartsWith "resnet" && not (architecture.Name.Contains '-') then
                sprintf
                    "padding 1 at conv1 (solo-learn's networks have 2: --network %s-pad2)"
                    architecture.Name

            match names.Classifier with
            | Some name -> sprintf "its classifier is '%s'" name
            | None -> "without a classifier"

            if names.Prefix <> "" then sprintf "names without '%s'" names.Prefix

            match names.BatchNorm with
            | Some(chosen, count) ->
                sprintf "batch norm %d of 0 to %d (--batch-norm chooses another)" chosen (count - 1)
            | None -> ()

            if not names.Unused.IsEmpty then sprintf "not used: %s" (ShortList.text shownGroups names.Unused)

            sprintf "normalisation %s%s" (FileNormalisation.text (input.Mean, input.Std)) why
        ]

        sprintf "%s: %s." path (String.concat "; " parts)

    let private encoderOf branches (architecture: Architecture) normalise prefix norm device path stored =
        result {
            let blank: ImageInfo = { Channels = 1L; Mean = [ 0.0 ]; Std = [ 1.0 ]; Classes = 0 }
            let plain width = architecture.Build width blank []
            let known = NetworkShapes.ofNetwork plain 1L |> NetworkShapes.stems |> _.Keys |> Set.ofSeq
            let features tensors = (plain (widthOf architecture tensors)).FeatureWidth
            let! names = StateNames.find path known features prefix norm stored

            for KeyValue(name, x) in names.Tensors do
                if x.DType.IsNone then
                    return!
                        Error(
                            Error.Damaged(
                                path,
                                sprintf "'%s' has the type %s, which is not read." name x.Type
                            )
                        )

            let channels = size "conv1.weight" 1 names.Tensors |> Option.defaultValue 3L
            let classes = size "fc.weight" 0 names.Tensors |> Option.map int
            let width = widthOf architecture names.Tensors
            let! values, why = FileNormalisation.choose path (usual architecture.Name) names stored normalise
            let! input = inputOf channels (Option.defaultValue 0 classes) values
            let! _ = ModelRegistry.find architecture.Name (Some width)

            let build width =
                let network = architecture.Build width input branches
                if classes.IsSome then (Head.classifier "fc" classes).Run network else network

            let network = build width
            let parameters, buffers = NetworkShapes.ofNetwork build width
            let shapes = names.Tensors |> Map.map (fun _ x -> x.Shape)

            match StateDict.misfits (NetworkShapes.stems (parameters, buffers)) shapes names.Unknown with
            | [] -> ()
            | faults -> return! Error(misfit path architecture network names stored faults)

            use _ = torch.NewDisposeScope()
            let! parameters = place path device names parameters
            let! buffers = place path device names buffers
            do! StateDict.check path (parameters, buffers)
            Scope.adopt (Seq.append (Map.values parameters) (Map.values buffers))

            return {
                Configuration = {
                    PretrainConfig.defaults with
                        Method = "pretrained"
                        Network = Some architecture.Name
                        Width = Some(int width)
                        Device = string (device: torch.Device)
                }
                Input = input
                Network = network
                Branch = List.head branches
                Weights = parameters, buffers
                Device = device
                Notes = [ noteOf path architecture network names input why ]
            }
        }

    let private read' branches network normalise prefix norm device path = result {
        let! architecture = ModelRegistry.named network
        LibTorch.Load()
        return! read path (encoderOf branches architecture normalise prefix norm device path)
    }

    /// A network of the zoo with the weights in a file, float32 on the device, the same in every branch:
    /// ready to be evaluated, attacked and learnt from. Where the file has a classifier, the network has it as the
    /// head <c>"fc"</c>. normalise: mean and standard deviation of each channel, or one of each for all. The encoder
    /// belongs to the caller; its branch is the first; its configuration says the network alone, under the method
    /// <c>"pretrained"</c>.
    let withBranches branches architecture normalise device path : Result<Encoder, Error> =
        read' branches architecture (Some normalise) None None device path

    /// The same with one branch.
    let load architecture normalise device path =
        withBranches [ Branch "clean" ] architecture normalise device path

    /// The weights in a file, as the options say.
    let ofOptions (options: ForeignOptions) device path : Result<Encoder, Error> = result {
        let! normalise = options.Normalise |> Option.traverseResult normalisation
        let { Network = network; Prefix = prefix; BatchNorm = norm } = options
        return! read' [ Branch "clean" ] network normalise prefix norm device path
    }

    /// The same by the network's name and what images are normalised by.
    let byName network normalise device path =
        ofOptions { Network = network; Normalise = normalise; Prefix = None; BatchNorm = None } device path
