/// The reference values under Golden: computed with the code that was published with the papers, and with
/// PyTorch by the scripts beside them.
module Support.GoldenValues

open System
open System.IO
open System.Text.Json
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open Support.Arrays

type Case = JsonElement

let private cases file =
    lazy
        (let path = Path.Combine(AppContext.BaseDirectory, "Golden", file)
         use json = JsonDocument.Parse(File.ReadAllText path)
         json.RootElement.Clone())

let private losses = cases "losses.json"
let private attacks = cases "attacks.json"

/// PyTorch's networks, and its optimisers and schedulers.
let networks = cases "networks.json"
let optimisers = cases "optimisers.json"

let private all (file: Lazy<JsonElement>) = List.ofSeq (file.Value.GetProperty("cases").EnumerateArray())

/// The element that a path of keys leads to.
let rec at (keys: string list) (case: Case) : Case =
    match keys with
    | [] -> case
    | key :: rest -> at rest (case.GetProperty key)

/// The parts of an object, by name.
let parts keys (case: Case) = [ for part in (at keys case).EnumerateObject() -> part.Name, part.Value ]

let has (key: string) (case: Case) = fst (case.TryGetProperty key)
let text keys case = (at keys case).GetString()
let real keys case = (at keys case).GetDouble()
let whole keys case = (at keys case).GetInt32()
let truth keys case = (at keys case).GetBoolean()

let rec private shape (x: Case) =
    if x.ValueKind = JsonValueKind.Array then x.GetArrayLength() :: shape x[0] else []

let rec private flatten (x: Case) : float seq =
    if x.ValueKind = JsonValueKind.Array then
        Seq.collect flatten (x.EnumerateArray())
    else
        Seq.singleton (x.GetDouble())

/// The numbers of nested lists, row-major.
let values keys case = at keys case |> flatten |> Array.ofSeq

/// Nested lists as a float64 tensor of their shape.
let array keys case = tensor (shape (at keys case)) (values keys case)

let indices keys case : Tensor = torch.tensor (values keys case |> Array.map int64)

/// What a case is of: its kind and, where it has one, its name.
let subject (case: Case) =
    let kind = text [ "kind" ] case

    match case.TryGetProperty kind with
    | true, name when name.ValueKind = JsonValueKind.String -> kind + " " + name.GetString()
    | _ -> kind

/// Cases of the losses' file, and of the attacks'.
let ofLosses what = all losses |> List.filter (fun case -> subject case = what)
let ofAttacks what = all attacks |> List.filter (fun case -> subject case = what)

/// All that the two files hold.
let subjects () = all losses @ all attacks |> List.map subject |> List.distinct |> List.sort

/// The right value of a loss: the published one but where that is at fault.
let right (case: Case) = if has "correct" case then at [ "correct" ] case else at [ "published" ] case

let norm (case: Case) =
    match text [ "params"; "norm" ] case with
    | "Linf" -> Linf
    | "L2" -> L2
    | _ -> L1

/// The classifier of a case of the attacks' file, in float64.
let classifier (case: Case) : Classifier =
    let layers = [
        for layer in (at [ "models"; text [ "model" ] case; "layers" ] attacks.Value).EnumerateArray() ->
            match text [ "type" ] layer with
            | "flatten" -> fun (x: Tensor) -> x.reshape ([| x.shape[0]; -1L |])
            | "relu" -> fun x -> x.relu ()
            | "tanh" -> fun x -> x.tanh ()
            | "linear" ->
                let weight, bias = array [ "weight" ] layer, array [ "bias" ] layer
                fun x -> torch.nn.functional.linear (x, weight, bias)
            | _ ->
                let weight, bias = array [ "weight" ] layer, array [ "bias" ] layer
                let pair key = Array.create 2 (int64 (whole [ key ] layer))
                fun x -> torch.nn.functional.conv2d (x, weight, bias, pair "stride", pair "padding")
    ]

    fun x -> Scope.tensor (fun () -> layers |> List.fold (fun x layer -> layer x) x)
