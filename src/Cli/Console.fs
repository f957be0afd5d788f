namespace AdvContrast.Cli

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading

open Spectre.Console

/// What the commands share of the terminal: progress bars with the time left, tables, and stopping on
/// request.
[<RequireQualifiedAccess>]
module Terminal =

    let private source = new CancellationTokenSource()
    let mutable private signal = PosixSignal.SIGINT

    /// Cancelled by Ctrl-C, SIGTERM or SIGHUP.
    let stop = source.Token

    /// The exit code of a command that one of them stopped: 130, 143 or 129, as shells have it.
    let stopCode () =
        match signal with
        | PosixSignal.SIGTERM -> 143
        | PosixSignal.SIGHUP -> 129
        | _ -> 130

    // The first signal asks to stop; a second one ends the program at once.
    let private onSignal (context: PosixSignalContext) =
        if not source.IsCancellationRequested then
            context.Cancel <- true
            signal <- context.Signal
            source.Cancel()

    /// Runs a command that stops when the token is cancelled. Any other command is ended by a signal at once.
    let stoppable (work: unit -> 'a) : 'a =
        let listen signal = PosixSignalRegistration.Create(signal, onSignal)
        use _ = listen PosixSignal.SIGINT
        use _ = listen PosixSignal.SIGTERM
        use _ = listen PosixSignal.SIGHUP
        work ()

    // The program's output, also while all else goes to the error output.
    let private output = new StreamWriter(Console.OpenStandardOutput(), AutoFlush = true)

    /// Sets the terminal up: a file or a pipe gets text without colours and without bars drawn over one another, and
    /// where figures as JSON go to the output (<c>--json -</c>), all else goes to the error output.
    let prepare (argv: string[]) =
        if Array.pairwise argv |> Array.contains ("--json", "-") then
            Console.SetOut Console.Error
            AnsiConsole.Console <-
                AnsiConsole.Create(AnsiConsoleSettings(Out = AnsiConsoleOutput Console.Error))
            AnsiConsole.Profile.Capabilities.Ansi <- not Console.IsErrorRedirected
        else
            AnsiConsole.Profile.Capabilities.Ansi <- not Console.IsOutputRedirected

    /// Text for other programs, on the output itself.
    let raw (text: string) = output.WriteLine text

    let private columns: ProgressColumn[] = [|
        TaskDescriptionColumn(Alignment = Justify.Left)
        ProgressBarColumn()
        PercentageColumn()
        RemainingTimeColumn()
    |]

    /// Runs work that tells how far each of its tasks is: the task's name, the share done, and a text. A task
    /// has a bar from the first word of it, so work that is refused at once shows none.
    let withProgress (work: (string -> float -> string -> unit) -> 'a) : 'a =
        let progress = AnsiConsole.Progress().AutoClear(true).Columns columns

        progress.Start(fun context ->
            let bars = Dictionary<string, ProgressTask>()

            work (fun name share text ->
                if not (bars.ContainsKey name) then
                    bars[name] <- context.AddTask(Markup.Escape name, maxValue = 1.0)

                bars[name].Value <- share
                bars[name].Description <- Markup.Escape(sprintf "%s  %s" name text)))

    /// The same for work that tells no text; a task is called by the title and its own name.
    let withBars title (work: (string -> float -> unit) -> 'a) : 'a =
        withProgress (fun show -> work (fun name share -> show (sprintf "%s, %s" title name) share ""))

    /// A table with a heading row.
    let table (headings: string list) (rows: string list list) =
        let table = Table().Border(TableBorder.Rounded)

        headings
        |> List.iteri (fun i heading ->
            let column = TableColumn(Markup.Escape heading)
            table.AddColumn(if i = 0 then column else column.RightAligned()) |> ignore)

        for row in rows do
            table.AddRow(row |> List.map Markup.Escape |> Array.ofList) |> ignore

        AnsiConsole.Write table

    let line (text: string) = Console.Out.WriteLine text

    /// A line that may come while bars are drawn.
    let note (text: string) =
        if AnsiConsole.Profile.Capabilities.Ansi then AnsiConsole.WriteLine text else line text

    /// A share as a percentage with one digit.
    let percent (fraction: float) = sprintf "%.1f %%" (100.0 * fraction)

    /// Seconds since a first call of it.
    let clock () =
        let watch = Stopwatch.StartNew()
        fun () -> watch.Elapsed.TotalSeconds
