namespace AdvContrast.Core

open System
open System.IO
open System.Security.Cryptography
open System.Text.Json
open AdvContrast.Engine
open TorchSharp

/// The safetensors layout: eight bytes of length, a JSON header, raw little-endian values. Loading one never
/// runs code. Numbers that are not tensors stand in the header's metadata, as does a SHA-256 of everything
/// else.
[<RequireQualifiedAccess>]
module Safetensors =

    let private types = [
        "F64", torch.ScalarType.Float64, 8L
        "F32", torch.ScalarType.Float32, 4L
        "F16", torch.ScalarType.Float16, 2L
        "BF16", torch.ScalarType.BFloat16, 2L
        "I64", torch.ScalarType.Int64, 8L
        "I32", torch.ScalarType.Int32, 4L
        "I16", torch.ScalarType.Int16, 2L
        "I8", torch.ScalarType.Int8, 1L
        "U8", torch.ScalarType.Byte, 1L
        "BOOL", torch.ScalarType.Bool, 1L
    ]

    // Of names, types, shapes, values, numbers and metadata: a flipped byte of the header is noticed too.
    let private digest (metadata: Map<string, string>) (tree: Tree) =
        Text.Encoding.UTF8.GetBytes(JsonSerializer.Serialize metadata + Tree.hash tree)
        |> SHA256.HashData
        |> Convert.ToHexString
        |> _.ToLowerInvariant()

    /// The file's bytes for a tree and further metadata. Its metadata says <c>"format": "pt"</c>, without which other
    /// programs refuse it.
    let encode (metadata: Map<string, string>) (tree: Tree) : byte[] =
        let metadata = Map.add "format" "pt" metadata
        let tensors =
            tree
            |> Map.toList
            |> List.choose (fun (k, v) ->
                match v with
                | Value x -> Some(k, x)
                | _ -> None)
        let bodies = tensors |> List.map (fun (_, x) -> Tree.bytes x)
        let payload = Array.concat bodies
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
                | Real r ->
                    json.WriteString(
                        "real:" + key,
                        r.ToString("R", Globalization.CultureInfo.InvariantCulture)
                    )
                | Whole i -> json.WriteString("whole:" + key, string i)
                | Value _ -> ()

            json.WriteEndObject()
            let mutable at = 0L

            for (name, x), body in List.zip tensors bodies do
                let code =
                    types |> List.pick (fun (code, dtype, _) -> if dtype = x.dtype then Some code else None)
                json.WriteStartObject name
                json.WriteString("dtype", code)
                json.WriteStartArray "shape"

                for size in x.shape do
                    json.WriteNumberValue size

                json.WriteEndArray()
                json.WriteStartArray "data_offsets"
                json.WriteNumberValue at
                at <- at + int64 body.Length
                json.WriteNumberValue at
                json.WriteEndArray()
                json.WriteEndObject()

            json.WriteEndObject()

        // The layout wants the values aligned to eight bytes; spaces may pad the header.
        let padding = Array.create ((8 - int (header.Length % 8L)) % 8) (byte ' ')
        Array.concat [
            BitConverter.GetBytes(uint64 header.Length + uint64 padding.Length)
            header.ToArray()
            padding
            payload
        ]

    // What the header says of one tensor: its type and sizes, and where its bytes are.
    let private entry (item: JsonProperty) =
        let code = item.Value.GetProperty("dtype").GetString()
        let _, dtype, width = types |> List.find (fun (known, _, _) -> known = code)
        let shape = [| for size in item.Value.GetProperty("shape").EnumerateArray() -> size.GetInt64() |]
        let offsets = item.Value.GetProperty "data_offsets"
        let from, until = offsets[0].GetInt32(), offsets[1].GetInt32()

        if
            Array.exists (fun size -> size < 0L) shape
            || int64 (until - from) <> Array.fold Checked.(*) width shape
        then
            raise (InvalidDataException(sprintf "the size of '%s' does not fit its shape." item.Name))

        item.Name, dtype, shape, from, until

    let private text (item: JsonProperty) =
        match item.Value.GetString() with
        | null -> raise (InvalidDataException(sprintf "its metadata's '%s' is null." item.Name))
        | text -> item.Name, text

    // The numbers that are not tensors, which stand in the metadata; and what else stands there.
    let private numbers (metadata: Map<string, string>) : Tree * Map<string, string> =
        let number (key: string, text: string) =
            match key.Split(':', 2) with
            | [| "real"; name |] ->
                Choice1Of2(name, Real(Double.Parse(text, Globalization.CultureInfo.InvariantCulture)))
            | [| "whole"; name |] -> Choice1Of2(name, Whole(Int64.Parse text))
            | _ -> Choice2Of2(key, text)

        let numbers, texts = metadata |> Map.toList |> List.partitionWith number
        Map.ofList numbers, Map.ofList texts

    let private parse path (bytes: byte[]) =
        let length = if bytes.Length < 8 then UInt64.MaxValue else BitConverter.ToUInt64(bytes, 0)

        if length > uint64 (max 0 (bytes.Length - 8)) then
            Result.Error(Error.Damaged(path, "it is not a safetensors file, or it was cut short."))
        else
            use json = JsonDocument.Parse(ReadOnlyMemory(bytes, 8, int length), JsonText.strict)
            let payload = ReadOnlyMemory(bytes).Slice(int length + 8)
            let isMetadata (item: JsonProperty) = item.Name = "__metadata__"
            let metadata, tensors =
                json.RootElement.EnumerateObject() |> List.ofSeq |> List.partition isMetadata

            let metadata = metadata |> Seq.collect _.Value.EnumerateObject() |> Seq.map text |> Map.ofSeq

            let entries = List.map entry tensors
            let numbers, texts = numbers metadata
            LibTorch.Load()
            // Until all of them are there and right, they belong to this scope.
            use _ = torch.NewDisposeScope()

            let values =
                entries
                |> List.map (fun (name, dtype, shape, from, until) ->
                    let x = torch.empty (shape, Nullable dtype)
                    // An empty tensor has no memory to copy to.
                    if until > from then payload.Span.Slice(from, until - from).CopyTo x.bytes
                    name, Value x)
                |> Map.ofList

            let tree = Tree.join values numbers

            match Map.tryFind "sha256" texts with
            | Some expected when expected <> digest (Map.remove "sha256" texts) tree ->
                Result.Error(Error.Damaged(path, "its checksum does not fit its contents."))
            | _ ->
                Scope.adopt (Tree.tensors values)
                Ok(texts, tree)

    /// Reads a file: its metadata and its tree, whose tensors (on the CPU) belong to no scope.
    let read (path: string) : Result<Map<string, string> * Tree, Error> =
        try
            parse path (File.ReadAllBytes path)
        with
        | :? FileNotFoundException
        | :? DirectoryNotFoundException ->
            Error(Error.Missing("A checkpoint", path, "Give the folder of a run, or a .safetensors file."))
        | :? JsonException as e ->
            Error(Error.Damaged(path, sprintf "it is not a safetensors file: %s" (JsonText.problem e)))
        | :? InvalidDataException as e -> Error(Error.Damaged(path, e.Message))
        | :? Collections.Generic.KeyNotFoundException
        | :? ArgumentException
        | :? FormatException
        | :? OverflowException
        | :? InvalidOperationException ->
            Error(Error.Damaged(path, "its header is not that of a safetensors file."))
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.Damaged(path, e.Message))

    /// Writes a file whole or not at all: to a temporary name, synced to disk, then renamed.
    let write (path: string) metadata tree : Result<unit, Error> =
        let temporary = path + ".part"

        try
            let bytes = encode metadata tree

            do
                use file = File.Create temporary
                file.Write(bytes, 0, bytes.Length)
                file.Flush true

            File.Move(temporary, path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e ->
            if File.Exists temporary then File.Delete temporary

            Error(Error.NotWritable(path, e.Message))
