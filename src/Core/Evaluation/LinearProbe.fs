namespace AdvContrast.Core.Evaluation

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs

/// A linear layer on features. It owns its tensors; dispose it when done.
[<NoEquality; NoComparison>]
type LinearHead = {
    /// [k; f]
    Weight: Tensor
    /// [k]
    Bias: Tensor
} with

    interface System.IDisposable with
        member h.Dispose() =
            h.Weight.Dispose()
            h.Bias.Dispose()

/// How a linear layer is fitted to a frozen encoder.
[<NoEquality; NoComparison>]
type LinearProbe = {
    Optimizer: Transform
    Batch: int
    Epochs: int
    /// The training images' augmentation; None: features are computed once.
    View: View option
    Seed: uint64
}

/// Standard linear fine-tuning (SLF): the encoder frozen in eval mode, a new linear layer, started at zero,
/// is trained with cross-entropy on clean images; the last epoch counts.
[<RequireQualifiedAccess>]
module LinearProbe =

    /// The protocol of DynACL's code and of RobustSSL: 25 epochs, batches of 512, SGD 0.01 with momentum 0.9
    /// and weight decay 2e-4, a tenth of the rate after 10 epochs and of that after 20, padded crops and flips.
    let published = {
        Optimizer = Transform.sgd (Schedule.drops 0.01 [ 10, 0.1; 20, 0.01 ]) 0.9 2e-4
        Batch = 512
        Epochs = 25
        View = Some(Crop.padded 4L)
        Seed = 1UL
    }

    /// For small sets: Adam on features computed once, 100 epochs with cosine decay from 0.03.
    let quick = {
        Optimizer =
            Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.cosine 3e-2 0.0) ]
        Batch = 256
        Epochs = 100
        View = None
        Seed = 1UL
    }

    let private featureBatch = 500

    /// Features of all images of a set, computed batch by batch: [n; f], on the encoder's device.
    let features (encoder: Encoder) (dataset: Dataset) =
        Scope.tensor (fun () ->
            use _ = torch.no_grad ()

            seq { 0L .. dataset.Count - 1L }
            |> Seq.chunkBySize featureBatch
            |> Seq.map (fun ids ->
                Scope.tensor (fun () -> Encoder.features encoder (dataset.Batch encoder.Device ids)))
            |> ResizeArray
            |> fun parts -> torch.cat (parts, 0L))

    let private logits (parameters: Parameters) (features: Tensor) =
        torch.nn.functional.linear (features, parameters["weight"], parameters["bias"])

    /// Fits the layer on a training set; watch is called before every step. The result belongs to no scope.
    let fit
        (probe: LinearProbe)
        (watch: Progress -> unit)
        (encoder: Encoder)
        (dataset: Dataset)
        : LinearHead =
        use _ = torch.NewDisposeScope()
        let device = encoder.Device
        let fixedFeatures = if probe.View.IsNone then Some(features encoder dataset) else None
        let width = encoder.Network.FeatureWidth
        let zeros (shape: int64[]) = torch.zeros (shape, torch.float32, device)
        let n = int dataset.Count
        let start = Progress.start ((n + probe.Batch - 1) / probe.Batch) probe.Epochs

        let parameters: Parameters =
            Map [
                "weight", zeros [| int64 dataset.Classes; width |]
                "bias", zeros [| int64 dataset.Classes |]
            ]

        let batchFeatures draw (ids: int64[]) =
            match fixedFeatures, probe.View with
            | Some all, _ -> all.index_select (0L, torch.tensor(ids).``to`` device)
            | None, Some view ->
                use _ = torch.no_grad ()
                Encoder.features encoder (view.Run draw (dataset.Batch device ids))
            | None, None -> Encoder.features encoder (dataset.Batch device ids)

        let step (parameters, state) (progress: Progress, ids: int64[]) =
            watch progress

            let tensors (parameters: Parameters, state) =
                Seq.append (Map.values parameters) (TensorTree.tensors state)

            let next =
                Scope.keeping tensors (fun () ->
                    let draw = {
                        Rng.create probe.Seed "probe/view" ids with
                            Epoch = progress.Epoch
                            Step = progress.Step
                    }

                    let learnt = parameters |> Map.map (fun _ p -> (p: Tensor).detach().requires_grad_ true)
                    let loss =
                        CrossEntropy.mean
                            (logits learnt (batchFeatures draw ids))
                            (dataset.LabelsOf device ids)
                    let gradients =
                        torch.autograd.grad (ResizeArray [ loss ], ResizeArray(Map.values learnt))
                    use _ = torch.no_grad ()
                    let gradients = Seq.zip (Map.keys learnt) gradients |> Map.ofSeq
                    let updates, state = probe.Optimizer.Update progress gradients parameters state
                    Transform.apply updates parameters, state)

            tensors (parameters, state) |> Scope.release (tensors next)
            next

        let batches = seq {
            let mutable progress = start

            for epoch in 0 .. probe.Epochs - 1 do
                let order =
                    { Rng.create probe.Seed "probe/order" [||] with Epoch = epoch } |> Rng.permutation n

                for rows in Array.chunkBySize probe.Batch order do
                    progress, Array.map int64 rows
                    progress <- Progress.next progress
        }

        let parameters, state = Seq.fold step (parameters, probe.Optimizer.Init parameters) batches

        for x in TensorTree.tensors state do
            x.Dispose()

        {
            Weight = parameters["weight"].DetachFromDisposeScope()
            Bias = parameters["bias"].DetachFromDisposeScope()
        }

    /// Encoder and linear layer as one classifier of images, differentiable in them.
    let classifier (encoder: Encoder) (head: LinearHead) : Classifier =
        fun images ->
            Scope.tensor (fun () ->
                torch.nn.functional.linear (Encoder.features encoder images, head.Weight, head.Bias))
