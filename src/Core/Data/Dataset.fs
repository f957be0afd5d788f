namespace AdvContrast.Core.Data

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Raised where a step asks for the images' classes and the data set has none.
exception UnlabelledException

/// A set of images in memory. Its tensors live as long as it does; dispose it when done.
[<NoEquality; NoComparison>]
type Dataset = {
    Name: string
    /// [n; c; h; w]: uint8, or floating point, which is taken as it is.
    Images: Tensor
    /// int64 [n], from 0 to Classes - 1; -1 where the images have no labels.
    Labels: Tensor
    /// Whether the images have labels: all of them or none.
    IsLabelled: bool
    Classes: int
    /// The classes by name, in the order of their labels; empty where they have none.
    ClassNames: string list
    /// The place of each image in the set that it was read or drawn from, ascending: [n].
    Indices: int64[]
    /// Images in that set.
    Whole: int64
    /// What the reader skipped, a phrase each: <c>"2 hidden files"</c>.
    Skipped: string list
    /// Mean and standard deviation of each channel, for a network's first layer.
    Mean: float list
    Std: float list
} with

    member d.Count = d.Images.shape[0]

    /// The images of some rows on a device, [n; c; h; w]: bytes as float32 in [0, 1], other images as they
    /// are.
    member d.Batch (device: torch.Device) (ids: int64[]) =
        Scope.tensor (fun () ->
            let rows = torch.tensor(ids).``to`` d.Images.device
            let images = d.Images.index_select (0L, rows) |> Accelerator.send device
            if images.is_floating_point () then images else images.``to`` torch.float32 / 255.0)

    /// The labels of some rows: int64 [n]. UnlabelledException where the images have none.
    member d.LabelsOf (device: torch.Device) (ids: int64[]) =
        if not d.IsLabelled then raise UnlabelledException

        Scope.tensor (fun () ->
            d.Labels.index_select (0L, torch.tensor(ids).``to`` d.Labels.device) |> Accelerator.send device)

    interface System.IDisposable with
        member d.Dispose() =
            d.Images.Dispose()
            d.Labels.Dispose()

