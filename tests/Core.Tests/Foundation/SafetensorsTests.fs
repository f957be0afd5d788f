/// safetensors files: what is written is read, and damage is told.
module Tests.Foundation.SafetensorsTests

open System
open System.IO
open System.Text
open System.Text.Json
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open Support.Arrays
open Support.Laws

let private types = [
    torch.float64
    torch.float32
    torch.float16
    torch.bfloat16
    torch.int64
    torch.int32
    torch.int16
    torch.int8
    torch.uint8
    torch.``bool``
]

// Leaves of every kind; some tensors are empty, some have no dimension.
let private tree (seed: int) : TensorTree =
    let source = Source seed

    let leaf i =
        match source.Whole(0, 3) with
        | 0 ->
            Leaf.Float(
                source.Among [ source.Normal(); nan; infinity; -0.0; Double.Epsilon; Double.MaxValue; 0.1 ]
            )
        | 1 -> Leaf.Int(source.Among [ 0L; Int64.MaxValue; Int64.MinValue; int64 i ])
        | _ ->
            let shape = source.Among [ []; [ 0 ]; [ 3 ]; [ 2; 0; 5 ]; [ 2; 3 ]; [ 1; 2; 1; 2 ] ]
            let values = source.Normals(List.fold (*) 1 shape) |> times 3.0
            Leaf.Tensor((tensor shape values).``to``(source.Among types))

    Map [
        for i in 0 .. source.Whole(0, 9) ->
            source.Among [ "a"; "deep/er/"; "ünï \"code\"/"; "" ] + string i, leaf i
    ]

let private metadata = Map [ "configuration", "{ \"a\": 1 }"; "note", "ünïcode, \"quoted\"\n" ]

let private freeTree (tree: TensorTree) =
    for x in TensorTree.tensors tree do
        x.Dispose()

// Reads a file and gives the hash of what it holds, or the error.
let private readHash path =
    Safetensors.read path
    |> Result.map (fun (metadata, tree) ->
        let hash = TensorTree.hash tree
        freeTree tree
        metadata, hash)

let private read (path: string) (bytes: byte[]) =
    File.WriteAllBytes(path, bytes)
    readHash path

let private damaged result message =
    match wantError result message with
    | Error.Damaged _ -> ()
    | other -> failtestf "%s: another kind of error: %A" message other

// A file with this header, given as JSON, and these bytes.
let private file (header: string) (payload: byte[]) =
    let header = Encoding.UTF8.GetBytes header
    Array.concat [ BitConverter.GetBytes(uint64 header.Length); header; payload ]

let private encoded metadata tree =
    use stream = new MemoryStream()
    Safetensors.writeTo stream metadata tree
    stream.ToArray()

let private example () : TensorTree =
    Map [
        "momentum/w", Leaf.Tensor(tensor [ 2; 2 ] [| 1.0; 2.0; 3.0; 4.0 |])
        "n", Leaf.Int 1234L
        "r", Leaf.Float 0.25
        "z", Leaf.Tensor(single (tensor [ 2 ] [| 5.0; 6.0 |]))
    ]

