namespace AdvContrast.Core.Runs

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks

/// Named tensors as PyTorch keeps a network's: parameters and running statistics under one map, without
/// branches.
[<RequireQualifiedAccess>]
module StateDict =

    // How many faults of a kind are shown.
    let private shown = 3

    // Some of the faults and how many more there are.
    let private some (what: string) (faults: string list) =
        match faults with
        | [] -> None
        | _ -> Some(sprintf "%s %s" what (ShortList.text shown faults))

    /// What of a state dict does not fit the shapes that a network has under PyTorch's names, in words; none where
    /// it fits. unknown: names that are beside the network's.
    let misfits (wanted: Map<string, int64[]>) (given: Map<string, int64[]>) (unknown: string list) =
        let missing = wanted.Keys |> Seq.filter (given.ContainsKey >> not) |> List.ofSeq

        let surplus =
            unknown
            |> List.mapi (fun i name ->
                match if i < shown then Error.nearest name missing else None with
                | Some near -> sprintf "'%s' (did you mean '%s'?)" name near
                | None -> sprintf "'%s'" name)

        let misshapen = [
            for KeyValue(name, shape) in wanted do
                match Map.tryFind name given with
                | Some other when other <> shape ->
                    let text (shape: int64[]) = String.Join("; ", shape)
                    sprintf "'%s' as [%s] for [%s]" name (text other) (text shape)
                | _ -> ()
        ]

        [
            some "it lacks" (missing |> List.map (sprintf "'%s'"))
            some "it has the unknown" surplus
            some "it has" misshapen
        ]
        |> List.choose id

    let private problemOf (name: string) (x: Tensor) =
        let count (where: Tensor) = where.sum().item<int64>()
        let values n = if n = 1L then "1 value that is" else sprintf "%d values that are" n

        match count (x.isfinite().logical_not()) with
        | 0L when name.EndsWith("running_var", StringComparison.Ordinal) ->
            match count (x.lt (0.0.ToScalar())) with
            | 0L -> None
            | n -> Some(sprintf "'%s' holds %s negative" name (values n))
        | 0L -> None
        | n -> Some(sprintf "'%s' holds %s not finite" name (values n))

    /// The weights and statistics that no network can have: values that are not finite, variances below zero.
    /// A sentence that names the places; None where there are none.
    let unsound (tensors: (string * Tensor) seq) : string option =
        Scope.value (fun () ->
            [
                for name, x in tensors do
                    match problemOf (Branch.stem name) x with
                    | Some problem -> problem
                    | None -> ()
            ]
            // Branches may share a value.
            |> List.distinct
            |> some "its weights cannot be right:"
            |> Option.map (sprintf "%s."))

    /// The same check of a network's weights.
    let check path (parameters: Parameters, buffers: Buffers) : Result<unit, Error> =
        match unsound (Seq.append (Map.toSeq parameters) (Map.toSeq buffers)) with
        | None -> Ok()
        | Some problem -> Error(Error.Damaged(path, problem))

    /// A network's parameters and buffers out of a state dict under PyTorch's names, without branches: copies, in
    /// every branch the same, in the state dict's own type. num_batches_tracked is passed over. path is for the
    /// error, which says what is missing, unknown or of another shape.
    let fit path (network: Network) (tensors: Map<string, Tensor>) : Result<Parameters * Buffers, Error> =
        let all (weights: Result<Parameters * Buffers, Error>) =
            match weights with
            | Ok(parameters, buffers) -> Seq.append (Map.values parameters) (Map.values buffers)
            | Error _ -> Seq.empty

        Scope.keeping all (fun () ->
            let given = tensors |> Map.filter (fun name _ -> not (name.EndsWith "num_batches_tracked"))
            let parameters, buffers = network.Init(Rng.create 0UL "init" [||])

            let wanted =
                Seq.append (Map.toSeq parameters) (Map.toSeq buffers)
                |> Seq.map (fun (name, x) -> Branch.stem name, x.shape)
                |> Map.ofSeq

            let unknown = given.Keys |> Seq.filter (wanted.ContainsKey >> not) |> List.ofSeq

            match misfits wanted (given |> Map.map (fun _ x -> x.shape)) unknown with
            | [] ->
                let take (fresh: Map<string, Tensor>) =
                    fresh |> Map.map (fun name _ -> given[Branch.stem name].detach().clone())

                let weights = take parameters, take buffers
                check path weights |> Result.map (fun () -> weights)
            | faults ->
                let faults = String.concat "; " faults
                Error(Error.Damaged(path, sprintf "it does not fit %s: %s." network.Text faults)))
