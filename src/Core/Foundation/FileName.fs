namespace AdvContrast.Core.Foundation

open System
open System.IO

/// Names of files that are written.
[<RequireQualifiedAccess>]
module internal FileName =

    /// Refuses a name whose ending is that of another format; one without an ending is as good as the right one.
    let requireEnding (ending: string) (path: string) : Result<unit, Error> =
        let given = Path.GetExtension path

        if given = "" || given.Equals(ending, StringComparison.OrdinalIgnoreCase) then
            Ok()
        else
            let name = Path.GetFileName(Path.ChangeExtension(path, ending))
            let reason =
                sprintf "the file is written as %s; name it for instance %s." (ending.TrimStart '.') name
            Error(Error.BadOption(path, reason))
