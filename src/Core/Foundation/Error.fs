namespace AdvContrast.Core.Foundation

open System

/// Everything that can go wrong without a fault in the program: what the user can put right.
/// Faults of the calling program (a wrong shape, a negative radius) are <c>ArgumentException</c>s instead.
[<RequireQualifiedAccess>]
type Error =
    /// A name that is not registered; the known ones are listed with the nearest first.
    | UnknownName of kind: string * given: string * known: string list
    /// An option whose value cannot be used.
    | BadOption of name: string * problem: string
    /// A file or folder that is needed and not there.
    | Missing of what: string * path: string * advice: string
    /// A file that is there but is not what it should be.
    | Damaged of path: string * problem: string
    /// A place that cannot be written.
    | NotWritable of path: string * reason: string
    /// A URL that cannot be downloaded.
    | Unreachable of address: string * problem: string
    /// libtorch is missing, has changed since set-up, or lacks what was asked for.
    | Runtime of problem: string
    /// Training met a value that is not finite, or an embedding that the loss is not defined for: at which step, a
    /// sentence on what and where.
    | Diverged of step: int64 * problem: string
    /// The user asked to stop.
    | Interrupted
    /// Two or more errors of one kind that were found in one pass, as all damaged files of a folder.
    | Several of first: Error * others: Error list

[<RequireQualifiedAccess>]
module Error =

    let private distance (a: string) (b: string) =
        let row = Array.init (b.Length + 1) id

        for i in 1 .. a.Length do
            let mutable diagonal = row[0]
            row[0] <- i

            for j in 1 .. b.Length do
                let above = row[j]
                let substitute = diagonal + (if a[i - 1] = b[j - 1] then 0 else 1)
                row[j] <- min substitute (1 + min above row[j - 1])
                diagonal <- above

        row[b.Length]

    /// The known name that differs least from the one given, where it is close enough to be meant.
    let nearest (given: string) (known: string list) =
        known
        |> List.map (fun name -> distance (given.ToLowerInvariant()) (name.ToLowerInvariant()), name)
        |> List.sort
        |> List.tryHead
        |> Option.filter (fun (d, name) -> d <= max 2 (name.Length / 3))
        |> Option.map snd

    // How many of several errors are shown.
    let private shown = 20

    /// What is wrong and how to put it right, in one sentence; of several errors, a line each for the first 20
    /// and the number of the others.
    let rec message error =
        match error with
        | Error.UnknownName(kind, given, known) ->
            let guess =
                nearest given known |> Option.map (sprintf " Did you mean '%s'?") |> Option.defaultValue ""
            sprintf "There is no %s '%s'.%s Known: %s." kind given guess (String.Join(", ", known))
        | Error.BadOption(name, problem) -> sprintf "%s: %s" name problem
        | Error.Missing(what, path, advice) -> sprintf "%s was not found at '%s'. %s" what path advice
        | Error.Damaged(path, problem) -> sprintf "'%s' cannot be used: %s" path problem
        | Error.NotWritable(path, reason) -> sprintf "Cannot write to '%s': %s" path reason
        | Error.Unreachable(address, problem) -> sprintf "'%s' cannot be fetched: %s" address problem
        | Error.Runtime problem -> problem
        | Error.Diverged(step, problem) -> sprintf "Training diverged at step %d: %s" step problem
        | Error.Interrupted -> "Stopped on request."
        | Error.Several(first, others) ->
            let lines = first :: others |> List.truncate shown |> List.map message
            let more = others.Length + 1 - lines.Length
            String.Join("\n", (if more > 0 then lines @ [ sprintf "... and %d more." more ] else lines))

    /// The errors that one stands for: those of Several, or itself.
    let rec flatten error =
        match error with
        | Error.Several(first, others) -> first :: others |> List.collect flatten
        | other -> [ other ]

    /// The exit code of the command line for this error: distinct for each kind, 0 and 1 kept free. Several
    /// errors have that of the first.
    let rec exitCode error =
        match error with
        | Error.BadOption _ -> 2
        | Error.UnknownName _ -> 3
        | Error.Missing _ -> 4
        | Error.Damaged _ -> 5
        | Error.NotWritable _ -> 6
        | Error.Runtime _ -> 7
        | Error.Diverged _ -> 8
        | Error.Unreachable _ -> 11
        | Error.Interrupted -> 130
        | Error.Several(first, _) -> exitCode first
