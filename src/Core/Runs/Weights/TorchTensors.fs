namespace AdvContrast.Core.Runs

open System
open System.Collections.Generic
open System.IO
open System.IO.Compression
open System.Text
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods

/// The tensors that a pickle of torch.save describes: views of storages, which lie elsewhere in the file.
[<RequireQualifiedAccess>]
module TorchTensors =

    let private invalid text = raise (InvalidDataException text)

    let types =
        Map [
            "Double", torch.float64
            "Float", torch.float32
            "Half", torch.float16
            "BFloat16", torch.bfloat16
            "Long", torch.int64
            "Int", torch.int32
            "Short", torch.int16
            "Char", torch.int8
            "Byte", torch.uint8
            "Bool", torch.``bool``
        ]

    // torch.float32 as newer pickles name a type.
    let private named =
        Map [
            "float64", "Double"
            "float32", "Float"
            "float16", "Half"
            "bfloat16", "BFloat16"
            "int64", "Long"
            "int32", "Int"
            "int16", "Short"
            "int8", "Char"
            "uint8", "Byte"
            "bool", "Bool"
        ]

    let width (dtype: torch.ScalarType) =
        match dtype with
        | torch.ScalarType.Float64
        | torch.ScalarType.Int64 -> 8L
        | torch.ScalarType.Float32
        | torch.ScalarType.Int32 -> 4L
        | torch.ScalarType.Float16
        | torch.ScalarType.BFloat16
        | torch.ScalarType.Int16 -> 2L
        | _ -> 1L

    // The values behind one or more tensors, by key.
    [<NoComparison>]
    type Storage = {
        Key: string
        /// FloatStorage without its ending; Untyped where the tensor names the type.
        Type: string
        /// Elements; bytes where it is untyped.
        Count: int64
    }

    // The number of bytes of a storage, and a way to read them from a stream that is at the first.
    type Storages = string -> int64 * ((Stream -> Tensor) -> Tensor)

    let (|Storage|_|) (value: Pickled) =
        match value with
        | Persistent id ->
            match Pickled.items id with
            | Text "storage" :: Global(_, kind) :: key :: _ :: Int count :: view ->
                match view with
                | []
                | [ Nothing ] -> ()
                | _ -> invalid "a storage of it is a view of another; save it again with a newer PyTorch."

                let key =
                    match key with
                    | Text key -> key
                    | Int key -> string key
                    | _ -> invalid "a storage of it has no name."

                Some { Key = key; Type = kind.Replace("Storage", ""); Count = count }
            | _ -> None
        | _ -> None

    let private whole value =
        match value with
        | Int value -> value
        | _ -> invalid "a size in it is not a number."

    // A tensor of a storage. path: its name, for errors.
    let private tensor (storages: Storages) path storage offset sizes strides typeName : StoredTensor =
        let shape = [| for size in Pickled.items sizes -> whole size |]
        let strides = [| for stride in Pickled.items strides -> whole stride |]
        let dtype = Map.tryFind typeName types

        let read () =
            let fail problem = invalid (sprintf "'%s' %s." path problem)

            match dtype with
            | None -> fail (sprintf "has the type %s, which is not read" typeName)
            | Some dtype ->
                let (bytes, withStream), count = storages storage.Key, StoredTensor.count shape
                let elements = bytes / width dtype

                if storage.Count <> (if storage.Type = "Untyped" then bytes else elements) then
                    fail "has another number of bytes than its type says"

                if strides.Length <> shape.Length || shape.Length > 16 then fail "has sizes without strides"

                if offset < 0L || Array.exists (fun stride -> stride < 0L) strides then
                    fail "lies before its storage"

                let last =
                    Array.fold2
                        (fun at size stride -> Checked.(+) at (Checked.(*) (size - 1L) stride))
                        offset
                        shape
                        strides

                // More elements than the storage has are one value that repeats: no weights.
                if count > elements || (count > 0L && last >= elements) then fail "lies beyond its storage"

                Scope.tensor (fun () ->
                    let flat = withStream (StoredTensor.fromStream dtype [| elements |])
                    flat.as_strided(shape, strides, offset).clone())

        { Shape = shape; Type = typeName; DType = dtype; Read = read }

    // A tensor of a kind that is not read.
    let private unread path kind = {
        Shape = [||]
        Type = kind
        DType = None
        Read = fun () -> invalid (sprintf "'%s' is a %s, which is not read." path kind)
    }

    // A tensor, where a value is one or wraps one.
    let rec private unwrap levels (storages: Storages) path (value: Pickled) : StoredTensor option =
        match value with
        | Call(Global("torch._utils", name), arguments, _) ->
            match name, Pickled.items arguments with
            | ("_rebuild_tensor" | "_rebuild_tensor_v2"),
              Storage storage :: Int offset :: sizes :: strides :: _ ->
                Some(tensor storages path storage offset sizes strides storage.Type)
            | "_rebuild_tensor_v3",
              Storage storage :: Int offset :: sizes :: strides :: _ :: _ :: Global(_, dtype) :: _ ->
                let typeName = Map.tryFind dtype named |> Option.defaultValue dtype
                Some(tensor storages path storage offset sizes strides typeName)
            | ("_rebuild_parameter" | "_rebuild_parameter_with_state"), data :: _ when levels > 0 ->
                unwrap (levels - 1) storages path data
            // Quantized, sparse and other tensors.
            | kind, _ when kind.StartsWith "_rebuild_" ->
                Some(unread path (kind.Substring "_rebuild_".Length))
            | _ -> None
        | Call(Global("torch._tensor", "_rebuild_from_type_v2"), arguments, _) ->
            match Pickled.items arguments with
            | callee :: _ :: arguments :: _ when levels > 0 ->
                unwrap (levels - 1) storages path (Call(callee, arguments, ResizeArray()))
            | _ -> None
        | _ -> None

    // A parameter holds its tensor, a tensor with attributes another call; a value may hold itself.
    let private tryTensor storages path value = unwrap 4 storages path value

    // Dictionaries within dictionaries that a checkpoint of weights has at most.
    let private deepest = 8

    // The tensors of nested dictionaries, their names joined by dots. Each dictionary is visited once.
    let private tensors storages (root: Pickled) : Map<string, StoredTensor> =
        let seen = HashSet<Pickled>()

        let rec collect depth prefix value = [
            if depth < deepest && seen.Add value then
                for key, value in Pickled.entries value do
                    let name =
                        match key with
                        | Text key -> prefix + key
                        | Int key -> prefix + string key
                        | _ -> prefix + "?"

                    match tryTensor storages name value with
                    | Some tensor -> name, tensor
                    | None -> yield! collect (depth + 1) (name + ".") value
        ]

        Map.ofList (collect 0 "" root)

    let stateOf storages (root: Pickled) =
        let found = tensors storages root

        match root with
        | _ when not found.IsEmpty -> found
        | _ when (tryTensor storages "" root).IsSome ->
            invalid "it holds one tensor without a name, no state dict."
        | Call(Global(modul, name), _, _) ->
            invalid (
                sprintf
                    "it holds a whole model, an object of '%s.%s', and no state dict; save model.state_dict() instead."
                    modul
                    name
            )
        | _ -> invalid "it holds no state dict: no tensors under names."
