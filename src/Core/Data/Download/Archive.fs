namespace AdvContrast.Core.Data

open System
open System.Formats.Tar
open System.IO
open System.IO.Compression
open AdvContrast.Core.Foundation

/// Archives of data sets: .tar, .tar.gz and .zip.
[<RequireQualifiedAccess>]
module Archive =

    let private extract (archive: string) (into: string) =
        if archive.EndsWith ".zip" then
            ZipFile.ExtractToDirectory(archive, into)
        else
            use file = File.OpenRead archive

            if archive.EndsWith ".gz" then
                use plain = new GZipStream(file, CompressionMode.Decompress)
                TarFile.ExtractToDirectory(plain, into, false)
            else
                TarFile.ExtractToDirectory(file, into, false)

    // What the system says of a place that is full or closed, rather than of the archive.
    let private isFull (e: IOException) = e.HResult &&& 0xFFFF = 28 || e.HResult &&& 0xFFFF = 112

    /// Unpacks an archive beside itself and keeps the folder of a name that it holds: whole or not at all.
    /// The archive is deleted then. Entries that would land elsewhere make it Damaged.
    let unpack (archive: string) (folder: string) : Result<unit, Error> =
        let home = Path.GetDirectoryName(Path.GetFullPath archive)
        let work = Path.Combine(home, "." + folder + ".unpacking")
        let clear () = if Directory.Exists work then Directory.Delete(work, true)

        try
            try
                clear ()
                Directory.CreateDirectory work |> ignore
                extract archive work
                let found = Path.Combine(work, folder)

                if Directory.Exists found then
                    Directory.Move(found, Path.Combine(home, folder))
                    File.Delete archive
                    Ok()
                else
                    DataFile.damaged archive (sprintf "it holds no folder %s." folder)
            finally
                clear ()
        with
        | :? UnauthorizedAccessException as e -> Result.Error(Error.NotWritable(work, e.Message))
        | :? IOException as e when isFull e -> Result.Error(Error.NotWritable(work, e.Message))
        | :? InvalidDataException
        | :? IOException
        | :? FormatException
        | :? ArgumentException
        | :? OverflowException
        // Of .NET's readers: an entry of a type, or compressed in a way, that they do not unpack.
        | :? InvalidOperationException
        | :? NotSupportedException as e ->
            DataFile.damaged archive (sprintf "it cannot be unpacked: %s" e.Message)
