namespace AdvContrast.Core

open System
open System.Globalization
open FsToolkit.ErrorHandling
open TorchSharp

/// Weights that another program trained: a state dict under PyTorch's names, in safetensors. The network is
/// one of the zoo's; its width, the channels of its images and its classes are read from the file.
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

    // --- files

    let private read path = result {
        let! metadata, tree = Safetensors.read path

        if metadata.ContainsKey "configuration" then
            for x in Tree.tensors tree do
                x.Dispose()

            let advice = sprintf "'%s' is of a run of this program, which knows its network." path
            return! Error(Error.BadOption("--network", advice))
        else
            return Tree.toTensors tree
    }

    let private size name axis (tensors: Map<string, Tensor>) =
        Map.tryFind name tensors
        |> Option.bind (fun x -> if x.shape.Length > axis then Some x.shape[axis] else None)

    // The network whose weights these are, with its classifier where they have one.
    let private networkFor (architecture: Architecture) (mean, std) branches tensors = result {
        let channels = size "conv1.weight" 1 tensors |> Option.defaultValue 3L
        let width = size architecture.Gauge 0 tensors |> Option.defaultValue architecture.Width
        let classes = size "fc.weight" 0 tensors |> Option.orElse (size "fc.bias" 0 tensors)

        let spread (values: float list) =
            match values with
            | [ value ] -> List.replicate (int channels) value
            | _ -> values

        let input = {
            Channels = channels
            Mean = spread mean
            Std = spread std
            Classes = classes |> Option.map int |> Option.defaultValue 0
        }

        if int64 input.Mean.Length <> channels then
            let problem = sprintf "it is for %d channels; the network has %d." input.Mean.Length channels

            return! Error(Error.BadOption("--normalise", problem))

        let! build = Zoo.find architecture.Name (Some width)

        return
            match classes with
            | Some k -> input, width, (Head.classifier "fc" (Some(int k))).Run(build input branches)
            | None -> input, width, build input branches
    }

    /// A network of the zoo with the weights in a file, float32 on the device, the same in every branch:
    /// ready to be evaluated, attacked and learnt from. Where the file has a classifier, fc.weight and
    /// fc.bias, the network has the head <c>"fc"</c>. normalise: mean and standard deviation of each channel,
    /// or one of each for all. The encoder belongs to the caller; its branch is the first; its configuration
    /// says the network alone, under the method <c>"pretrained"</c>.
    let withBranches
        (branches: Branch list)
        (architecture: string)
        normalise
        (device: torch.Device)
        path
        : Result<Encoder, Error> = result {
        let! architecture = Zoo.named architecture
        let! tensors = read path

        try
            use _ = torch.NewDisposeScope()
            let! input, width, network = networkFor architecture normalise branches (StateDict.plain tensors)
            let! parameters, buffers = StateDict.fit path network tensors

            let place (x: Tensor) = x.``to``(torch.float32).``to``(device).clone().DetachFromDisposeScope()

            return {
                Configuration = {
                    Configuration.defaults with
                        Method = "pretrained"
                        Network = Some architecture.Name
                        Width = Some(int width)
                        Device = string device
                }
                Input = input
                Network = network
                Branch = branches.Head
                Weights = Map.map (fun _ -> place) parameters, Map.map (fun _ -> place) buffers
                Device = device
            }
        finally
            for x in Map.values tensors do
                x.Dispose()
    }

    /// The same with one branch.
    let load architecture normalise device path =
        withBranches [ Branch "clean" ] architecture normalise device path

    /// The same by names: what images are normalised by is read by <c>normalisation</c>; None for the usual.
    let byName (network: string) (normalise: string option) device path : Result<Encoder, Error> = result {
        let! found = Zoo.named network

        let! normalise =
            match normalise with
            | Some text -> normalisation text
            | None -> usual found.Name

        return! load found.Name normalise device path
    }
