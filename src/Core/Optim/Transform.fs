namespace AdvContrast.Core

open TorchSharp

/// One stage between gradients and the update that is subtracted from the parameters. Stages compose; their
/// state is a tree of its own.
[<NoEquality; NoComparison>]
type Transform = {
    Text: string
    Init: Parameters -> Tree
    /// Updates so far (gradients at first) and parameters to new updates and the next state. A parameter
    /// without a gradient is not in the updates, keeps its state and is left alone.
    Update: Progress -> Parameters -> Parameters -> Tree -> Parameters * Tree
}

[<RequireQualifiedAccess>]
module Transform =

    // A stage that looks at nothing but one update and its parameter.
    let private pointwise text (f: Progress -> Tensor -> Tensor -> Tensor) = {
        Text = text
        Init = fun _ -> Map.empty
        Update =
            fun progress updates parameters state ->
                updates |> Map.map (fun name g -> f progress g parameters[name]), state
    }

    let private zeros (parameters: Parameters) : Tree =
        parameters |> Map.map (fun _ p -> Value(torch.zeros_like p))

    // Keeps what stands in the state of parameters that had no update.
    let private store (name: string) (state: Tree) (values: Map<string, Tensor>) =
        Tree.join state (Tree.under name (Tree.ofTensors values))

    /// Multiplies by a schedule: the learning rate.
    let scale (rate: Schedule) = pointwise ("rate " + rate.Text) (fun progress g _ -> g * rate.Run progress)

    /// Adds decay times the parameter (L2 regularisation, coupled as in PyTorch's SGD).
    let weightDecay (decay: float) = pointwise (sprintf "weight decay %g" decay) (fun _ g p -> g + p * decay)

    /// Heavy-ball momentum as PyTorch has it: v becomes mu*v + g, and v is the update.
    let momentum (mu: float) = {
        Text = sprintf "momentum %g" mu
        Init = fun parameters -> Tree.under "momentum" (zeros parameters)
        Update =
            fun _ updates _ state ->
                let before = Tree.toTensors (Tree.within "momentum" state)
                let now = updates |> Map.map (fun name g -> before[name] * mu + g)
                now, store "momentum" state now
    }

    /// Adam (Kingma and Ba 2015, algorithm 1) with bias correction; the update before the learning rate.
    let adam (beta1: float) (beta2: float) (epsilon: float) = {
        Text = sprintf "Adam %g, %g" beta1 beta2
        Init =
            fun parameters ->
                Tree.under "first" (zeros parameters)
                |> Tree.join (Tree.under "second" (zeros parameters))
                |> Map.add "steps" (Whole 0L)
        Update =
            fun _ updates _ state ->
                let steps =
                    match Map.tryFind "steps" state with
                    | Some(Whole steps) -> steps + 1L
                    | _ -> 1L

                let first, second =
                    Tree.toTensors (Tree.within "first" state), Tree.toTensors (Tree.within "second" state)
                let first = updates |> Map.map (fun name g -> first[name] * beta1 + g * (1.0 - beta1))
                let second =
                    updates |> Map.map (fun name g -> second[name] * beta2 + g.square () * (1.0 - beta2))
                let correction1 = 1.0 - beta1 ** float steps
                let correction2 = 1.0 - beta2 ** float steps

                let step name (m: Tensor) =
                    (m / correction1) / ((second[name] / correction2).sqrt() + epsilon)

                Map.map step first,
                store "second" (store "first" state first) second |> Map.add "steps" (Whole steps)
    }

    /// Layer-wise rate scaling as ACL's code has it: (g + decay*w) times eta*|w| / (|g| + decay*|w|), or
    /// times 1 where either norm vanishes; biases and batch norms included.
    let lars (eta: float) (decay: float) =
        pointwise (sprintf "LARS, trust %g, decay %g" eta decay) (fun _ g w ->
            let norm (x: Tensor) = x.square().sum().sqrt()
            let wNorm, gNorm = norm w, norm g
            let ratio = wNorm * eta / (gNorm + wNorm * decay)
            let small (x: Tensor) = x.lt (1e-15.ToScalar())
            let ratio = torch.where ((small wNorm).logical_or(small gNorm), torch.ones_like ratio, ratio)
            (g + w * decay) * ratio)

    /// One stage after the other.
    let chain (stages: Transform list) =
        let named = stages |> List.mapi (fun i stage -> string i, stage)

        {
            Text = stages |> List.map _.Text |> String.concat ", "
            Init =
                fun parameters ->
                    named
                    |> List.map (fun (name, stage) -> Tree.under name (stage.Init parameters))
                    |> List.fold Tree.join Map.empty
            Update =
                fun progress updates parameters state ->
                    ((updates, Map.empty), named)
                    ||> List.fold (fun (updates, after) (name, stage) ->
                        let updates, own = stage.Update progress updates parameters (Tree.within name state)
                        updates, Tree.join after (Tree.under name own))
        }

    /// SGD: weight decay, momentum, learning rate.
    let sgd rate mu decay = {
        chain [ weightDecay decay; momentum mu; scale rate ] with
            Text = sprintf "SGD, rate %s, momentum %g, weight decay %g" rate.Text mu decay
    }

    /// ACL's LARS: the learning rate inside the momentum, v becomes mu*v + rate*ratio*(g + decay*w).
    let larsMomentum rate mu eta decay = {
        chain [ lars eta decay; scale rate; momentum mu ] with
            Text = sprintf "LARS, rate %s, momentum %g, weight decay %g, trust %g" rate.Text mu decay eta
    }

    /// The parameters after an update: w - u, new tensors; those without an update are the same tensors.
    let apply (updates: Parameters) (parameters: Parameters) : Parameters =
        parameters
        |> Map.map (fun name p ->
            match Map.tryFind name updates with
            | Some u -> p - u
            | None -> p)
