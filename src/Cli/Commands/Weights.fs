namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core.Foundation
open AdvContrast.Core.Runs
open FsToolkit.ErrorHandling

/// What commands say of weights of another program; a run says all of it itself.
type WeightsOptions = {
    Network: string option
    Normalise: string option
    Prefix: string option
    BatchNorm: string option
}

/// The encoders that commands are given.
[<RequireQualifiedAccess>]
module Weights =

    /// The device that a command is asked to compute on; None where it is not asked.
    let device (name: string option) = name |> Option.traverseResult PretrainConfig.device

    /// The encoder of a run, with a word on the terminal where it is an older one.
    let ofRun device path : Result<Encoder, Error> = result {
        let! encoder, warning = Encoder.loadOn device path
        warning |> Option.iter Terminal.line
        return encoder
    }

    let private ofOthers (options: ForeignOptions) device path = result {
        let! cpu = PretrainConfig.device "cpu"
        let! encoder = Pretrained.ofOptions options (Option.defaultValue cpu device) path
        List.iter Terminal.line encoder.Notes
        return encoder
    }

    /// The same; or, where a network is named, that of a file of another program, with a line on the terminal that
    /// says how it was read.
    let load (options: WeightsOptions) device path : Result<Encoder, Error> =
        let given = [
            "--normalise", options.Normalise
            "--prefix", options.Prefix
            "--batch-norm", options.BatchNorm
        ]

        match options.Network, given |> List.tryFind (fun (_, value) -> value.IsSome) with
        | Some network, _ ->
            let options: ForeignOptions = {
                Network = network
                Normalise = options.Normalise
                Prefix = options.Prefix
                BatchNorm = options.BatchNorm
            }

            ofOthers options device path
        | None, Some(name, _) -> Error(Error.BadOption(name, "it goes with --network; a run knows its own."))
        | None, None when TorchFile.isOne path ->
            let problem = "it is a file of torch.save; say what network it has, as in --network resnet18."
            Error(Error.Damaged(path, problem))
        | None, None -> ofRun device path
