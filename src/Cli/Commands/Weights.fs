namespace AdvContrast.Cli.Commands

open AdvContrast.Cli
open AdvContrast.Core
open FsToolkit.ErrorHandling

/// The encoders that commands are given.
[<RequireQualifiedAccess>]
module Weights =

    /// The device that a command is asked to compute on; None where it is not asked.
    let device (name: string option) = name |> Option.traverseResult Configuration.device

    /// The encoder of a run, with a word on the terminal where it is an older one.
    let ofRun device path : Result<Encoder, Error> = result {
        let! encoder, warning = Encoder.loadOn device path
        warning |> Option.iter Terminal.line
        return encoder
    }

    /// The same; or, where a network is named, that of a file of another program, whose images were
    /// normalised so.
    let load network normalise device path : Result<Encoder, Error> =
        match network, normalise with
        | Some network, _ ->
            Configuration.device "cpu"
            |> Result.bind (fun cpu ->
                Pretrained.byName network normalise (Option.defaultValue cpu device) path)
        | None, Some _ ->
            Error(Error.BadOption("--normalise", "it goes with --network; a run knows its own."))
        | None, None -> ofRun device path
