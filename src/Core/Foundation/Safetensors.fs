namespace AdvContrast.Core.Foundation

open System
open System.IO
open System.Security.Cryptography
open System.Text.Json
open AdvContrast.Engine
open TorchSharp
open AdvContrast.Core

/// The safetensors layout: eight bytes of length, a JSON header, raw little-endian values. Loading one never
/// runs code. Numbers that are not tensors stand in the header's metadata, as does a SHA-256 of everything
/// else.
[<RequireQualifiedAccess>]
module Safetensors =

    // Types of elements and their bytes; those without libtorch's name are not read.
    let private types = [
        "F64", Some torch.ScalarType.Float64, 8L
        "F32", Some torch.ScalarType.Float32, 4L
        "F16", Some torch.ScalarType.Float16, 2L
        "BF16", Some torch.ScalarType.BFloat16, 2L
        "I64", Some torch.ScalarType.Int64, 8L
        "I32", Some torch.ScalarType.Int32, 4L
        "I16", Some torch.ScalarType.Int16, 2L
        "I8", Some torch.ScalarType.Int8, 1L
        "U8", Some torch.ScalarType.Byte, 1L
        "BOOL", Some torch.ScalarType.Bool, 1L
        "U64", None, 8L
        "U32", None, 4L
        "U16", None, 2L
        "C64", None, 8L
        "F8_E4M3", None, 1L
        "F8_E5M2", None, 1L
        "F8_E8M0", None, 1L
    ]

    // Of names, types, shapes, values, numbers and metadata: a flipped byte of the header is noticed too.
    let private digest (metadata: Map<string, string>) (tree: TensorTree) =
        Text.Encoding.UTF8.GetBytes(JsonSerializer.Serialize metadata + TensorTree.hash tree)
        |> SHA256.HashData
        |> Convert.ToHexString
        |> _.ToLowerInvariant()

    /// Writes a tree and further metadata in this layout. The metadata says <c>"format": "pt"</c>, without which other
    /// programs refuse the file.
    let writeTo (stream: Stream) (metadata: Map<string, string>) (tree: TensorTree) =
        let metadata = Map.add "format" "pt" metadata
        let tensors = TensorTree.toTensors tree
        use header = new MemoryStream()

        do
            use json = new Utf8JsonWriter(header)
            json.WriteStartObject()
            json.WriteStartObject "__metadata__"
            json.WriteString("sha256", digest metadata tree)

            for KeyValue(key, value) in metadata do
                json.WriteString(key, value)

            for KeyValue(key, leaf) in tree do
                match leaf with
                | Leaf.Float r ->
                    json.WriteString(
                        "real:" + key,
                        r.ToString("R", Globalization.CultureInfo.InvariantCulture)
                    )
                | Leaf.Int i -> json.WriteString("whole:" + key, string i)
                | Leaf.Tensor _ -> ()

            json.WriteEndObject()
            let mutable at = 0L

            for KeyValue(name, x) in tensors do
                let code, _, width = types |> List.find (fun (_, dtype, _) -> dtype = Some x.dtype)
                json.WriteStartObject name
                json.WriteString("dtype", code)
                json.WriteStartArray "shape"

                for size in x.shape do
                    json.WriteNumberValue size

                json.WriteEndArray()
                json.WriteStartArray "data_offsets"
                json.WriteNumberValue at
                at <- at + width * x.numel ()
                json.WriteNumberValue at
                json.WriteEndArray()
                json.WriteEndObject()

            json.WriteEndObject()

        // The layout wants the values aligned to eight bytes; spaces may pad the header.
        let padding = Array.create ((8 - int (header.Length % 8L)) % 8) (byte ' ')
        stream.Write(BitConverter.GetBytes(uint64 header.Length + uint64 padding.Length).AsSpan())
        header.WriteTo stream
        stream.Write(padding, 0, padding.Length)

        for x in Map.values tensors do
            let write (part: Tensor) = stream.Write part.bytes
            Scope.value (fun () -> x.detach().cpu().contiguous() |> TensorTree.inParts write)

    let private invalid text = raise (InvalidDataException text)

    // What the header says of one tensor, and where its values are.
    [<NoComparison>]
    type private Entry = {
        Name: string
        Type: string
        DType: torch.ScalarType option
        Shape: int64[]
        From: int64
        Until: int64
    }

    let private entry (item: JsonProperty) =
        let code = item.Value.GetProperty("dtype").GetString()
        let shape = [| for size in item.Value.GetProperty("shape").EnumerateArray() -> size.GetInt64() |]
        let offsets = item.Value.GetProperty "data_offsets"
        let from, until = offsets[0].GetInt64(), offsets[1].GetInt64()
        let known = types |> List.tryFind (fun (known, _, _) -> known = code)
        let count = StoredTensor.count shape

        match known with
        | Some(_, _, width) when Checked.(-) until from <> Checked.(*) width count ->
            invalid (sprintf "the size of '%s' does not fit its shape." item.Name)
        | _ -> ()

        {
            Name = item.Name
            Type = code
            DType = known |> Option.bind (fun (_, dtype, _) -> dtype)
            Shape = shape
            From = from
            Until = until
        }

    // The values of the tensors follow one another and fill the file, as the layout says.
    let private checkOffsets length (entries: Entry list) =
        let last =
            (0L, entries |> List.sortBy (fun e -> e.From, e.Until))
            ||> List.fold (fun at e ->
                if e.Until < e.From then invalid (sprintf "the values of '%s' end before they begin." e.Name)
                if e.From < at then invalid (sprintf "the values of '%s' overlap another tensor's." e.Name)
                if e.From > at then invalid (sprintf "the bytes before '%s' belong to no tensor." e.Name)
                e.Until)

        if last > length then invalid "it was cut short."
        if last < length then invalid "the bytes after the last tensor belong to no tensor."

    let private text (item: JsonProperty) =
        match item.Value.GetString() with
        | null -> invalid (sprintf "its metadata's '%s' is null." item.Name)
        | text -> item.Name, text

    let private metadataOf (item: JsonProperty) =
        if item.Value.ValueKind = JsonValueKind.Null then
            Seq.empty
        else
            item.Value.EnumerateObject() |> Seq.map text

    // The layout's limit.
    let private longestHeader = 100_000_000UL

    // The metadata and the tensors of a file that is at its start; then it is at the first value.
    let private header (file: Stream) =
        let length =
            if file.Length < 8L then UInt64.MaxValue else BitConverter.ToUInt64(StoredTensor.bytes 8L file, 0)

        if length > uint64 (max 0L (file.Length - 8L)) || length > longestHeader then
            invalid "it is not a safetensors file, or it was cut short."

        try
            let text = ReadOnlyMemory<byte>(StoredTensor.bytes (int64 length) file)
            use json = JsonDocument.Parse(text, JsonText.strict)
            let isMetadata (item: JsonProperty) = item.Name = "__metadata__"

            let metadata, tensors =
                json.RootElement.EnumerateObject() |> List.ofSeq |> List.partition isMetadata

            let entries = List.map entry tensors
            checkOffsets (file.Length - file.Position) entries
            metadata |> Seq.collect metadataOf |> Map.ofSeq, entries
        with
        | :? JsonException as e -> invalid (sprintf "it is not a safetensors file: %s" (JsonText.problem e))
        | :? Collections.Generic.KeyNotFoundException
        | :? ArgumentException
        | :? FormatException
        | :? OverflowException
        | :? InvalidOperationException -> invalid "its header is not that of a safetensors file."

    let private stored (file: Stream) start (e: Entry) : StoredTensor = {
        Shape = e.Shape
        Type = e.Type
        DType = e.DType
        Read =
            fun () ->
                match e.DType with
                | Some dtype ->
                    file.Position <- start + e.From
                    StoredTensor.fromStream dtype e.Shape file
                | None -> invalid (sprintf "'%s' has the type %s, which is not read." e.Name e.Type)
    }

    /// Calls work with the metadata and the tensors of a file, which are read when asked for.
    let openWith
        (path: string)
        (work: Map<string, string> -> Map<string, StoredTensor> -> Result<'a, Error>)
        =
        StoredTensor.guard path (fun () ->
            use file = File.OpenRead path
            let metadata, entries = header file
            let start = file.Position
            work metadata (Map [ for e in entries -> e.Name, stored file start e ]))

    // The numbers that are not tensors, which stand in the metadata; and what else stands there.
    let private numbers (metadata: Map<string, string>) : TensorTree * Map<string, string> =
        let number (key: string, text: string) =
            match key.Split(':', 2) with
            | [| "real"; name |] ->
                Choice1Of2(name, Leaf.Float(Double.Parse(text, Globalization.CultureInfo.InvariantCulture)))
            | [| "whole"; name |] -> Choice1Of2(name, Leaf.Int(Int64.Parse text))
            | _ -> Choice2Of2(key, text)

        try
            let numbers, texts = metadata |> Map.toList |> List.partitionWith number
            Map.ofList numbers, Map.ofList texts
        with
        | :? FormatException
        | :? OverflowException -> invalid "a number in its metadata cannot be read."

    /// Reads a file: its metadata and its tree, whose tensors (on the CPU) belong to no scope.
    let read (path: string) : Result<Map<string, string> * TensorTree, Error> =
        openWith path (fun metadata stored ->
            let numbers, texts = numbers metadata
            LibTorch.Load()
            // Until all of them are there and right, they belong to this scope.
            use _ = torch.NewDisposeScope()
            let values = stored |> Map.map (fun _ x -> x.Read())
            let tree = TensorTree.join (TensorTree.ofTensors values) numbers

            match Map.tryFind "sha256" texts with
            | Some expected when expected <> digest (Map.remove "sha256" texts) tree ->
                Error(Error.Damaged(path, "its checksum does not fit its contents."))
            | _ ->
                Scope.adopt (Map.values values)
                Ok(texts, tree))

    /// Writes a file whole or not at all: to a temporary name, synced to disk, then renamed.
    let write (path: string) metadata tree : Result<unit, Error> =
        let temporary = path + ".part"

        try
            do
                use file = File.Create temporary
                writeTo file metadata tree
                file.Flush true

            File.Move(temporary, path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e ->
            if File.Exists temporary then File.Delete temporary

            Error(Error.NotWritable(path, e.Message))
