namespace AdvContrast.Core.Foundation

open System
open System.IO
open System.Reflection
open System.Text.Json
open System.Text.Json.Nodes
open System.Text.Json.Serialization
open FSharp.Reflection
open FsToolkit.ErrorHandling

/// JSON of records, options, lists, maps and unions, with camelCase field names. A field that is null is treated
/// as absent, and None is not written. Floats are written with all their digits; NaN and infinities as strings.
[<RequireQualifiedAccess>]
module internal JsonText =

    let private options =
        let options =
            JsonSerializerOptions(
                WriteIndented = true,
                PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
                NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals
            )

        options.Converters.Add(JsonFSharpConverter())
        options

    let rec private dropNulls (node: JsonNode) =
        match node with
        | :? JsonObject as fields ->
            let absent = [ for item in fields -> item ] |> List.filter (fun item -> isNull item.Value)

            for item in absent do
                fields.Remove item.Key |> ignore

            for KeyValue(_, value) in fields do
                dropNulls value
        | :? JsonArray as items -> Seq.iter dropNulls items
        | _ -> ()

    /// The JSON text of a value.
    let write (value: 'value) : string =
        let node = JsonSerializer.SerializeToNode(value, options)
        dropNulls node
        node.ToJsonString options

    /// Writes the JSON text of a value to a file, whole or not at all.
    let save (path: string) (value: 'value) : Result<unit, Error> =
        try
            File.WriteAllText(path + ".part", write value)
            File.Move(path + ".part", path, true)
            Ok()
        with
        | :? IOException
        | :? UnauthorizedAccessException as e -> Error(Error.NotWritable(path, e.Message))

    /// How a document is read: a name that is given twice is an error.
    let strict = JsonDocumentOptions(AllowDuplicateProperties = false)

    /// What is wrong with a text that is not JSON, without the serializer's count of lines and bytes.
    let problem (e: JsonException) = (e.Message.Split " LineNumber")[0]

    let private parse (text: string) (read: JsonNode -> Result<'value, string>) =
        try
            let node = JsonNode.Parse(text, documentOptions = strict)
            dropNulls node
            read node
        with
        | :? JsonException as e -> Error(problem e)
        // An escape that is not Unicode.
        | :? InvalidOperationException as e -> Error e.Message

    /// A value from its JSON text; None where the text is not JSON, is null or is of another type. Fields that
    /// the type does not have are ignored.
    let tryRead<'value> (text: string) : 'value option =
        parse text (fun node -> Ok(if isNull node then None else Some(node.Deserialize<'value> options)))
        |> Result.defaultValue None

    let private fieldsOf<'record> = [
        for field in FSharpType.GetRecordFields(typeof<'record>, true) ->
            JsonNamingPolicy.CamelCase.ConvertName field.Name, field
    ]

    /// The values of a record's fields by their names in JSON.
    let fields (record: 'record) : Map<string, obj> =
        Map.ofList [ for name, field in fieldsOf<'record> -> name, field.GetValue record ]

    let private isOption (kind: Type) =
        kind.IsGenericType && kind.GetGenericTypeDefinition() = typedefof<option<_>>

    // The serializer's own messages name .NET types and, inside converters, no field.
    let private valueOf (defaults: Map<string, obj>) (given: JsonObject) (name: string, field: PropertyInfo) =
        let kind = field.PropertyType

        match given[name], Map.tryFind name defaults with
        | null, Some value -> Ok value
        | null, None when isOption kind -> Ok null
        | null, None -> Error(sprintf "it has no '%s'." name)
        | node, _ ->
            try
                Ok(node.Deserialize(kind, options))
            with :? JsonException ->
                let text = node.ToJsonString()
                let shown = if text.Length > 40 then text.Substring(0, 40) + "..." else text
                Error(sprintf "its '%s' cannot be %s." name shown)

    /// A record from its JSON text, or a sentence that names the field at fault: one of another type, one that
    /// the record does not have, one that is given twice, or one that is missing, has no default and is not
    /// an option.
    let record<'record> (defaults: Map<string, obj>) (text: string) : Result<'record, string> =
        let names = List.map fst fieldsOf<'record>

        let foreign (given: JsonObject) =
            given |> Seq.map _.Key |> Seq.tryFind (fun name -> not (List.contains name names))

        let create (given: JsonObject) =
            fieldsOf<'record>
            |> List.traverseResultM (valueOf defaults given)
            |> Result.map (fun values ->
                FSharpValue.MakeRecord(typeof<'record>, Array.ofList values, true) :?> 'record)

        parse text (fun node ->
            match node with
            | :? JsonObject as given ->
                match foreign given with
                | None -> create given
                | Some name ->
                    let guess = Error.nearest name names |> Option.map (sprintf "; did you mean '%s'?")
                    Error(sprintf "'%s' is not one of its fields%s" name (Option.defaultValue "." guess))
            | _ -> Error "it is not an object.")
