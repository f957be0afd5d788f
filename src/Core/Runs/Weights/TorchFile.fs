namespace AdvContrast.Core.Runs

open System
open System.Collections.Generic
open System.IO
open System.IO.Compression
open System.Text
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// Files of torch.save: archives since PyTorch 1.6, and the sequence of pickles before. Nothing in them is run.
[<RequireQualifiedAccess>]
module TorchFile =

    let private invalid text = raise (InvalidDataException text)

    // --- archives

    let private archiveOf (file: Stream) =
        let archive =
            try
                new ZipArchive(file, ZipArchiveMode.Read, true)
            with :? InvalidDataException ->
                invalid "it was cut short, or is no archive."

        // The table of contents is read now, and may be damaged.
        archive.Entries |> ignore
        archive

    let private ofArchive (file: Stream) work =
        use archive = archiveOf file
        let ending (text: string) (entry: ZipArchiveEntry) =
            entry.FullName.EndsWith(text, StringComparison.Ordinal)

        if archive.Entries |> Seq.exists (ending "/constants.pkl") then
            invalid "it is a TorchScript program, not a state dict; save model.state_dict() with torch.save."

        if archive.Entries |> Seq.exists (fun entry -> entry.Length <> entry.CompressedLength) then
            invalid "its entries are compressed; torch.save does not compress them."

        // Entries that overlap could be read to many times the file's size.
        if archive.Entries |> Seq.sumBy _.Length > file.Length then
            invalid "its entries are longer than the file."

        let entries = Dictionary<string, ZipArchiveEntry>()

        for entry in archive.Entries do
            entries[entry.FullName] <- entry

        match archive.Entries |> Seq.tryFind (ending "/data.pkl") with
        | None -> invalid "it is an archive, but not one of torch.save (it has no data.pkl)."
        | Some pickle ->
            let folder = pickle.FullName.Substring(0, pickle.FullName.Length - "data.pkl".Length)

            let read name =
                match entries.TryGetValue(folder + name) with
                | true, entry ->
                    let bytes: byte[] = Array.zeroCreate (Checked.int entry.Length)
                    use stream = entry.Open()
                    stream.ReadExactly(bytes, 0, bytes.Length)
                    Some bytes
                | false, _ -> None

            match read "byteorder" with
            | Some order when Encoding.ASCII.GetString order <> "little" ->
                invalid "its values are big-endian, which is not read."
            | _ -> ()

            let storages key =
                match entries.TryGetValue(folder + "data/" + key) with
                | true, entry ->
                    entry.Length,
                    fun work ->
                        use stream = entry.Open()
                        work stream
                | false, _ -> invalid (sprintf "its storage '%s' is missing." key)

            let root = Pickle.read (new MemoryStream(Option.get (read "data.pkl")))
            work (TorchTensors.stateOf storages root)

    // --- before PyTorch 1.6

    // The number that torch.save wrote first, as a pickle.
    let private magic = Convert.FromHexString "80028A0A6CFC9C46F9206AA850192E"

    // Types of the storages that a value refers to, by key. The graph may share values and have cycles.
    let private storageTypes (root: Pickled) =
        let seen = HashSet<Pickled>()
        let found = Dictionary<string, TorchTensors.Storage>()
        let waiting = Stack [ root ]

        while waiting.Count > 0 do
            let value = waiting.Pop()

            if seen.Add value then
                match value with
                | TorchTensors.Storage storage -> found[storage.Key] <- storage
                | Items items -> Seq.iter waiting.Push items
                | Call(_, arguments, _) -> waiting.Push arguments
                | _ -> ()

                for key, value in Pickled.entries value do
                    waiting.Push key
                    waiting.Push value

        found

    let private littleEndian (system: Pickled) =
        Pickled.entries system
        |> Seq.forall (fun (key, value) ->
            match key, value with
            | Text "little_endian", Bool isLittle -> isLittle
            | _ -> true)

    // Where the values of each storage begin: a count of elements, then they. The stream is at the first.
    let private places (file: Stream) (stored: Dictionary<string, TorchTensors.Storage>) (keys: Pickled) =
        Map [
            for key in Pickled.items keys do
                match key with
                | Text key when stored.ContainsKey key ->
                    let dtype = Map.tryFind stored[key].Type TorchTensors.types
                    let count = BitConverter.ToInt64(StoredTensor.bytes 8L file, 0)
                    let bytes =
                        match dtype with
                        | Some dtype -> Checked.(*) count (TorchTensors.width dtype)
                        | None ->
                            invalid (
                                sprintf "it has values of the type %s, which is not read." stored[key].Type
                            )

                    if bytes < 0L || bytes > file.Length - file.Position then raise (EndOfStreamException())

                    key, (file.Position, bytes)
                    file.Position <- file.Position + bytes
                | _ -> invalid "it has a storage that no tensor uses."
        ]

    let private ofPickles (file: Stream) work =
        file.Position <- int64 magic.Length
        Pickle.read file |> ignore

        if not (littleEndian (Pickle.read file)) then
            invalid "its values are big-endian, which is not read."

        let root = Pickle.read file
        let places = places file (storageTypes root) (Pickle.read file)

        let storages key =
            match Map.tryFind key places with
            | Some(start, length) ->
                length,
                fun work ->
                    file.Position <- start
                    work file
            | None -> invalid (sprintf "its storage '%s' is missing." key)

        work (TorchTensors.stateOf storages root)

    // The first bytes of a file; fewer where it is shorter.
    let private startOf (file: Stream) =
        let start = StoredTensor.bytes (min (int64 magic.Length) file.Length) file
        file.Position <- 0L
        start

    let private isArchive (start: byte[]) = Array.truncate 4 start = "PK\003\004"B

    /// Whether a file is one of torch.save by its first bytes; false where it cannot be read.
    let isOne (path: string) : bool =
        try
            use file = File.OpenRead path
            let start = startOf file
            isArchive start || start = magic
        with
        | :? IOException
        | :? UnauthorizedAccessException -> false

    /// Calls work with the tensors of a file, which are read when asked for. Names of nested dictionaries are
    /// joined by dots: <c>"state_dict.conv1.weight"</c>.
    let openWith (path: string) (work: Map<string, StoredTensor> -> Result<'a, Error>) =
        StoredTensor.guard path (fun () ->
            use file = File.OpenRead path
            if isArchive (startOf file) then ofArchive file work else ofPickles file work)
