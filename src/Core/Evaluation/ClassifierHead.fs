namespace AdvContrast.Core.Evaluation

open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Methods
open AdvContrast.Core.Runs

/// The classifier on a frozen encoder.
[<RequireQualifiedAccess; NoEquality; NoComparison>]
type ClassifierHead =
    /// A linear layer that is fitted to it (SLF).
    | Fitted of LinearProbe
    /// The linear layer that its weights came with: PyTorch's fc.
    | Own

[<RequireQualifiedAccess>]
module ClassifierHead =

    /// <c>"quick"</c> or <c>"published"</c>, fitted by a seed, or <c>"own"</c>.
    let find seed (name: string) =
        match name.ToLowerInvariant() with
        | "quick" -> Ok(ClassifierHead.Fitted { LinearProbe.quick with Seed = seed })
        | "published" -> Ok(ClassifierHead.Fitted { LinearProbe.published with Seed = seed })
        | "own" -> Ok ClassifierHead.Own
        | _ -> Error(Error.UnknownName("probe", name, [ "quick"; "published"; "own" ]))

    /// Whether training images are needed to make it.
    let isFitted top =
        match top with
        | ClassifierHead.Fitted _ -> true
        | ClassifierHead.Own -> false

    let private own (encoder: Encoder) (test: Dataset) =
        let bad advice = Error(Error.BadOption("--probe", advice))
        let part name = Map.tryFind name (fst encoder.Weights)

        match part "fc.weight", part "fc.bias" with
        | Some weight, Some bias when weight.shape[0] = int64 test.Classes ->
            use _ = torch.no_grad ()

            Ok {
                Weight = weight.clone().DetachFromDisposeScope()
                Bias = bias.clone().DetachFromDisposeScope()
            }
        | Some weight, Some _ ->
            sprintf
                "the weights' own classifier has %d classes, '%s' has %d; choose quick or published."
                weight.shape[0]
                test.Name
                test.Classes
            |> bad
        | _ -> bad "the weights have no classifier of their own (fc); choose quick or published."

    /// The linear layer, fitted to the training images or the weights' own, for the classes of the test
    /// images; watch is called before every step of a fit. train: reads the training images; it is called for
    /// a fit alone. The layer belongs to the caller. Error.BadOption where the weights have none of their
    /// own, or one of other classes.
    let head top watch encoder train test : Result<LinearHead, Error list> =
        match top with
        | ClassifierHead.Fitted probe -> train () |> Result.map (LinearProbe.fit probe watch encoder)
        | ClassifierHead.Own -> own encoder test |> Result.mapError List.singleton
