namespace AdvContrast.Core

open System
open System.IO

/// Files of data sets: read, or refused in a sentence that names them.
[<RequireQualifiedAccess>]
module DataFile =

    /// A file that is not what it should be.
    let damaged path problem : Result<'a, Error> = Result.Error(Error.Damaged(path, problem))

    /// Work on a file; what the system or a decoder raises about it becomes an error.
    let guarded (path: string) (work: unit -> Result<'a, Error>) : Result<'a, Error> =
        try
            work ()
        with
        | :? InvalidDataException
        | :? IOException
        | :? UnauthorizedAccessException as e -> damaged path e.Message

    /// All bytes of a file. what and advice: for where there is none.
    let read what advice (path: string) =
        if File.Exists path then
            guarded path (fun () -> Ok(File.ReadAllBytes path))
        else
            Result.Error(Error.Missing(what, path, advice))

    /// The folder of a data set's own name below the one given, or the one given where it has none.
    let folder what advice (inner: string) (given: string) =
        let below = Path.Combine(given, inner)

        if Directory.Exists below then Ok below
        elif Directory.Exists given then Ok given
        else Result.Error(Error.Missing(what, given, advice))
