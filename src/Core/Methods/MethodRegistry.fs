namespace AdvContrast.Core.Methods

open System
open AdvContrast.Core.Foundation

/// The methods by name.
[<RequireQualifiedAccess>]
module MethodRegistry =

    /// All of them: clean contrast, then the adversarial methods in the order of their papers.
    let methods = [
        SimClr.method
        MoCo.method
        Siamese.byol
        Siamese.simSiam
        RedundancyReduction.barlowTwins
        RedundancyReduction.vicReg
        Clae.plain
        Clae.spread
        Clae.method
        Clae.overPlain
        Clae.overSpread
        yield! Clae.overOthers
        yield! List.truncate 1 Rocl.methods
        Acl.standard
        Acl.adversarialToAdversarial
        Acl.adversarialToStandard
        Acl.dualStream
        AdvCl.method
        yield! AdvCl.asymmetricMethods
        yield! List.tail Rocl.methods
        DeAcl.method
        DynAcl.method
        DynAcl.plusPlus
        Rcs.method
        Air.method
        Air.dynamicMethod
        Air.plusPlus
        DeAcl.proFeAt
        DeAcl.daqSdp
        ManyCrops.method
        ManyCrops.freeMethod
        CLead.method
        RobustDistill.plain
        RobustDistill.method
        Supervised.classifier
    ]

    /// The same with the faults of the code that was published with them, where it has any:
    /// <c>"NAME:as-published"</c>.
    let asPublished = [
        Clae.overPlainAsPublished
        Acl.dualStreamAsPublished
        yield! AdvCl.asPublished
        yield! Rocl.asPublished
        DynAcl.plusPlusAsPublished
        yield! Air.asPublished
        yield! ManyCrops.asPublished
        CLead.asPublished
    ]

    // A stage of a method, and so on down.
    let rec private within (path: string list) (method: Method) =
        let stages =
            method.Before
            |> List.choose (fun stage ->
                match stage with
                | Stage.Train(name, inner) -> Some(name, inner)
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
