namespace AdvContrast.Core.Training

open System.Collections.Generic
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods

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
module internal ForwardPass =

    // What a step has so far: the views, the buffers of each network, what the passes gave, and gradients
    // that attacks left behind.
    [<NoEquality; NoComparison>]
    type PassState = {
        Views: Map<string, Tensor>
        Buffers: Map<ModelRef, Buffers>
        Outputs: Map<string * string, Output>
        Leaked: Parameters
    }

    let draw machine (progress: Progress) ids purpose = {
        Rng.create machine.Seed purpose ids with
            Epoch = progress.Epoch
            Step = progress.Step
    }

    // The network of a pass, and the call as that network understands it in the run's precision.
    let private computing machine (state: State) parameters stage (pass: Pass) =
        let call = { pass.Call with Mixed = pass.Call.Mixed && machine.Precision = Precision.BFloat16 }

        match pass.Who with
        | Online -> machine.Network, call, parameters, stage.Buffers[Online]
        | Average name -> machine.Network, call, fst state.Averages[name], stage.Buffers[pass.Who]
        | Frozen name ->
            let model = machine.Frozen[name]
            model.Network, { call with Branch = model.Branch }, fst model.Weights, snd model.Weights

    /// Images or a weight in the layout of the run's precision: channels-last, but for Plain. A new handle.
    let laidOut machine (x: Tensor) =
        if machine.Precision = Precision.Plain then x.alias () else Network.channelsLast x

    // A weight of a convolution or linear map as a pass of fixed weights takes it.
    let private prepared machine (call: Call) (weight: Tensor) =
        Scope.tensor (fun () -> laidOut machine (if call.Mixed then Convolution.lower weight else weight))

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
                    Prepare = prepared machine call
                }

            Some(fun images -> folded images, buffers)

    let private raised (x: Tensor) = if x.dtype = torch.bfloat16 then x.``to`` torch.float32 else x

    /// Checks the convolutions of a machine's networks for images of a shape [n; c; h; w], in the run's precision and
    /// layout. branch: one of the network in training.
    let checkKernels machine branch (shape: int64[]) : Result<unit, Error> =
        let isLow, isLast = machine.Precision = Precision.BFloat16, machine.Precision <> Precision.Plain

        KernelCheck.ofNetworks machine.Device isLow isLast shape [
            machine.Network, branch
            for model in Map.values machine.Frozen do
                model.Network, model.Branch
        ]

    // Runs a pass over named views as one batch and slices its outcome by view.
    let private run machine apply (stage: PassState) (pass: Pass) =
        let views = pass.Views |> List.map (fun name -> stage.Views[name])
        let images = laidOut machine (torch.cat (ResizeArray views, 0L))

        let output, after = apply images
        // Losses compute in float32 whatever the passes computed in.
        let output = output |> Output.map raised

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

    let private labelsOf (labels: Map<string, Tensor>) name =
        if name = "class" && not (labels.ContainsKey name) then raise UnlabelledException
        LossContext.find "labels" labels name

    let scene (state: State) (batch: Batch) (stage: PassState) : LossContext = {
        Progress = state.Progress
        Memory = state.Memory
        Ids = batch.Ids
        Labels = labelsOf batch.Labels
        Output = LossContext.output stage.Outputs
        Gather = fun x -> x.alias ()
    }

    /// A loss of a scene that was made of a stage. DivergedException names the image whose embedding the loss
    /// refuses; UnknownNameException a key that a map of the loss's own lacks.
    let lossOf (loss: Loss) (scene: LossContext) (stage: PassState) =
        try
            loss scene
        with
        | :? EmbeddingException as e ->
            FiniteCheck.stop (FiniteCheck.ofOutputs scene.Ids stage.Outputs) e.Message
        | :? KeyNotFoundException as e ->
            let advice = "Scene.head, scene.Labels and scene.Output name what is there."
            raise (
                UnknownNameException(
                    Error.BadOption(
                        "loss",
                        sprintf "it reads a name that is not there (%s) %s" e.Message advice
                    )
                )
            )

    // The gradients of a value with respect to named tensors; those that it does not depend on are left out.
    let gradientsOf keepGraph (value: Tensor) (wanted: Parameters) : Parameters =
        if wanted.IsEmpty then
            Map.empty
        else
            Autograd.grad keepGraph value (Map.values wanted)
            |> Seq.zip (Map.keys wanted)
            |> Seq.choose (fun (name, gradient) -> gradient |> Option.map (fun g -> name, g))
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
