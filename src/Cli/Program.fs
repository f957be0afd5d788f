module AdvContrast.Cli.Program

open System
open System.Runtime.InteropServices
open AdvContrast.Cli.Commands
open AdvContrast.Core.Foundation
open AdvContrast.Core.Attacks
open AdvContrast.Core.Audit
open AdvContrast.Engine
open Argu

let private parser =
    ArgumentParser.Create<Arguments>(
        programName = "advcontrast",
        helpTextMessage =
            "Adversarial contrastive learning: train encoders that withstand attacks, and measure whether they do."
    )

let private dispatch (arguments: ParseResults<Arguments>) =
    let done' = Result.map (fun () -> 0)

    match arguments.GetSubCommand() with
    | Demo a -> Terminal.stoppable (fun () -> Demo.run a |> done')
    | Pretrain a -> Terminal.stoppable (fun () -> Pretrain.run a |> done')
    | Evaluate a -> Terminal.stoppable (fun () -> Evaluate.run a |> done')
    | Audit a -> Terminal.stoppable (fun () -> Commands.Audit.run a)
    | Attack a -> Terminal.stoppable (fun () -> Attack.run a |> done')
    | Export a -> Export.run a |> done'
    | Methods a -> Methods.run a |> done'
    | Data a when a.Contains DataArguments.Get -> Terminal.stoppable (fun () -> Data.run a |> done')
    | Data a -> Data.run a |> done'
    | Doctor a -> Doctor.run a |> done'

// An empty value is most often a variable of the shell that is not set.
let private emptyValue (argv: string[]) =
    argv
    |> Array.tryFindIndex String.IsNullOrWhiteSpace
    |> Option.map (fun at ->
        let name = if at = 0 then "command line" else argv[at - 1]
        Error.BadOption(name, "its value is empty."))

// libtorch says it in text alone, for processors and for cards.
let private isOutOfMemory (e: exn) =
    match e with
    | :? OutOfMemoryException -> true
    | :? ExternalException ->
        [ "can't allocate memory"; "out of memory" ]
        |> List.exists (fun text -> e.Message.Contains(text, StringComparison.OrdinalIgnoreCase))
    | _ -> false

let private outOfMemory =
    Error.Runtime
        "There is not enough memory; use a smaller --batch, --width or --images, or a larger machine."

let private complain errors =
    for error in errors do
        Console.Error.WriteLine("advcontrast: " + Error.message error)

    match errors with
    | Error.Interrupted :: _ -> Terminal.stopCode ()
    | first :: _ -> Error.exitCode first
    | [] -> 1

// Argu's complaint is one line, then the whole usage; the line and the way to the usage are enough.
let private misuse (argv: string[]) (message: string) =
    let line = message.Split '\n' |> Array.head
    let problem = line.Replace("ERROR: ", "").Trim().TrimEnd '.'
    let commands = parser.GetArgumentCases() |> List.map _.Name.Value.ToLowerInvariant()
    let command =
        argv |> Array.tryHead |> Option.filter (fun a -> List.contains a commands) |> Option.toList
    let help = String.Join(" ", [ "advcontrast" ] @ command @ [ "--help" ])
    Error.BadOption("command line", sprintf "%s; '%s' shows what there is." problem help)

[<EntryPoint>]
let main argv =
    Terminal.prepare argv

    try
        match emptyValue argv with
        | Some error -> complain [ error ]
        | None ->
            match dispatch (parser.ParseCommandLine(argv, raiseOnUsage = true)) with
            | Ok code -> code
            | Error errors -> complain errors
    with
    | :? ArguParseException as e when e.ErrorCode = ErrorCode.HelpText ->
        Console.Out.WriteLine e.Message
        0
    | :? ArguParseException as e -> complain [ misuse argv e.Message ]
    | :? LibTorchException as e -> complain [ Error.Runtime e.Message ]
    | e when isOutOfMemory e -> complain [ outOfMemory ]
    | e ->
        let problem = e.Message.Split '\n' |> Array.head
        Console.Error.WriteLine(sprintf "advcontrast: a fault of the program, please report it: %s" problem)
        1
