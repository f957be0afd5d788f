/// Archives of data sets: unpacked whole or not at all, and fetched once.
module Tests.Data.ArchiveTests

open System
open System.Formats.Tar
open System.IO
open System.IO.Compression
open System.Threading
open Expecto
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open Support.Laws
open Support.TestServer

let private hasty = { Tries = 1; Pause = TimeSpan.Zero; Silence = TimeSpan.FromSeconds 20.0 }
let private never = CancellationToken.None

// A tar.gz of a folder with these files.
let private archive (folder: string) (inner: string) (files: (string * byte[]) list) =
    let source = Path.Combine(folder, "source")

    for name, bytes in files do
        let path = Path.Combine(source, inner, name)
        Directory.CreateDirectory(Path.GetDirectoryName path) |> ignore
        File.WriteAllBytes(path, bytes)

    use packed = new MemoryStream()

    do
        use zip = new GZipStream(packed, CompressionLevel.Fastest)
        TarFile.CreateFromDirectory(source, zip, false)

    Directory.Delete(source, true)
    packed.ToArray()

[<Tests>]
let tests =
    testList "Data.Archive" [
        test "an archive is unpacked whole or not at all" (fun () ->
            inFolder (fun folder ->
                let bytes =
                    archive folder "set" [ "a.bin", [| 1uy; 2uy |]; "deep/b.bin", Array.create 5_000 7uy ]
                let path = Path.Combine(folder, "set.tar.gz")
                File.WriteAllBytes(path, bytes)
                Expect.isOk (Archive.unpack path "set") "unpacked"
                Expect.equal (entries folder) [ "set" ] "the archive is gone"
                Expect.equal
                    (File.ReadAllBytes(Path.Combine(folder, "set", "deep", "b.bin"))).Length
                    5_000
                    "content"
                Directory.Delete(Path.Combine(folder, "set"), true)

                for spoilt, inner in
                    [ bytes[.. bytes.Length / 2], "set"; "no archive"B, "set"; bytes, "other" ] do
                    File.WriteAllBytes(path, spoilt)
                    Expect.equal (Error.exitCode (wantError (Archive.unpack path inner) inner)) 5 "damaged"
                    Expect.equal (entries folder) [ "set.tar.gz" ] "nothing half-unpacked"))

        test "an entry of a type that is not unpacked is named" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "set.tar")

                do
                    use file = File.Create path
                    use tar = new TarWriter(file, true)
                    use content = new MemoryStream([| 1uy |])
                    tar.WriteEntry(UstarTarEntry(TarEntryType.RegularFile, "set/a", DataStream = content))

                // The type is byte 156 of the header, its checksum six octal digits at byte 148.
                let bytes = File.ReadAllBytes path
                bytes[156] <- 32uy
                Array.fill bytes 148 8 32uy
                let sum = bytes[..511] |> Array.sumBy int
                Array.blit (System.Text.Encoding.ASCII.GetBytes(sprintf "%06o\000 " sum)) 0 bytes 148 8
                File.WriteAllBytes(path, bytes)
                says
                    [ "set.tar"; "cannot be unpacked" ]
                    (wantError (Archive.unpack path "set") "type")
                    "type"
                Expect.equal (entries folder) [ "set.tar" ] "nothing half-unpacked"))

        test "a zip is unpacked too, and nothing lands outside" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "set.zip")

                let zip (names: string list) =
                    use file = File.Create path
                    use zip = new ZipArchive(file, ZipArchiveMode.Create)

                    for name in names do
                        use entry = zip.CreateEntry(name).Open()
                        entry.Write "hello"B

                zip [ "set/a.txt"; "set/b/c.txt" ]
                Expect.isOk (Archive.unpack path "set") "unpacked"
                Expect.equal (File.ReadAllText(Path.Combine(folder, "set", "b", "c.txt"))) "hello" "content"
                Directory.Delete(Path.Combine(folder, "set"), true)
                zip [ "set/a.txt"; "../evil.txt" ]
                Expect.equal (Error.exitCode (wantError (Archive.unpack path "set") "evil")) 5 "damaged"
                Expect.equal (entries folder) [ "set.zip" ] "nothing outside"))

        test
            "a data set's archive is fetched and unpacked once; a folder in its layout is used as it is"
            (fun () ->
                inFolder (fun folder ->
                    let bytes = archive folder "set" [ "a.bin", [| 1uy |] ]
                    use server = new Server(fun _ _ -> wholeOf bytes)

                    let remote = {
                        Url = server.Url "set.tar.gz"
                        Md5 = Some(md5 bytes)
                        Target = "set.tar.gz"
                        Folder = Some "set"
                    }

                    let fetch () = Fetch.remote hasty folder (fun _ _ _ -> ()) never remote
                    Expect.isFalse (Fetch.isThere folder remote) "not yet"
                    Expect.isOk (fetch ()) "fetched"
                    Expect.equal (entries folder) [ "set" ] "unpacked"
                    Expect.isTrue (Fetch.isThere folder remote) "in the folder"
                    Expect.isTrue (Fetch.isThere (Path.Combine(folder, "set")) remote) "the folder itself"
                    // An archive brought by other means is checked, and not fetched again.
                    Directory.Delete(Path.Combine(folder, "set"), true)
                    File.WriteAllBytes(Path.Combine(folder, "set.tar.gz"), bytes[1..])
                    says [ md5 bytes; "delete" ] (wantError (fetch ()) "another") "another file"
                    File.WriteAllBytes(Path.Combine(folder, "set.tar.gz"), bytes)
                    Expect.isOk (fetch ()) "unpacked"
                    Expect.equal server.Asked.Length 1 "one request"))

        test "what the catalogue fetches has an address and a checksum each, and a place" (fun () ->
            for listing in DatasetRegistry.all do
                for remote in listing.Remotes do
                    Expect.isTrue (Uri.IsWellFormedUriString(remote.Url, UriKind.Absolute)) remote.Url
                    Expect.isMatch (Option.defaultValue "" remote.Md5) "^[0-9a-f]{32}$" remote.Url
                    Expect.stringEnds remote.Url (Path.GetFileName remote.Target) "it keeps its name"

            let dataset name = Fetch.dataset hasty name "." (fun _ _ _ -> ()) never
            says [ "in the program" ] (wantError (dataset "sample") "embedded") "nothing to fetch"
            says [ "bring yourself" ] (wantError (dataset "folder") "own") "nothing to fetch"
            says [ "'cifar10'" ] (wantError (dataset "cifar-10") "unknown") "nearest")
    ]
