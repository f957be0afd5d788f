namespace AdvContrast.Core

open AdvContrast.Torch.Engine
open TorchSharp

/// How the passes of training compute.
[<RequireQualifiedAccess>]
type Precision =
    /// In float32.
    | Float32
    /// In float32, but convolutions on an NVIDIA card in TF32: 10 bits after the point instead of 23.
    | Tf32
    /// Passes that may run in a lower precision: products in bfloat16, statistics and losses in float32.
    | BFloat16
    /// In float32 with the very operations that the method names: nothing is merged, no layout changed. For
    /// comparisons.
    | Plain

/// What a step runs on.
[<NoEquality; NoComparison>]
type Machine = {
    Network: Network
    Device: torch.Device
    Precision: Precision
    Seed: uint64
    /// Networks that earlier stages made.
    Frozen: Map<string, Model>
}

/// The images of a step.
[<NoEquality; NoComparison>]
type Batch = {
    Ids: int64[]
    /// By source: "image", or what an earlier stage made; [n; c; h; w] in [0, 1].
    Images: Map<string, Tensor>
    /// By name: "class", or labels that an earlier stage made; int64 [n].
    Labels: Map<string, Tensor>
}

/// Runs passes: threads buffers through them and slices what they gave by view.
[<RequireQualifiedAccess>]
module internal Forward =

    // What a step has so far: the views, the buffers of whoever computes, what the passes gave, and gradients
    // that attacks left behind.
    [<NoEquality; NoComparison>]
    type Stage = {
        Views: Map<string, Tensor>
        Buffers: Map<Who, Buffers>
        Outputs: Map<string * string, Output>
        Leaked: Parameters
    }

    let draw machine (progress: Progress) ids purpose = {
        Draw.create machine.Seed purpose ids with
            Epoch = progress.Epoch
            Step = progress.Step
    }

    // The network of a pass, and the call as that network understands it.
    let private computing machine (state: State) parameters stage (pass: Pass) =
        match pass.Who with
        | Online -> machine.Network, pass.Call, parameters, stage.Buffers[Online]
        | Average name -> machine.Network, pass.Call, fst state.Averages[name], stage.Buffers[pass.Who]
        | Frozen name ->
            let model = machine.Frozen[name]
            model.Network, { pass.Call with Branch = model.Branch }, fst model.Weights, snd model.Weights

    let private isLow machine (pass: Pass) = pass.Call.Mixed && machine.Precision = Precision.BFloat16

    /// Images or a weight as convolutions read them fastest: the channels of a pixel together.
    let laidOut machine (x: Tensor) =
        if machine.Precision = Precision.Plain then x else Network.channelsLast x

    // A weight of a convolution or linear map as a pass takes it. Autocast would do the same anew in every pass
    // that does not learn.
    let private prepared machine pass (weight: Tensor) =
        Scope.tensor (fun () ->
            let weight = if isLow machine pass then weight.``to`` torch.bfloat16 else weight
            (laidOut machine weight).alias())

    /// A pass with its weights made ready for many batches, where nothing is learnt from it.
    let ready machine state parameters stage (pass: Pass) : (Tensor -> Output * Buffers) option =
        let network, call, parameters, buffers = computing machine state parameters stage pass

        if machine.Precision = Precision.Plain || call.Mode <> Eval then
            None
        else
            use _ = torch.no_grad ()

            let folded =
                network.Fold {
                    Branch = call.Branch
                    Parameters = parameters
                    Buffers = buffers
                    Prepare = prepared machine pass
                }

            Some(fun images -> folded images, buffers)

    // Runs a pass over named views as one batch and slices its outcome by view.
    let private run machine apply (stage: Stage) (pass: Pass) =
        let views = pass.Views |> List.map (fun name -> stage.Views[name])
        let images = laidOut machine (torch.cat (ResizeArray views, 0L))

        let output, after =
            if isLow machine pass then
                use _ = TorchEngine.Current.Autocast(machine.Device.``type``, torch.ScalarType.BFloat16)
                apply images
            else
                apply images

        let rows = views |> List.map (fun v -> v.shape[0])
        let starts = rows |> List.scan (+) 0L

        let outputs =
            (stage.Outputs, List.zip3 pass.Views starts[.. rows.Length - 1] rows)
            ||> List.fold (fun outputs (view, start, length) ->
                outputs |> Map.add (pass.Name, view) (Output.narrow start length output))

        let keeps =
            match pass.Who with
            | Frozen _ -> false
            | _ -> pass.Keep

        {
            stage with
                Outputs = outputs
                Buffers = if keeps then Map.add pass.Who after stage.Buffers else stage.Buffers
        }

    /// The stage after a pass, by its weights made ready where they are.
    let forwardBy machine state parameters stage (pass, apply) =
        match apply with
        | Some apply -> run machine apply stage pass
        | None ->
            let network, call, parameters, buffers = computing machine state parameters stage pass
            run machine (network.Apply call parameters buffers) stage pass

    /// The stage after a pass.
    let forward machine state parameters stage pass = forwardBy machine state parameters stage (pass, None)

    let scene (state: State) (batch: Batch) (stage: Stage) : Scene = {
        Progress = state.Progress
        Memory = state.Memory
        Ids = batch.Ids
        Labels = batch.Labels
        Output = fun pass view -> stage.Outputs[(pass, view)]
        Gather = fun x -> x.alias ()
    }

    // The gradients of a value with respect to named tensors; those that it does not depend on are left out.
    let gradientsOf keepGraph (value: Tensor) (wanted: Parameters) : Parameters =
        if wanted.IsEmpty then
            Map.empty
        else
            torch.autograd.grad (
                ResizeArray [ value ],
                ResizeArray(Map.values wanted),
                retain_graph = keepGraph,
                allow_unused = true
            )
            |> Seq.zip (Map.keys wanted)
            |> Seq.filter (fun (_, g) -> not g.IsInvalid)
            |> Map.ofSeq

    let add (a: Parameters) (b: Parameters) : Parameters =
        (a, b)
        ||> Map.fold (fun sums name x ->
            sums
            |> Map.change name (fun sum ->
                match sum with
                | Some sum -> Some(sum + x)
                | None -> Some x))

    let learning trains (parameters: Parameters) : Parameters =
        parameters |> Map.map (fun name p -> if trains name then p.detach().requires_grad_ true else p)

    let wanted (parameters: Parameters) : Parameters = parameters |> Map.filter (fun _ p -> p.requires_grad)
