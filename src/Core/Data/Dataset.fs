namespace AdvContrast.Core

open TorchSharp

/// A set of labelled images in memory. Its tensors live as long as it does; dispose it when done.
[<NoEquality; NoComparison>]
type Dataset = {
    Name: string
    /// uint8 [n; c; h; w].
    Images: Tensor
    /// int64 [n], from 0 to Classes - 1.
    Labels: Tensor
    Classes: int
    /// Mean and standard deviation of each channel, for a network's first layer.
    Mean: float list
    Std: float list
} with

    member d.Count = d.Images.shape[0]

    /// The images of some rows in [0, 1], float32, on a device: [n; c; h; w].
    member d.Batch (device: torch.Device) (ids: int64[]) =
        Scope.tensor (fun () ->
            let rows = torch.tensor(ids).``to`` d.Images.device
            d.Images.index_select(0L, rows).``to``(device).``to``(torch.float32) / 255.0)

    /// The labels of some rows: int64 [n].
    member d.LabelsOf (device: torch.Device) (ids: int64[]) =
        Scope.tensor (fun () ->
            d.Labels.index_select(0L, torch.tensor(ids).``to`` d.Labels.device).``to`` device)

    interface System.IDisposable with
        member d.Dispose() =
            d.Images.Dispose()
            d.Labels.Dispose()

[<RequireQualifiedAccess>]
module Dataset =

    /// A data set from raw bytes: images row-major as [n; c; h; w], one label a byte. Belongs to no scope.
    let ofBytes name (images: byte[]) (shape: int64[]) (labels: byte[]) classes mean std =
        use _ = torch.NewDisposeScope()

        {
            Name = name
            Images = torch.tensor(images).reshape(shape).DetachFromDisposeScope()
            Labels = torch.tensor(labels).``to``(torch.int64).DetachFromDisposeScope()
            Classes = classes
            Mean = mean
            Std = std
        }

    /// Some rows as a data set of their own.
    let subset (ids: int64[]) (dataset: Dataset) =
        use _ = torch.NewDisposeScope()
        let rows = torch.tensor ids

        {
            dataset with
                Images = dataset.Images.index_select(0L, rows).DetachFromDisposeScope()
                Labels = dataset.Labels.index_select(0L, rows).DetachFromDisposeScope()
        }

    /// The first n samples, or all where there are fewer.
    let first n (dataset: Dataset) = subset (Array.init (min n (int dataset.Count)) int64) dataset

    /// At most n samples, drawn without replacement; the same for the same seed.
    let sample seed n (dataset: Dataset) =
        let total = int dataset.Count

        Draw.create seed "subset" [||]
        |> Draw.permutation total
        |> Array.truncate (min n total)
        |> Array.map int64
        |> fun ids -> subset ids dataset

    /// What a network must know of the images.
    let input (dataset: Dataset) : Input = {
        Channels = dataset.Images.shape[1]
        Mean = dataset.Mean
        Std = dataset.Std
        Classes = dataset.Classes
    }
