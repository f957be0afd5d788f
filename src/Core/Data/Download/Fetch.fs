namespace AdvContrast.Core.Data

open System
open System.IO
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation

/// Downloads of data sets from their makers' pages.
[<RequireQualifiedAccess>]
module Fetch =

    /// The variable that names an address to bring the same files from instead: a mirror's folder.
    let mirror = "ADVCONTRAST_MIRROR"

    let private address (remote: Remote) =
        match Environment.GetEnvironmentVariable mirror with
        | null
        | "" -> remote.Url
        | home -> home.TrimEnd '/' + "/" + (Uri(remote.Url).Segments |> Array.last)

    /// Whether a file, or the folder that it unpacks to, is in a folder already.
    let isThere (folder: string) (remote: Remote) =
        match remote.Folder with
        | Some inner ->
            Directory.Exists(Path.Combine(folder, inner))
            || Path.GetFileName(Path.GetFullPath(folder).TrimEnd('/', '\\')) = inner
               && Directory.Exists folder
        | None ->
            let inHome = Path.Combine(folder, remote.Target)
            // The files may stand in the folder itself, and unpacked.
            let flat = Path.Combine(folder, Path.GetFileName remote.Target)
            [ inHome; flat ]
            |> List.exists (fun path -> File.Exists path || File.Exists(Path.ChangeExtension(path, null)))

    /// Brings one file and unpacks it. report: told the file, the bytes that have come, and those in all.
    let remote patience folder (report: string -> int64 -> int64 option -> unit) stop (remote: Remote) =
        result {
            let target = Path.Combine(folder, remote.Target)
            let name = Path.GetFileName remote.Target

            // The file may have been copied there.
            if not (File.Exists target) then
                do! Download.fetch patience (address remote) remote.Md5 target (report name) stop
            elif remote.Md5 |> Option.exists (fun md5 -> not (Download.has md5 target)) then
                let text =
                    sprintf "it does not have the published checksum (MD5 %s); delete it." remote.Md5.Value
                return! DataFile.damaged target text

            match remote.Folder with
            | Some inner ->
                report (name + ", unpacking") 0L None
                do! Archive.unpack target inner
            | None -> ()
        }

    /// Brings what is not there yet of a data set of the catalogue into a folder; gives the names of the
    /// files that were downloaded. BadOption for a set that nothing can be fetched of.
    let dataset patience (name: string) (folder: string) report stop : Result<string list, Error> = result {
        let! listing, _ = DatasetRegistry.find name

        if listing.Remotes.IsEmpty then
            let text =
                if listing.NeedsFolder then
                    sprintf "'%s' is what you bring yourself; there is nothing to fetch." listing.Name
                else
                    sprintf "'%s' is in the program; there is nothing to fetch." listing.Name

            return! Result.Error(Error.BadOption("data get", text))

        let missing = listing.Remotes |> List.filter (isThere folder >> not)

        for file in missing do
            do! remote patience folder report stop file

        return missing |> List.map (fun file -> Path.GetFileName file.Target)
    }
