namespace AdvContrast.Core.Runs

open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// Weights of another program that stand for a stage of a method: <c>NETWORK@NORMALISE:FILE</c>.
type ExternalWeights = {
    /// A network of the zoo.
    Network: string
    /// What images are normalised by, as <c>Pretrained.normalisation</c> reads it; None for what the file says, else
    /// for what is usual for the network, where something is.
    Normalise: string option
    Path: string
}

[<RequireQualifiedAccess>]
module ExternalWeights =

    /// Those that a text names; None where it begins with no network of the zoo, and so names a run.
    let parse (text: string) : ExternalWeights option =
        match text.IndexOf ':' with
        | at when at > 0 ->
            let network, normalise =
                match text[.. at - 1].Split('@', 2) with
                | [| network; normalise |] -> network, Some normalise
                | parts -> parts[0], None

            ModelRegistry.named network
            |> Result.toOption
            |> Option.map (fun found -> {
                Network = found.Name
                Normalise = normalise
                Path = text[at + 1 ..]
            })
        | _ -> None

    /// The encoder that they are, on a device; it belongs to the caller. Its normalisation is the one named, else the
    /// file's, else what is usual for the network; BadOption "--given" where none of them is known.
    let load device (external: ExternalWeights) : Result<Encoder, Error> =
        Pretrained.byName external.Network external.Normalise device external.Path
        |> Result.mapError (fun error ->
            match error with
            | Error.BadOption("--normalise", _) when external.Normalise.IsNone ->
                let form = sprintf "%s@none:%s" external.Network external.Path

                let problem =
                    sprintf
                        "say what '%s' was trained with, as in %s; or imagenet, cifar10, cifar100 or MEAN/STD for none."
                        external.Path
                        form

                Error.BadOption("--given", problem)
            | Error.BadOption("--normalise", problem) -> Error.BadOption("--given", problem)
            | other -> other)
