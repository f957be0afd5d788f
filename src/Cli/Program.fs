module AdvContrast.Cli.Program

open System
open AdvContrast.Cli.Commands
open AdvContrast.Core
open AdvContrast.Torch
open Argu

let private parser =
    ArgumentParser.Create<Arguments>(
        programName = "advcontrast",
        helpTextMessage =
            "Adversarial contrastive learning: train encoders that withstand attacks, and measure whether they do."
    )

let private dispatch (arguments: ParseResults<Arguments>) =
    match arguments.GetSubCommand() with
    | Demo a -> Demo.run a
    | Pretrain a -> Pretrain.run a
    | Evaluate a -> Evaluate.run a
    | Methods a -> Methods.run a
    | Data a -> Data.run a
    | Doctor a -> Doctor.run a

let private complain errors =
    for error in errors do
        Console.Error.WriteLine("advcontrast: " + Error.message error)

    errors |> List.tryHead |> Option.map Error.exitCode |> Option.defaultValue 1

[<EntryPoint>]
let main argv =
    try
        match dispatch (parser.ParseCommandLine(argv, raiseOnUsage = true)) with
        | Ok() -> 0
        | Error errors -> complain errors
    with
    | :? ArguParseException as e when e.ErrorCode = ErrorCode.HelpText ->
        Console.Out.WriteLine e.Message
        0
    | :? ArguParseException as e ->
        Console.Error.WriteLine e.Message
        Error.exitCode (Error.BadOption("", ""))
    | :? LibTorchException as e -> complain [ Error.Runtime e.Message ]
