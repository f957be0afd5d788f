namespace AdvContrast.Cli

open System
open System.Collections.Generic
open System.Diagnostics
open System.Threading
open AdvContrast.Core
open Spectre.Console

/// What the commands share of the terminal: progress bars with the time left, tables, and stopping on
/// request.
[<RequireQualifiedAccess>]
module Terminal =

    let private source = new CancellationTokenSource()

    /// Cancelled by Ctrl-C or SIGTERM.
    let stop = source.Token

    /// Listens for Ctrl-C and SIGTERM from now on; a second Ctrl-C ends the program at once.
    let listen () =
        Console.CancelKeyPress.Add(fun e ->
            if not source.IsCancellationRequested then
                e.Cancel <- true
                source.Cancel())

        AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> source.Cancel())

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

    /// A share as a percentage with one digit.
    let percent (fraction: float) = sprintf "%.1f %%" (100.0 * fraction)

    /// Seconds since a first call of it.
    let clock () =
        let watch = Stopwatch.StartNew()
        fun () -> watch.Elapsed.TotalSeconds
