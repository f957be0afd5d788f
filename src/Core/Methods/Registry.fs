namespace AdvContrast.Core

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

    /// A method by name, whatever its case.
    let find (name: string) =
        methods
        |> List.tryFind (fun m -> m.Name = name.ToLowerInvariant())
        |> Option.map Ok
        |> Option.defaultValue (Result.Error(Error.UnknownName("method", name, methods |> List.map _.Name)))
