namespace AdvContrast.Core

open System

/// The methods by name.
[<RequireQualifiedAccess>]
module Registry =

    /// All of them, in the order of their papers.
    let methods = [
        SimClr.method
        Acl.standard
        Acl.adversarialToAdversarial
        Acl.adversarialToStandard
        Acl.dualStream
    ]

    /// The same with the faults of the code that was published with them, where it has any:
    /// <c>"NAME:as-published"</c>.
    let asPublished: Method list = []

    // A stage of a method, and so on down.
    let rec private within (path: string list) (method: Method) =
        let stages =
            method.Before
            |> List.choose (fun stage ->
                match stage with
                | Fit(name, inner) -> Some(name, inner)
                | _ -> None)

        match path with
        | [] -> Ok method
        | name :: rest ->
            match List.tryFind (fst >> (=) name) stages with
            | Some(_, inner) -> within rest { inner with Name = method.Name + "/" + name }
            | None -> Error(Error.UnknownName("stage", name, List.map fst stages))

    /// A method by name, whatever its case; <c>"NAME/STAGE"</c> is one that it trains first.
    let find (name: string) =
        let path = name.ToLowerInvariant().Split '/' |> List.ofArray
        let all = methods @ asPublished

        all
        |> List.tryFind (fun m -> m.Name = path.Head)
        |> Option.map (within path.Tail)
        |> Option.defaultWith (fun () -> Error(Error.UnknownName("method", name, all |> List.map _.Name)))
