namespace AdvContrast.Core.Networks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// A piece of a network: it takes a batch and the buffers, and gives the next batch and the buffers after it.
/// So layers compose by passing both on, and nothing is changed in place.
[<NoEquality; NoComparison>]
type Layer = {
    Text: string
    Init: Rng -> Parameters * Buffers
    Run: Call -> Parameters -> Tensor * Buffers -> Tensor * Buffers
    /// The same in eval mode at fixed weights, in parts that merge with those of the layers around it.
    Fold: Fixed -> FoldedOp list
}

[<RequireQualifiedAccess>]
module Layer =

    let private merge (a: Map<string, Tensor>) (b: Map<string, Tensor>) = Map.foldBack Map.add b a

    /// A layer without parameters.
    let pure' text (f: Tensor -> Tensor) = {
        Text = text
        Init = fun _ -> Map.empty, Map.empty
        Run = fun _ _ (x, buffers) -> f x, buffers
        Fold = fun _ -> [ Function f ]
    }

    /// A layer in eval mode at fixed weights, as one function.
    let fold (fixed': Fixed) (layer: Layer) : Tensor -> Tensor =
        FoldedOp.compile fixed'.Prepare (layer.Fold fixed')

    // What stands between two layers is freed as soon as it is used; what gradients need, libtorch holds.
    let private through (start: Tensor) (x: Tensor, buffers) (run: Tensor * Buffers -> Tensor * Buffers) =
        let next = run (x, buffers)
        if not (obj.ReferenceEquals(x, start)) then x.Dispose()
        next

    /// One after the other.
    let sequence (layers: Layer list) = {
        Text = layers |> List.map _.Text |> List.filter ((<>) "") |> String.concat " - "
        Init =
            fun draw ->
                layers
                |> List.map (fun layer -> layer.Init draw)
                |> List.fold (fun (ps, bs) (p, b) -> merge ps p, merge bs b) (Map.empty, Map.empty)
        Run =
            fun call parameters (x, buffers) ->
                ((x, buffers), layers)
                ||> List.fold (fun at layer -> through x at (layer.Run call parameters))
        Fold = fun fixed' -> layers |> List.collect (fun layer -> layer.Fold fixed')
    }

    /// main(x) + shortcut(x) (He et al. 2016, eq. 2).
    let sum main shortcut =
        let both = sequence [ main; shortcut ]

        {
            Text = sprintf "[%s]" main.Text
            Init = both.Init
            Run =
                fun call parameters (x, buffers) ->
                    let y, buffers = main.Run call parameters (x, buffers)
                    let skip, buffers = shortcut.Run call parameters (x, buffers)
                    FoldedOp.add y skip, buffers
            Fold =
                fun fixed' ->
                    let parts = main.Fold fixed'
                    let main, shortcut = FoldedOp.compile fixed'.Prepare parts, fold fixed' shortcut
                    let join = if FoldedOp.isFresh parts then FoldedOp.addTo else FoldedOp.add
                    [ Sum(fun x -> join (main x) (shortcut x)) ]
        }

    // As many numbers as a processor's cache of the second level holds in bfloat16.
    let private cached = 1L <<< 20

    /// x itself.
    let identity = pure' "" (fun x -> x.alias ())

    /// Layers whose maps are large and whose weights are few: the same, but in eval mode at fixed weights few
    /// images go through all of them at a time, so that what passes between them stays in the processor's cache.
    /// channels: numbers of their widest map for each pixel that comes in.
    let inSlices (channels: int64) layers =
        let all = sequence layers

        {
            all with
                Fold =
                    fun fixed' ->
                        let run = fold fixed' all

                        [
                            Function(fun x ->
                                let images = max 1L (cached / (channels * x.shape[2] * x.shape[3]))

                                if x.is_cpu () && images < x.shape[0] then
                                    Scope.tensor (fun () ->
                                        torch.cat (x.split images |> Seq.map run |> ResizeArray, 0L))
                                else
                                    run x)
                        ]
        }

    let relu = { pure' "ReLU" (fun x -> x.relu ()) with Fold = fun _ -> [ Relu ] }

    /// main(x) + shortcut(x), then ReLU.
    let residual main shortcut = { sequence [ sum main shortcut; relu ] with Text = sprintf "[%s]" main.Text }

    /// The mean over both spatial axes: [n; c; h; w] -> [n; c].
    let globalPool =
        pure' "mean" (fun x ->
            if x.is_contiguous () then
                x.mean ([| 2L; 3L |])
            else
                // So the gradient too has its channels last.
                x.permute(0L, 2L, 3L, 1L).mean([| 1L; 2L |]))

    /// Maximum over square windows.
    let maxPool (size: int64) (stride: int64) (padding: int64) =
        pure' (sprintf "max %d/%d" size stride) (fun x ->
            torch.nn.functional.max_pool2d (x, size, System.Nullable stride, System.Nullable padding))

    /// (x - mean) / std for each channel: the first layer, so that attacks and augmentations live in [0, 1].
    let normalise (mean: float list) (std: float list) =
        let channels (values: float list) (x: Tensor) =
            torch
                .tensor(Array.ofList (List.map float32 values))
                .view([| 1L; -1L; 1L; 1L |])
                .``to``(x.dtype)
                .``to``
                x.device

        pure' "normalise" (fun x -> (x - channels mean x) / channels std x)

    let private single name (init: Rng -> Tensor) (draw: Rng) : Parameters =
        Map [ name, init (Rng.sub name draw) ]

    /// Normal with standard deviation sqrt(2 / fan-out) (He et al. 2015), the ACL family's start.
    let private kaiming (shape: int64 list) fanOut draw =
        (Rng.normal shape (Rng.alone draw)).squeeze(0L) * sqrt (2.0 / fanOut)

    /// Uniform within 1 / sqrt(fan-in): PyTorch's default.
    let private uniform (shape: int64 list) fanIn draw =
        ((Rng.uniform shape (Rng.alone draw)).squeeze(0L) * 2.0 - 1.0) / sqrt fanIn

    // A weight as a pass multiplies by it; differentiable.
    let private computing call (weight: Tensor) =
        if call.Mixed then Convolution.lower weight else weight.alias ()

    /// A square convolution without bias: [n; input; h; w] -> [n; output; h'; w'].
    let conv name (input: int64) (output: int64) (size: int64) (stride: int64) (padding: int64) =
        let weight = name + ".weight"
        let run = Convolution.conv2d stride padding

        {
            Text =
                sprintf "conv %dx%d %d%s" size size output (if stride = 1L then "" else sprintf "/%d" stride)
            Init =
                fun draw ->
                    single weight (kaiming [ output; input; size; size ] (float (output * size * size))) draw,
                    Map.empty
            Run =
                fun call parameters (x, buffers) ->
                    Scope.tensor (fun () -> run (computing call parameters[weight]) null x), buffers
            Fold = fun fixed' -> [ Product(fixed'.Parameters[weight], null, run) ]
        }

    let private affine name bias (input: int64) (output: int64) (begun: int64 list -> Rng -> Tensor) =
        let weight, offset = name + ".weight", name + ".bias"
        let of' (parameters: Parameters) = if bias then parameters[offset] else null
        {
            Text = sprintf "linear %d" output
            Init =
                fun draw ->
                    let start shape name = single name (begun shape) draw
                    let parameters = start [ output; input ] weight
                    (if bias then merge parameters (start [ output ] offset) else parameters), Map.empty
            Run =
                fun call parameters (x, buffers) ->
                    let offset = of' parameters

                    Scope.tensor (fun () ->
                        let offset = if isNull offset then null else computing call offset
                        Convolution.linear (computing call parameters[weight]) offset x),
                    buffers
            Fold =
                fun fixed' -> [
                    Product(fixed'.Parameters[weight], of' fixed'.Parameters, Convolution.linear)
                ]
        }

    /// A linear map, started as PyTorch starts one: [n; input] -> [n; output].
    let linear name bias (input: int64) (output: int64) =
        affine name bias input output (fun shape -> uniform shape (float input))

    /// A linear map that starts at zero.
    let linearFromZero name bias (input: int64) (output: int64) =
        affine name bias input output (fun shape _ -> torch.zeros (Array.ofList shape))

    let private epsilon = 1e-5

    // Without branches there is one set for all, under the plain names.
    let private norm learnt (branches: Branch list) name (channels: int64) =
        let tensor part = name + "." + part
        let named branch part = if branches.IsEmpty then tensor part else Branch.suffix branch (tensor part)

        // Weight, bias, mean and variance of a branch.
        let tensorsOf branch (parameters: Parameters) (buffers: Buffers) =
            let own part = if learnt then parameters[named branch part] else null
            let kept part = buffers[named branch part]
            own "weight", own "bias", kept "running_mean", kept "running_var"

        let all part (value: float) =
            match branches with
            | [] -> [ tensor part ]
            | _ -> branches |> List.map (fun branch -> named branch part)
            |> List.map (fun name -> name, torch.full ([| channels |], value.ToScalar(), torch.float32))
            |> Map.ofList

        {
            Text = if learnt then "BN" else "BN without weights"
            Init =
                fun _ ->
                    (if learnt then merge (all "weight" 1.0) (all "bias" 0.0) else Map.empty),
                    merge (all "running_mean" 0.0) (all "running_var" 1.0)
            Run =
                fun call parameters (x, buffers) ->
                    let named = named call.Branch
                    let weight, bias, mean, var = tensorsOf call.Branch parameters buffers

                    match call.Mode with
                    | Eval -> torch.nn.functional.batch_norm (x, mean, var, weight, bias, false), buffers
                    | Train ->
                        // libtorch moves the statistics it is given in place, so it is given copies.
                        let mean, var = mean.clone (), var.clone ()
                        let y =
                            torch.nn.functional.batch_norm (x, mean, var, weight, bias, true, call.Momentum)
                        y, buffers |> Map.add (named "running_mean") mean |> Map.add (named "running_var") var
            Fold =
                fun fixed' ->
                    let weight, bias, mean, var = tensorsOf fixed'.Branch fixed'.Parameters fixed'.Buffers
                    let scale =
                        Scope.tensor (fun () ->
                            let scale = (var + epsilon).rsqrt()
                            if learnt then scale * weight else scale)
                    let shift =
                        Scope.tensor (fun () -> if learnt then bias - mean * scale else (mean * scale).neg())
                    let alone (x: Tensor) = torch.nn.functional.batch_norm (x, mean, var, weight, bias, false)
                    [ Affine(scale, shift, alone) ]
        }

    /// Batch normalisation over [n; c] or [n; c; h; w] with weights and running statistics of their own for
    /// every branch (Xie et al. 2020); eps 1e-5, PyTorch's.
    let batchNorm (branches: Branch list) name channels = norm true branches name channels

    /// One batch normalisation for all branches, under PyTorch's plain names.
    let sharedNorm name channels = norm true [] name channels

    /// Batch normalisation that only normalises: no weight, no bias.
    let plainNorm branches name channels = norm false branches name channels
