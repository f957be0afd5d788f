namespace AdvContrast.Core.Evaluation

open System
open System.Globalization
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs

/// A vote of the nearest training images in the encoder's features (Wu, Xiong, Yu and Lin 2018, section 3.4):
/// each of the k most similar has a weight of exp(cos / T) for its class.
type Knn = {
    /// 1 or more.
    Neighbours: int
    /// T; above 0.
    Temperature: float
}

[<RequireQualifiedAccess>]
module Knn =

    /// The 200 neighbours of the contrastive literature, T = 0.1.
    let usual = { Neighbours = 200; Temperature = 0.1 }

    /// <c>"knn-200:0.1"</c>: neighbours and temperature, both, since figures depend on both.
    let text knn = String.Format(CultureInfo.InvariantCulture, "knn-{0}:{1}", knn.Neighbours, knn.Temperature)

    /// <c>"200"</c>, or with a temperature <c>"200:0.5"</c>.
    let parse (text: string) =
        let number (s: string) = Double.TryParse(s, NumberStyles.Float, CultureInfo.InvariantCulture)

        match text.Split ':' |> List.ofArray with
        | neighbours :: rest when rest.Length <= 1 ->
            match Int32.TryParse neighbours, rest |> List.map number with
            | (true, n), [] when n >= 1 -> Ok { usual with Neighbours = n }
            | (true, n), [ true, t ] when n >= 1 && t > 0.0 && Double.IsFinite t ->
                Ok { Neighbours = n; Temperature = t }
            | _ -> Error()
        | _ -> Error()
        |> Result.mapError (fun () ->
            let advice =
                sprintf
                    "'%s' does not say how many neighbours; write for instance 200, or 200:0.5 with a temperature."
                    text

            Error.BadOption("--knn", advice))

    // On rows of unit length.
    let private among knn classes (bank: Tensor) (labels: Tensor) (features: Tensor) =
        if knn.Neighbours < 1 || int64 knn.Neighbours > bank.shape[0] then
            invalidArg
                (nameof knn)
                (sprintf "1 to %d neighbours were expected, got %d." bank.shape[0] knn.Neighbours)

        let struct (nearest, rows) = features.matmul(bank.t ()).topk(knn.Neighbours, 1)
        // Relative to the nearest's, so that no temperature is too low for exp.
        let most = nearest.detach().narrow(1L, 0L, 1L)
        let weights = ((nearest - most) / knn.Temperature).exp()
        let voters = labels.index_select(0L, rows.flatten ()).reshape rows.shape
        let none = torch.zeros ([| features.shape[0]; int64 classes |], weights.dtype, weights.device)
        none.scatter_add (1L, voters, weights)

    /// Votes for each class, [n; k], in units of the nearest image's. bank: features of the training images,
    /// [m; f], m at least the number of neighbours; labels: theirs, int64 [m], from 0 to classes - 1;
    /// features: [n; f], and the votes are differentiable in them. ArgumentException where they do not fit.
    let votes knn classes (bank: Tensor) (labels: Tensor) (features: Tensor) =
        Shape.rank "m;f" (nameof bank) bank
        Shape.rank "m" (nameof labels) labels
        Shape.rank "n;f" (nameof features) features
        Shape.positive (nameof knn) knn.Temperature

        if labels.shape[0] <> bank.shape[0] then
            invalidArg (nameof labels) (sprintf "one label a row of the bank was expected, %d." bank.shape[0])

        if features.shape[1] <> bank.shape[1] then
            invalidArg (nameof features) (sprintf "expected %d numbers a row, the bank's." bank.shape[1])

        Scope.tensor (fun () ->
            among knn classes (Similarity.normalise bank) labels (Similarity.normalise features))

    /// The encoder's vote over a training set as a classifier of images: it takes the votes for logits. The
    /// training images' features are computed now, as they are tested, and live in the caller's scope.
    /// ArgumentException where there are more neighbours than training images.
    let classifier knn (encoder: Encoder) (train: Dataset) : Classifier =
        let bank = Scope.tensor (fun () -> Similarity.normalise (LinearProbe.features encoder train))
        let labels = train.LabelsOf encoder.Device [| 0L .. train.Count - 1L |]

        fun images ->
            Scope.tensor (fun () ->
                among knn train.Classes bank labels (Similarity.normalise (Encoder.features encoder images)))
