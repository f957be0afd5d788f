namespace AdvContrast.Core.Optim

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// One stage between gradients and the update that is subtracted from the parameters. Stages compose; their
/// state is a tree of its own.
[<NoEquality; NoComparison>]
type Transform = {
    Text: string
    /// The learning rate, where the stage multiplies by one.
    Rate: Schedule option
    Init: Parameters -> TensorTree
    /// Updates so far (gradients at first) and parameters to new updates and the next state. A parameter
    /// without a gradient is not in the updates, keeps its state and is left alone.
    Update: Progress -> Parameters -> Parameters -> TensorTree -> Parameters * TensorTree
}

/// Layer-wise rate scaling (You, Gitman and Ginsburg 2017) as the published code has it: for each tensor
/// (g + decay*w) times r = trust*|w| / (|g| + decay*|w| + epsilon).
[<NoEquality; NoComparison>]
type Lars = {
    Trust: float
    Decay: float
    Epsilon: float
    /// Divides r by this rate, the learning rate, and then cuts it at 1: the rate that acts on a tensor is
    /// the smaller of the two.
    Clip: Schedule option
    /// Where |w| or |g| vanishes, r is 1. Does the decay stay then?
    DecaysAlways: bool
}

[<RequireQualifiedAccess>]
module Transform =

    // A transform of one update and its parameter alone.
    let private pointwise text (f: Progress -> Tensor -> Tensor -> Tensor) = {
        Text = text
        Rate = None
        Init = fun _ -> Map.empty
        Update =
            fun progress updates parameters state ->
                let made name g = Scope.tensor (fun () -> f progress g parameters[name])
                updates |> Map.map made, state
    }

    let private zeros (parameters: Parameters) : TensorTree =
        parameters |> Map.map (fun _ p -> Leaf.Tensor(torch.zeros_like p))

    // Keeps what stands in the state of parameters that had no update.
    let private store (name: string) (state: TensorTree) (values: Map<string, Tensor>) =
        TensorTree.join state (TensorTree.under name (TensorTree.ofTensors values))

    /// Multiplies by a schedule: the learning rate.
    let scale (rate: Schedule) = {
        pointwise ("rate " + rate.Text) (fun progress g _ -> g * rate.Run progress) with
            Rate = Some rate
    }

    /// Adds decay times the parameter (L2 regularisation, coupled as in PyTorch's SGD).
    let weightDecay (decay: float) =
        pointwise (sprintf "weight decay %g" decay) (fun _ g p -> g.add (p, decay.ToScalar()))

    // v becomes mu*v + g; the update is made of g and v.
    let private velocity text (mu: float) (update: Tensor -> Tensor -> Tensor) = {
        Text = sprintf "%s %g" text mu
        Rate = None
        Init = fun parameters -> TensorTree.under "momentum" (zeros parameters)
        Update =
            fun _ updates _ state ->
                let before = TensorTree.toTensors (TensorTree.within "momentum" state)
                let now = updates |> Map.map (fun name g -> g.add (before[name], mu.ToScalar()))
                updates |> Map.map (fun name g -> update g now[name]), store "momentum" state now
    }

    /// Heavy-ball momentum as PyTorch has it: v becomes mu*v + g, and v is the update.
    let momentum (mu: float) = velocity "momentum" mu (fun _ v -> v)

    /// Nesterov's momentum as PyTorch has it: v becomes mu*v + g, and g + mu*v is the update.
    let nesterov (mu: float) = velocity "Nesterov momentum" mu (fun g v -> g.add (v, mu.ToScalar()))

    /// Adam (Kingma and Ba 2015, algorithm 1) with bias correction; the update before the learning rate.
    let adam (beta1: float) (beta2: float) (epsilon: float) = {
        Text = sprintf "Adam %g, %g" beta1 beta2
        Rate = None
        Init =
            fun parameters ->
                TensorTree.under "first" (zeros parameters)
                |> TensorTree.join (TensorTree.under "second" (zeros parameters))
                |> Map.add "steps" (Leaf.Int 0L)
        Update =
            fun _ updates _ state ->
                let steps =
                    match Map.tryFind "steps" state with
                    | Some(Leaf.Int steps) -> steps + 1L
                    | _ -> 1L

                let first, second =
                    TensorTree.toTensors (TensorTree.within "first" state),
                    TensorTree.toTensors (TensorTree.within "second" state)
                // Tensors of our own are changed in place, which saves passes over all parameters.
                let each f (tensors: Parameters) =
                    tensors |> Map.map (fun name x -> Scope.tensor (fun () -> f name x))
                let first =
                    updates |> each (fun name g -> (first[name] * beta1).add_(g, (1.0 - beta1).ToScalar()))
                let second =
                    updates
                    |> each (fun name g -> (second[name] * beta2).addcmul_(g, g, (1.0 - beta2).ToScalar()))
                let correction1 = 1.0 - beta1 ** float steps
                let root2 = sqrt (1.0 - beta2 ** float steps)

                // (m / c1) / (sqrt(v / c2) + epsilon), both over the root of c2.
                let step name (m: Tensor) =
                    let deviation = second[name].sqrt().add_((epsilon * root2).ToScalar())
                    (m / deviation).mul_((root2 / correction1).ToScalar())

                each step first,
                store "second" (store "first" state first) second |> Map.add "steps" (Leaf.Int steps)
    }

    /// Layer-wise rate scaling; the momentum and the learning rate come after it.
    let layerwise (rule: Lars) =
        let text =
            [
                sprintf "LARS, trust %g, decay %g" rule.Trust rule.Decay
                if rule.Epsilon > 0.0 then sprintf "epsilon %g" rule.Epsilon
                match rule.Clip with
                | Some rate -> sprintf "at most the rate %s" rate.Text
                | None -> ()
                if not rule.DecaysAlways then "no decay where a norm is 0"
            ]
            |> String.concat ", "

        // Together for all tensors, since each has but two numbers, and an operation costs more than those: what
        // it is multiplied by, and its decay.
        let rates progress (wNorm: Tensor) (gNorm: Tensor) =
            let small (x: Tensor) = x.lt (1e-15.ToScalar())
            let none = (small wNorm).logical_or(small gNorm)
            let ratio = wNorm * rule.Trust / (gNorm + wNorm * rule.Decay + rule.Epsilon)

            let ratio =
                match rule.Clip with
                | Some rate -> (ratio / rate.Run progress).clamp_max(1.0.ToScalar())
                | None -> ratio

            let decay = torch.full_like (ratio, rule.Decay.ToScalar())
            torch.where (none, torch.ones_like ratio, ratio),
            if rule.DecaysAlways then decay else torch.where (none, torch.zeros_like decay, decay)

        let norms (tensors: Tensor seq) =
            torch.stack(tensors |> Seq.map (fun x -> Scope.tensor (fun () -> x.square().sum()))).sqrt()

        {
            Text = text
            Rate = None
            Init = fun _ -> Map.empty
            Update =
                fun progress updates parameters state ->
                    if updates.IsEmpty then
                        updates, state
                    else
                        let made =
                            Scope.keeping (fun made -> Map.values made) (fun () ->
                                let weights = updates.Keys |> Seq.map (fun name -> parameters[name])
                                let ratios, decays = rates progress (norms weights) (norms updates.Values)

                                Seq.zip3 (Map.toSeq updates) (ratios.unbind 0) (decays.unbind 0)
                                |> Seq.map (fun ((name, g), ratio, decay) ->
                                    name,
                                    Scope.tensor (fun () ->
                                        g.addcmul(parameters[name], decay, 1.0.ToScalar()).mul_(ratio)))
                                |> Map.ofSeq)

                        made, state
        }

    /// LARS as ACL's code has it: nothing added to the norms, nothing cut, and the decay always. After a
    /// <c>weightDecay</c> of its own, with decay 0 here, it is that of SimCLR's code.
    let lars (eta: float) (decay: float) =
        layerwise { Trust = eta; Decay = decay; Epsilon = 0.0; Clip = None; DecaysAlways = true }

    /// LARS as apex (LARC) and solo-learn have it: 1e-8 added to the norms, cut at a learning rate where one
    /// is given, and no decay where a norm is 0.
    let larc (clip: Schedule option) (eta: float) (decay: float) =
        layerwise { Trust = eta; Decay = decay; Epsilon = 1e-8; Clip = clip; DecaysAlways = false }

    /// Shortens all updates together to a joint length, where they are longer (PyTorch's clip_grad_norm_).
    let clipNorm (length: float) = {
        Text = sprintf "length at most %g" length
        Rate = None
        Init = fun _ -> Map.empty
        Update =
            fun _ updates _ state ->
                match updates |> Map.values |> Seq.map _.square().sum() |> List.ofSeq with
                | [] -> updates, state
                | first :: others ->
                    let total = (List.fold (fun (sum: Tensor) x -> sum + x) first others).sqrt()
                    let part = ((total + 1e-6).reciprocal() * length).clamp_max(1.0.ToScalar())
                    updates |> Map.map (fun _ g -> g * part), state
    }

    /// Tensors of more than one dimension: not biases, nor the scales and shifts of normalisations.
    let matrices = Named.create "matrices" (fun (_: string) (shape: int64[]) -> shape.Length <> 1)

    /// A stage for those parameters alone whose name and shape are such; the updates of the others pass.
    let only (which: Named<string -> int64[] -> bool>) (stage: Transform) =
        let those (parameters: Parameters) (tensors: Parameters) : Parameters =
            tensors |> Map.filter (fun name _ -> which.Run name parameters[name].shape)

        {
            Text = sprintf "%s (%s alone)" stage.Text which.Text
            Rate = stage.Rate
            Init = fun parameters -> stage.Init(those parameters parameters)
            Update =
                fun progress updates parameters state ->
                    let changed, state =
                        stage.Update progress (those parameters updates) (those parameters parameters) state
                    Map.foldBack Map.add changed updates, state
        }

    /// One stage after the other.
    let chain (stages: Transform list) =
        let named = stages |> List.mapi (fun i stage -> string i, stage)

        {
            Text = stages |> List.map _.Text |> String.concat ", "
            Rate = stages |> List.tryPick _.Rate
            Init =
                fun parameters ->
                    named
                    |> List.map (fun (name, stage) -> TensorTree.under name (stage.Init parameters))
                    |> List.fold TensorTree.join Map.empty
            Update =
                fun progress updates parameters state ->
                    ((updates, Map.empty), named)
                    ||> List.fold (fun (updates, after) (name, stage) ->
                        let updates, own =
                            stage.Update progress updates parameters (TensorTree.within name state)
                        updates, TensorTree.join after (TensorTree.under name own))
        }

    /// SGD: weight decay, momentum, learning rate.
    let sgd rate mu decay = {
        chain [ weightDecay decay; momentum mu; scale rate ] with
            Text = sprintf "SGD, rate %s, momentum %g, weight decay %g" rate.Text mu decay
    }

    /// The same with Nesterov's momentum.
    let sgdNesterov rate mu decay = {
        chain [ weightDecay decay; nesterov mu; scale rate ] with
            Text = sprintf "SGD, rate %s, Nesterov momentum %g, weight decay %g" rate.Text mu decay
    }

    /// ACL's LARS: the learning rate inside the momentum, v becomes mu*v + rate*ratio*(g + decay*w).
    let larsMomentum rate mu eta decay = {
        chain [ lars eta decay; scale rate; momentum mu ] with
            Text = sprintf "LARS, rate %s, momentum %g, weight decay %g, trust %g" rate.Text mu decay eta
    }

    /// LARS as solo-learn runs it: scaled and cut at the rate, then momentum and rate; biases and
    /// normalisations are neither scaled nor decayed.
    let larcMomentum rate mu eta decay =
        chain [ only matrices (larc (Some rate) eta decay); momentum mu; scale rate ]

    /// AdamW (Loshchilov and Hutter 2019): the decay beside Adam's step, both times the rate, as in PyTorch.
    let adamW rate beta1 beta2 epsilon decay =
        chain [ adam beta1 beta2 epsilon; weightDecay decay; scale rate ]

    /// The parameters after an update: w - u, new tensors; those without an update are the same tensors.
    let apply (updates: Parameters) (parameters: Parameters) : Parameters =
        parameters
        |> Map.map (fun name p ->
            match Map.tryFind name updates with
            | Some u -> p - u
            | None -> p)
