/// Damaged files of data sets: each is read, or refused with an error; nothing else happens.
module Tests.Data.ReaderFuzzTests

open System
open System.Diagnostics
open System.Formats.Tar
open System.IO
open System.IO.Compression
open System.Text
open System.Text.Json
open Expecto
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.DataFiles

// A reader of one file: the path below a folder, its sound bytes, and what reads it.
type private Case = { Name: string; Path: string; Bytes: byte[]; Read: string -> Result<unit, Error> }

let private dataset name folder =
    DatasetRegistry.load name (Some folder) true
    |> Result.map (fun set -> (set :> IDisposable).Dispose())

// Image files of every format, by SkiaSharp and our own reader of PPM.
let private pictures () = [
    let path = Path.Combine(AppContext.BaseDirectory, "Golden", "pictures.json")
    use json = JsonDocument.Parse(File.ReadAllText path)

    for case in json.RootElement.GetProperty("cases").EnumerateArray() do
        let format = case.GetProperty("format").GetString()
        let name = format + " " + case.GetProperty("name").GetString()

        {
            Name = name
            Path = "picture"
            Bytes = Convert.FromBase64String(case.GetProperty("file").GetString())
            Read = fun folder -> ImageFile.read (Path.Combine(folder, "picture")) |> Result.map ignore
        }
]

let private npy shape (descr: string) (content: byte[]) =
    let header = sprintf "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" descr shape
    let padded = header.PadRight(117) + "\n"
    Array.concat [
        [| 0x93uy |]
        "NUMPY"B
        [| 1uy; 0uy; byte padded.Length; 0uy |]
        Encoding.ASCII.GetBytes padded
        content
    ]

let private others () = [
    let source = Source 1
    let at name path bytes read = { Name = name; Path = path; Bytes = bytes; Read = read }
    at "idx" "train-images-idx3-ubyte" (idx [ 4; 5; 5 ] (bytesOf source 100 256)) (dataset "mnist")
    at
        "CIFAR-10"
        "data_batch_1.bin"
        (Array.concat [ for i in 0..3 -> Array.append [| byte i |] (bytesOf source 3072 256) ])
        (dataset "cifar10")
    at "PPM" "train/a/0.ppm" (Array.append "P6 4 4 255\n"B (bytesOf source 48 256)) (dataset "folder")
    at "npy" "CIFAR-10-C/fog.npy" (npy "(5, 32, 32, 3)" "|u1" (bytesOf source (5 * 3072) 256)) (fun folder ->
        DatasetRegistry.load "cifar10-c:fog:1" (Some folder) false
        |> Result.map (fun set -> (set :> IDisposable).Dispose()))
]

// Archives of a folder with two files; what is unpacked is removed, as nothing may be left of a damaged one.
let private archives () = [
    let names = [ "set/a.bin"; "set/deep/b.bin" ]

    let zip =
        use memory = new MemoryStream()

        do
            use zip = new ZipArchive(memory, ZipArchiveMode.Create, true)

            for name in names do
                use entry = zip.CreateEntry(name).Open()
                entry.Write(Array.create 300 7uy, 0, 300)

        memory.ToArray()

    let tar =
        use memory = new MemoryStream()

        do
            use tar = new TarWriter(memory, true)

            for name in names do
                use content = new MemoryStream(Array.create 300 7uy)
                tar.WriteEntry(PaxTarEntry(TarEntryType.RegularFile, name, DataStream = content))

        memory.ToArray()

    let gzip =
        use memory = new MemoryStream()

        do
            use packed = new GZipStream(memory, CompressionLevel.Fastest, true)
            packed.Write(tar, 0, tar.Length)

        memory.ToArray()

    let unpack name folder =
        let found, set = Archive.unpack (Path.Combine(folder, name)) "set", Path.Combine(folder, "set")

        if Result.isOk found then
            Directory.Delete(set, true)
        else
            Expect.isFalse (Directory.Exists set) (name + ": nothing of a damaged archive")

        found

    for name, bytes in [ "set.zip", zip; "set.tar", tar; "set.tar.gz", gzip ] do
        { Name = name; Path = name; Bytes = bytes; Read = unpack name }
]

// The sound files that a reader needs besides.
let private beside folder =
    write folder "train-labels-idx1-ubyte" (idx [ 4 ] [| 0uy; 1uy; 2uy; 3uy |])
    write
        folder
        "CIFAR-10-C/labels.npy"
        (npy "(5,)" "<i8" (Array.concat [ for i in 0L .. 4L -> BitConverter.GetBytes i ]))

    for i in 2..5 do
        write folder (sprintf "data_batch_%d.bin" i) (Array.zeroCreate 3073)

let private isExpected error =
    match error with
    | Error.Damaged _
    | Error.Missing _
    | Error.BadOption _
    | Error.Several _ -> true
    | _ -> false

let private entries folder =
    Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories) |> Set.ofArray

let private fuzz count () =
    let cases = pictures () @ others () @ archives ()
    let each = count / cases.Length + 1

    for number, case in List.indexed cases do
        inFolder (fun folder ->
            beside folder
            write folder case.Path case.Bytes
            let before = entries folder
            let clock = Stopwatch.StartNew()
            Expect.isOk (case.Read folder) (case.Name + " as it is")
            let sound = clock.Elapsed
            // A file that is read in no time may be slowed by a collection of garbage.
            let most = max (10.0 * sound) (TimeSpan.FromSeconds 1.0)
            let live = Autograd.liveTensors ()

            for i in 1..each do
                write folder case.Path (AdvContrast.Mutation.mutate (number * 100000 + i) case.Bytes)
                let clock = Stopwatch.StartNew()

                match
                    (try
                        case.Read folder
                     with e ->
                         failtestf "%s, change %d: %O" case.Name i e)
                with
                | Error error when not (isExpected error) -> failtestf "%s, change %d: %A" case.Name i error
                | _ -> ()

                if clock.Elapsed > most then failtestf "%s, change %d took %O" case.Name i clock.Elapsed

            // A sound archive is removed once it is unpacked.
            write folder case.Path case.Bytes
            Expect.equal (Autograd.liveTensors ()) live (case.Name + ": tensors left")
            Expect.equal (entries folder) before (case.Name + ": files written"))

[<Tests>]
let tests =
    testList "Data.ReaderFuzz" [
        test "some hundred changed files" (fuzz 300)
        testLong "ten thousand changed files" (fuzz 10_000)
    ]