[<Tests>]
let tests =
    testList "Foundation.Safetensors" [
        testProperty
            "a tree comes back as it was: every type, empty tensors, every number"
            (fun (seed: int) ->
                balanced (fun () ->
                    inFolder (fun folder ->
                        let tree = tree seed
                        let path = Path.Combine(folder, "t.safetensors")
                        Expect.isOk (Safetensors.write path metadata tree) "written"
                        let foundMetadata, found = Expect.wantOk (Safetensors.read path) "read"
                        Expect.equal (TensorTree.hash found) (TensorTree.hash tree) "hash"
                        Expect.equal (Seq.toList found.Keys) (Seq.toList tree.Keys) "names"

                        for KeyValue(name, leaf) in tree do
                            match leaf, found[name] with
                            | Leaf.Tensor x, Leaf.Tensor y ->
                                Expect.equal (y.dtype, y.shape) (x.dtype, x.shape) name
                                Expect.equal (bits y) (bits x) name
                            | Leaf.Float x, Leaf.Float y ->
                                Expect.equal
                                    (BitConverter.DoubleToInt64Bits y)
                                    (BitConverter.DoubleToInt64Bits x)
                                    name
                            | Leaf.Int x, Leaf.Int y -> Expect.equal y x name
                            | _ -> failtestf "%s is of another kind" name

                        for KeyValue(key, text) in metadata do
                            Expect.equal foundMetadata[key] text key

                        freeTree found)))

        test "what is read belongs to no scope" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                Expect.isOk (Safetensors.write path metadata (example ())) "written"
                let _, found = Scope.value (fun () -> Expect.wantOk (Safetensors.read path) "read")
                Expect.all (TensorTree.tensors found) (fun x -> not x.IsInvalid) "alive"
                freeTree found))

        test "the layout is that of safetensors" (fun () ->
            let tree = example ()
            let bytes = encoded metadata tree
            let length = int (BitConverter.ToUInt64(bytes, 0))
            Expect.equal ((8 + length) % 8) 0 "values are aligned"
            use header = JsonDocument.Parse(ReadOnlyMemory(bytes, 8, length))
            let entry (name: string) = header.RootElement.GetProperty name
            Expect.equal ((entry "momentum/w").GetProperty("dtype").GetString()) "F64" "type"
            Expect.equal ((entry "z").GetProperty("dtype").GetString()) "F32" "type"
            let ints (name: string) (key: string) = [
                for e in ((entry name).GetProperty key).EnumerateArray() -> e.GetInt32()
            ]
            Expect.equal (ints "momentum/w" "shape") [ 2; 2 ] "shape"
            Expect.equal
                (ints "momentum/w" "data_offsets" @ ints "z" "data_offsets")
                [ 0; 32; 32; 40 ]
                "values follow one another"
            Expect.equal bytes.Length (8 + length + 40) "nothing after them"
            let body = Array.concat (TensorTree.tensors tree |> Seq.map TensorTree.bytes)
            Expect.equal bytes[8 + length ..] body "values, little-endian and row-major"
            let texts =
                (entry "__metadata__").EnumerateObject()
                |> Seq.forall (fun item -> item.Value.ValueKind = JsonValueKind.String)
            Expect.isTrue texts "metadata are texts")

        test "a file by another program is read" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                let bytes =
                    file
                        """{"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"""
                        (Array.append (BitConverter.GetBytes 1.5f) (BitConverter.GetBytes -2.0f))
                File.WriteAllBytes(path, bytes)
                let metadata, found = Expect.wantOk (Safetensors.read path) "read"
                Expect.equal metadata Map.empty "no metadata"
                let x = Seq.exactlyOne (TensorTree.tensors found)
                Expect.equal (x.shape, floats x) ([| 1L; 2L |], [| 1.5; -2.0 |]) "values"
                freeTree found))

        test "a byte that flips anywhere is noticed, or changes nothing of the tree" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                let tree = example ()
                let bytes = encoded metadata tree
                let hash = TensorTree.hash tree

                for at in 0 .. bytes.Length - 1 do
                    for flip in [ 1uy; 0x10uy; 0xffuy ] do
                        let changed = Array.copy bytes
                        changed[at] <- changed[at] ^^^ flip

                        match read path changed with
                        | Ok(found, now) ->
                            Expect.equal now hash (sprintf "byte %d: the tree" at)

                            for KeyValue(key, text) in metadata do
                                Expect.equal
                                    (Map.tryFind key found)
                                    (Some text)
                                    (sprintf "byte %d: %s" at key)
                        | Error(Error.Damaged(where, _)) -> Expect.equal where path "path"
                        | Error e -> failtestf "byte %d: another kind of error: %A" at e))

        test "a file that was cut short anywhere is damaged" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                let bytes = encoded metadata (example ())

                for length in 0 .. bytes.Length - 1 do
                    damaged (read path bytes[.. length - 1]) (sprintf "%d bytes" length)))

        testTheory
            "headers that lie are refused"
            [
                "no JSON", "nonsense"
                "no object", "[]"
                "another type", """{"x":{"dtype":"F128","shape":[1],"data_offsets":[0,8]}}"""
                "no type", """{"x":{"shape":[1],"data_offsets":[0,8]}}"""
                "another size", """{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"""
                "values beyond the end", """{"x":{"dtype":"F64","shape":[4],"data_offsets":[0,32]}}"""
                "values before the start", """{"x":{"dtype":"F64","shape":[1],"data_offsets":[-8,0]}}"""
                "an offset beyond counting",
                """{"x":{"dtype":"F64","shape":[1],"data_offsets":[0,99999999999]}}"""
                "an offset that is a text", """{"x":{"dtype":"F64","shape":[1],"data_offsets":["0",8]}}"""
                "negative sizes", """{"x":{"dtype":"F64","shape":[-1,-1],"data_offsets":[0,8]}}"""
                "a size that is a text", """{"x":{"dtype":"F64","shape":["1"],"data_offsets":[0,8]}}"""
                "a tensor that is a number", """{"x":7}"""
                "a number that is none", """{"__metadata__":{"whole:n":"12x"}}"""
                "a number beyond counting", """{"__metadata__":{"whole:n":"99999999999999999999"}}"""
                "a fraction that is none", """{"__metadata__":{"real:r":"abc"}}"""
                "metadata that are no texts", """{"__metadata__":{"whole:n":12}}"""
                "metadata that are a list", """{"__metadata__":[]}"""
                "values that overlap",
                """{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"""
                "values of no tensor before one", """{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"""
                "values of no tensor after the last",
                """{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"""
                "values that end before they begin",
                """{"x":{"dtype":"F9","shape":[1],"data_offsets":[8,0]}}"""
                "a text that is null", """{"__metadata__":{"note":null}}"""
                "a text twice", """{"__metadata__":{"note":"a","note":"b"}}"""
                "a tensor twice",
                """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"""
                "sizes whose product overflows",
                """{"x":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"""
            ]
            (fun (name, header) ->
                balanced (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "t.safetensors")
                        damaged (read path (file header (Array.zeroCreate 8))) name)))

        test "null metadata are none, and types that are not read are named" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                let header rest =
                    """{"__metadata__":null,"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}"""
                    + rest
                    + "}"
                let metadata, _ = Expect.wantOk (read path (file (header "") (Array.zeroCreate 4))) "read"
                Expect.equal metadata Map.empty "no metadata"

                for code, width in [ "U64", 8; "U32", 4; "F8_E4M3", 1; "C64", 8; "F4", 3 ] do
                    let other =
                        $",\"y\":{{\"dtype\":\"{code}\",\"shape\":[1],\"data_offsets\":[4,{4 + width}]}}"
                    let error =
                        wantError (read path (file (header other) (Array.zeroCreate (4 + width)))) code
                    says [ "'y'"; code; "not read" ] error code

                    // Those that nobody asks for are passed over.
                    let values =
                        Safetensors.openWith path (fun _ stored ->
                            Ok(stored["y"].Type, Scope.value (fun () -> floats (stored["x"].Read()))))

                    Expect.equal (Expect.wantOk values code) (code, [| 0.0 |]) code))

        test "a file that is not there, or is a folder, is told" (fun () ->
            inFolder (fun folder ->
                let gone = Path.Combine(folder, "gone.safetensors")
                let error = wantError (readHash gone) "missing"
                says [ gone; "checkpoint" ] error "sentence"
                Expect.equal (Error.exitCode error) 4 "missing"
                Expect.equal
                    (Error.exitCode (wantError (readHash (Path.Combine(gone, "x"))) "missing"))
                    4
                    "missing folder"
                damaged (readHash folder) "a folder"))

        test "writing replaces a file whole and leaves no other behind" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "t.safetensors")
                let names () = Directory.GetFiles folder |> Array.map Path.GetFileName

                for n in 1L .. 3L do
                    Expect.isOk (Safetensors.write path Map.empty (Map [ "n", Leaf.Int n ])) "written"
                    Expect.equal (names ()) [| "t.safetensors" |] "files"

                Expect.equal
                    (snd (Expect.wantOk (readHash path) "read"))
                    (TensorTree.hash (Map [ "n", Leaf.Int 3L ]))
                    "the last"))

        test "where nothing can be written, nothing is left and the error says where" (fun () ->
            inFolder (fun folder ->
                let blocked = Path.Combine(folder, "file")
                File.WriteAllText(blocked, "in the way")

                for path in
                    [
                        Path.Combine(blocked, "t.safetensors")
                        Path.Combine(folder, "none", "t.safetensors")
                    ] do
                    let error = wantError (Safetensors.write path Map.empty (example ())) "not writable"
                    says [ path ] error "sentence"
                    Expect.equal (Error.exitCode error) 6 "not writable"

                Directory.CreateDirectory(Path.Combine(folder, "taken.safetensors")) |> ignore
                let error =
                    wantError
                        (Safetensors.write
                            (Path.Combine(folder, "taken.safetensors"))
                            Map.empty
                            (example ()))
                        "a folder there"
                Expect.equal (Error.exitCode error) 6 "not writable"
                let names =
                    Directory.GetFileSystemEntries folder |> Array.map Path.GetFileName |> Array.sort
                Expect.equal names [| "file"; "taken.safetensors" |] "no temporary file stays"))
    ]
