namespace AdvContrast.Core

open System
open TorchSharp

/// Named tensors as PyTorch keeps a network's: parameters and running statistics under one map, without
/// branches.
[<RequireQualifiedAccess>]
module StateDict =

    // What state dicts hold that no pass uses: counts of batches, and a second first group in TRADES' code.
    let private idle (name: string) =
        name.EndsWith("num_batches_tracked", StringComparison.Ordinal)
        || name.StartsWith("sub_block1.", StringComparison.Ordinal)

    // DataParallel puts a name of its own in front.
    let internal plain (tensors: Map<string, Tensor>) =
        let prefix = "module."
        let starts (name: string) = name.StartsWith(prefix, StringComparison.Ordinal)

        if Map.forall (fun name _ -> starts name) tensors then
            tensors |> Map.toSeq |> Seq.map (fun (name, x) -> name.Substring prefix.Length, x) |> Map.ofSeq
        else
            tensors

    // Some of the faults and how many more there are.
    let private some (what: string) (faults: string list) =
        match faults with
        | [] -> None
        | _ ->
            let more = if faults.Length > 3 then sprintf " and %d more" (faults.Length - 3) else ""
            Some(sprintf "%s %s%s" what (faults |> List.truncate 3 |> String.concat ", ") more)

    // What of a state dict does not fit the shapes that a network has under PyTorch's names.
    let private misfits (wanted: Map<string, int64[]>) (given: Map<string, Tensor>) =
        let missing = wanted.Keys |> Seq.filter (given.ContainsKey >> not) |> List.ofSeq

        let surplus = [
            for name in Seq.filter (wanted.ContainsKey >> not) given.Keys do
                match Error.nearest name missing with
                | Some near -> sprintf "'%s' (did you mean '%s'?)" name near
                | None -> sprintf "'%s'" name
        ]

        let misshapen = [
            for KeyValue(name, shape) in wanted do
                match Map.tryFind name given with
                | Some x when x.shape <> shape ->
                    sprintf "'%s' as %s for [%s]" name (Shape.text x) (String.Join("; ", shape))
                | _ -> ()
        ]

        [
            some "it lacks" (missing |> List.map (sprintf "'%s'"))
            some "it has the unknown" surplus
            some "it has" misshapen
        ]
        |> List.choose id

    /// A network's parameters and buffers out of a state dict under PyTorch's names, without branches:
    /// copies, in every branch the same, in the state dict's own type. num_batches_tracked and DataParallel's
    /// <c>"module."</c> are passed over. path is for the error, which says what is missing, unknown or of
    /// another shape.
    let fit path (network: Network) (tensors: Map<string, Tensor>) : Result<Parameters * Buffers, Error> =
        let all (weights: Result<Parameters * Buffers, Error>) =
            match weights with
            | Ok(parameters, buffers) -> Seq.append (Map.values parameters) (Map.values buffers)
            | Error _ -> Seq.empty

        Scope.keeping all (fun () ->
            let given = plain tensors |> Map.filter (fun name _ -> not (idle name))
            let parameters, buffers = network.Init(Draw.create 0UL "init" [||])

            let wanted =
                Seq.append (Map.toSeq parameters) (Map.toSeq buffers)
                |> Seq.map (fun (name, x) -> Branch.stem name, x.shape)
                |> Map.ofSeq

            match misfits wanted given with
            | [] ->
                let take (fresh: Map<string, Tensor>) =
                    fresh |> Map.map (fun name _ -> given[Branch.stem name].detach().clone())

                Ok(take parameters, take buffers)
            | faults ->
                let faults = String.concat "; " faults
                Error(Error.Damaged(path, sprintf "it does not fit %s: %s." network.Text faults)))
