namespace AdvContrast.Core.Audit

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods

/// The effort of an audit: numbers of images, steps and queries.
type Effort = {
    /// Steps of PGD, as in tables.
    Steps: int
    /// Steps of the PGD that is to have converged.
    Long: int
    /// Random starts of the shorter one.
    Restarts: int
    /// Proposals of the Square attack.
    Queries: int
    /// Random points of the ball.
    Draws: int
    /// Images whose loss landscape is examined.
    Looks: int
}

/// A classifier under audit, with the images that it is judged by.
[<NoEquality; NoComparison>]
type AuditTarget = {
    Classifier: Classifier
    /// Another classifier, whose adversarial images are tried on this one.
    Surrogate: Classifier option
    /// [n; c; h; w], floating point.
    Images: Tensor
    /// int64 [n].
    Labels: Tensor
    Threat: Threat
    Seed: uint64
    Effort: Effort
    /// k, 2 or more.
    Classes: int
    /// Places of the images that are classified correctly as they are.
    Right: int64[]
} with

    member s.Count = int s.Images.shape[0]

[<RequireQualifiedAccess>]
module AuditTarget =

    let private batch = 250

    /// Some of the images, with their places as ids.
    let pick (places: int64[]) (subject: AuditTarget) : AttackBatch =
        let rows = torch.tensor(places).``to`` subject.Images.device

        {
            Ids = places
            Images = subject.Images.index_select (0L, rows)
            Labels = subject.Labels.index_select (0L, rows)
            Targets = None
        }

    /// The random numbers of some images for a purpose.
    let draw purpose (places: int64[]) (subject: AuditTarget) =
        Rng.create subject.Seed ("audit/" + purpose) places

    /// Something of each of some images, batch by batch.
    let measure (look: AttackBatch -> 'a[]) (places: int64[]) (subject: AuditTarget) : 'a[] =
        places
        |> Array.chunkBySize batch
        |> Array.collect (fun some -> Scope.value (fun () -> look (pick some subject)))

    /// All places.
    let everyone (subject: AuditTarget) = Array.init subject.Count int64

    /// The first of those that are classified correctly, whose loss landscape is examined.
    let looked (subject: AuditTarget) = Array.truncate subject.Effort.Looks subject.Right

    /// How far another class is above the label, one value an image: what the audit uses where it needs a
    /// loss that does not saturate.
    let lead (classifier: Classifier) (victims: AttackBatch) : Objective =
        fun x -> Margin.perSample (classifier x) victims.Labels

    /// images: [n; c; h; w] in float32 or float64, within the threat's box, n at least 1; labels: int64 [n]
    /// from 0. ArgumentException where they do not fit, where the radius is 0 or reaches every image of the
    /// box, or where the classifier does not give [n; k] with k at least 2.
    let create classifier surrogate (images: Tensor) (labels: Tensor) threat seed effort =
        Shape.rank "n;c;h;w" (nameof images) images

        if images.shape[0] < 1L then
            invalidArg (nameof images) (sprintf "1 image or more was expected, got %s." (Shape.text images))

        Projection.requireInBox (nameof images) threat images
        Threat.require (nameof threat) (Some(images.numel () / images.shape[0])) threat
        Shape.positive (nameof threat) threat.Radius

        Shape.rank "n" (nameof labels) labels

        if labels.shape[0] <> images.shape[0] || labels.dtype <> torch.ScalarType.Int64 then
            invalidArg
                (nameof labels)
                (sprintf "one int64 label an image was expected, %d of them." images.shape[0])

        let bare = {
            Classifier = Classifier.guarded classifier
            Surrogate = surrogate |> Option.map Classifier.guarded
            Images = images
            Labels = labels
            Threat = threat
            Seed = seed
            Effort = effort
            Classes = 0
            Right = [||]
        }

        let classes =
            Scope.value (fun () ->
                use _ = torch.no_grad ()
                let logits: Tensor = bare.Classifier(images.narrow (0L, 0L, 1L))
                int logits.shape[1])

        let right =
            bare
            |> measure
                (fun victims ->
                    use _ = torch.no_grad ()
                    let logits = bare.Classifier victims.Images
                    Logits.labelled (nameof classifier) logits (nameof labels) victims.Labels
                    AttackLog.bools ((ModelSanity.guesses logits).eq victims.Labels))
                (everyone bare)

        {
            bare with
                Classes = classes
                Right = everyone bare |> Array.filter (fun place -> right[int place])
        }