[<RequireQualifiedAccess>]
module Dataset =

    /// A data set of images, uint8 [n; c; h; w], which it takes over, and their labels, or none. Belongs to
    /// no scope.
    let create name (images: Tensor) (labels: int64[] option) classes mean std =
        use _ = torch.NewDisposeScope()
        let given =
            labels |> Option.defaultWith (fun () -> Array.create (int images.shape[0]) -1L) |> torch.tensor

        {
            Name = name
            Images = images.DetachFromDisposeScope()
            Labels = given.DetachFromDisposeScope()
            IsLabelled = labels.IsSome
            Classes = classes
            ClassNames = []
            Indices = [| 0L .. images.shape[0] - 1L |]
            Whole = images.shape[0]
            Skipped = []
            Mean = mean
            Std = std
        }

    /// A view of images and labels in the caller's memory, without a copy:
    /// images [n; c; h; w], uint8 or floating point in whatever range; labels int64 [n] from 0 on. Belongs to
    /// no scope. ArgumentException where they do not fit.
    let ofTensors name (images: Tensor) (labels: Tensor) =
        Shape.rank "n;c;h;w" (nameof images) images
        Shape.rank "n" (nameof labels) labels

        if images.dtype <> torch.ScalarType.Byte && not (images.is_floating_point ()) then
            invalidArg
                (nameof images)
                (sprintf "bytes or floating-point images were expected, got %O." images.dtype)

        if labels.shape[0] <> images.shape[0] || labels.dtype <> torch.ScalarType.Int64 then
            invalidArg
                (nameof labels)
                (sprintf "one int64 label an image was expected, %d of them." images.shape[0])

        let top = if labels.shape[0] = 0L then -1L else Scope.value (fun () -> labels.max().item<int64>())
        let channels = int images.shape[1]

        {
            Name = name
            Images = images.detach().DetachFromDisposeScope()
            Labels = labels.alias().DetachFromDisposeScope()
            IsLabelled = true
            Classes = int top + 1
            ClassNames = []
            Indices = [| 0L .. images.shape[0] - 1L |]
            Whole = images.shape[0]
            Skipped = []
            Mean = List.replicate channels 0.0
            Std = List.replicate channels 1.0
        }

    /// A data set from raw bytes: images row-major as [n; c; h; w], one label a byte. Belongs to no scope.
    let ofBytes name (images: byte[]) (shape: int64[]) (labels: byte[]) classes mean std =
        use _ = torch.NewDisposeScope()
        create name (torch.tensor(images).reshape shape) (Some(Array.map int64 labels)) classes mean std

    /// Some rows as a data set of their own.
    let subset (ids: int64[]) (dataset: Dataset) =
        use _ = torch.NewDisposeScope()
        let rows = torch.tensor(ids).``to`` dataset.Images.device

        {
            dataset with
                Images = dataset.Images.index_select(0L, rows).DetachFromDisposeScope()
                Labels =
                    dataset.Labels
                        .index_select(0L, rows.``to`` dataset.Labels.device)
                        .DetachFromDisposeScope()
                Indices = ids |> Array.map (fun id -> dataset.Indices[int id])
        }

    // Rows in an order that the seed gives, those of each class apart: images without labels are one class.
    let private shuffledByClass seed (dataset: Dataset) =
        let labels = Scope.value (fun () -> dataset.Labels.cpu().data<int64>().ToArray())

        labels
        |> Array.indexed
        |> Array.groupBy snd
        |> Array.sortBy fst
        |> Array.map (fun (label, rows) ->
            let order = Rng.create seed (sprintf "fraction/%d" label) [||] |> Rng.permutation rows.Length

            order |> Array.map (fun at -> int64 (fst rows[at])))

    // How many of n images each class gets, in proportion to its size: the quotas rounded down, and one more for
    // those with the largest remainders; the seed decides between equal ones.
    let private allot seed n (sizes: int[]) =
        let total = int64 (Array.sum sizes)
        let quota, remainder =
            sizes
            |> Array.map (fun size ->
                let product = int64 n * int64 size
                int (product / total), product % total)
            |> Array.unzip
        let order = Rng.create seed "subset" [||] |> Rng.permutation sizes.Length

        let raised =
            Array.init sizes.Length id
            |> Array.sortBy (fun k -> -remainder[k], order[k])
            |> Array.truncate (n - Array.sum quota)
            |> Set.ofArray

        quota |> Array.mapi (fun k count -> if raised.Contains k then count + 1 else count)

    /// At most n images, drawn by the seed from every class in proportion to its size (within one image), in the
    /// order of the set. They depend on seed and labels alone: every command that draws n images of a set by one
    /// seed uses the same ones.
    let sample seed n (dataset: Dataset) =
        let total = int dataset.Count

        if n >= total then
            subset [| 0L .. dataset.Count - 1L |] dataset
        else
            let classes = shuffledByClass seed dataset

            classes
            |> Array.map Array.length
            |> allot seed n
            |> Array.map2 (fun rows count -> Array.truncate count rows) classes
            |> Array.concat
            |> Array.sort
            |> fun ids -> subset ids dataset

    /// The rows of a share of a data set, 0 to 1, and the others, both in ascending order: of every class
    /// the nearest whole number of images, at least one where the share is above 0. They depend on seed and
    /// labels alone, and a smaller share lies within a larger one.
    let fractionRows seed (share: float) (dataset: Dataset) =
        if not (share >= 0.0 && share <= 1.0) then
            invalidArg (nameof share) (sprintf "a share from 0 to 1 was expected, got %g." share)

        let parts =
            shuffledByClass seed dataset
            |> Array.map (fun rows ->
                let least = if share > 0.0 then 1 else 0
                Array.splitAt (max least (int (round (share * float rows.Length)))) rows)

        parts |> Array.collect fst |> Array.sort, parts |> Array.collect snd |> Array.sort

    /// A share of a data set, 0 to 1, of every class alike: what label fractions are, 1 % within 10 %.
    let fraction seed share (dataset: Dataset) = subset (fst (fractionRows seed share dataset)) dataset

    /// A share of a data set, 0 to 1, of every class alike, and the rest of it.
    let split seed share (dataset: Dataset) =
        let part, rest = fractionRows seed share dataset
        subset part dataset, subset rest dataset

    /// The image metadata that a network needs.
    let input (dataset: Dataset) : ImageInfo = {
        Channels = dataset.Images.shape[1]
        Mean = dataset.Mean
        Std = dataset.Std
        Classes = dataset.Classes
    }
