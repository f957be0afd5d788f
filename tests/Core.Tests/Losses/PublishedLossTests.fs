/// The kernel's losses against values of the code that was published with the papers: as the formulas have
/// them, and with the faults of that code.
module Tests.Losses.PublishedLossTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open AdvContrast.Core.Audit
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws
open Support

let private hyper name (case: GoldenValues.Case) = GoldenValues.real [ "hyper"; name ] case
let private t case = hyper "T" case

/// A loss of named inputs: in its right form, and as published.
type private Published = {
    What: string
    Inputs: string list
    Right: GoldenValues.Case -> Tensor list -> Tensor
    AsPublished: GoldenValues.Case -> Tensor list -> Tensor
    /// Hard negatives with one fault switched on.
    With: (GoldenValues.Case -> HardNegatives -> Tensor list -> Tensor) option
}

let private right what inputs loss = {
    What = what
    Inputs = inputs
    Right = loss
    AsPublished = loss
    With = None
}

// --- hard negatives and their slips

let private hard case = HardNegatives.create (hyper "beta" case) (hyper "tau" case)

let private byColumn h = { h with MeansByColumn = true }
let private ofPositive h = { h with DenominatorOfPositive = true }

// The temperature is a literal 1/2 there.
let private literalFloor h = { h with Floor = Some(-1.0 / 0.5) }

// And the floor of exponentials that were divided by exp(1/T) is not.
let private shiftedFloor case h = { h with Floor = Some(-1.0 / 0.5 + 1.0 / t case) }

let private fault case name =
    match name with
    | "floor t=0.5" -> literalFloor
    | "published floor" -> shiftedFloor case
    | "division by the mean weight of the column's row" -> byColumn
    | "denominator of the positive" -> ofPositive
    | other -> failtestf "a fault that no test knows: %s" other

// --- two views

let private ofPair similarity denominator = InfoNce.ofViews similarity denominator [ 0, 1, 1.0; 1, 0, 1.0 ]

let private ntXent case (z: Tensor list) = InfoNce.ntXent (t case) z[0] z[1]

let private twoAttacks case (z: Tensor list) =
    (InfoNce.oneSided (t case) z[0] z[1] + InfoNce.oneSided (t case) z[0] z[2]) * 0.5

// --- RoCL and what A-InfoNCE makes of it

let private guarded case = { Similarity.anchored (t case) with Guard = 1e-8 }

let private rocl similarity denominator inferior (z: Tensor list) =
    RoclLoss.loss similarity denominator inferior z[0] z[1] z[2]

let private inferior case = { Pull = hyper "alpha" case; Weight = hyper "w" case }

let private roclForm what inferior = {
    What = what
    Inputs = [ "t1"; "t2"; "a" ]
    Right = fun case -> rocl (Similarity.anchored (t case)) AllOthers (inferior case)
    AsPublished = fun case -> rocl (guarded case) AllOthers (inferior case)
    With = None
}

let private hardRocl what inferior =
    let form similarity case h = rocl (similarity case) (Hard h) (inferior case)

    {
        What = what
        Inputs = [ "t1"; "t2"; "a" ]
        Right = fun case -> form (t >> Similarity.anchored) case (hard case)
        AsPublished = fun case -> form guarded case (hard case |> byColumn |> literalFloor)
        With = Some(form (t >> Similarity.anchored))
    }

// --- AdvCL and what A-InfoNCE makes of it

let private advCl form case denominator = form (hyper "Tb" case) (Similarity.cosine (t case)) denominator

let private symmetric case = advCl (fun b -> AdvClLoss.symmetric b (hyper "w" case)) case
let private overwritten case = advCl (fun b -> AdvClLoss.overwritten b (hyper "w" case)) case
let private asymmetric case = advCl (fun b -> AdvClLoss.asymmetric b (inferior case)) case

let private views = [ "a"; "t1"; "t2"; "h" ]

let private hardAdvCl what form asPublished = {
    What = what
    Inputs = views
    Right = fun case -> form case (Hard(hard case))
    AsPublished =
        fun case -> asPublished case (Hard(hard case |> byColumn |> ofPositive |> shiftedFloor case))
    With = Some(fun case h -> form case (Hard h))
}

// --- ACL's two streams

let private dualStream (z: Tensor list) =
    let output pass view =
        let place =
            List.findIndex ((=) (pass, view)) [ "clean", "v1"; "clean", "v2"; "adv", "a1"; "adv", "a2" ]
        { Features = z[place]; Embedding = z[place]; Heads = Map.empty }

    Acl.dualStream.Step.Loss {
        Progress = Progress.start 1 1
        Memory = Map.empty
        Ids = [||]
        Labels = fun _ -> raise UnlabelledException
        Output = output
        Gather = fun z -> z.alias ()
    }

let private all = [
    {
        right "ntxent.acl" [ "x1"; "x2" ] ntXent with
            AsPublished = fun case -> ofPair (Similarity.cosine (t case)) AllLessConstant
    }
    right "ntxent.clae" [ "x1"; "x2" ] ntXent
    right "clead.one-sided" [ "anchor"; "perturbed" ] (fun case z -> InfoNce.oneSided (t case) z[0] z[1])
    right "clead.two-attacks" [ "anchor"; "pgd"; "cw" ] twoAttacks
    right "acl.ds" [ "nor1"; "nor2"; "adv1"; "adv2" ] (fun _ -> dualStream)
    {
        right "rocl.pair" [ "x1"; "x2" ] (fun case z -> RoclLoss.pair (Similarity.cosine (t case)) z[0] z[1]) with
            AsPublished = fun case -> ofPair (guarded case) AllOthers
    }
    roclForm "rocl.base" (fun _ -> RoclLoss.plain)
    roclForm "ainfonce.rocl.ip" inferior
    hardRocl "ainfonce.rocl.hn" (fun _ -> RoclLoss.plain)
    hardRocl "ainfonce.rocl.ip-hn" inferior
    right "advcl.base" views (fun case -> advCl (fun b -> AdvClLoss.symmetric b 1.0) case AllOthers)
    {
        right "ainfonce.advcl.no-ip" views (fun case -> symmetric case AllOthers) with
            AsPublished = fun case -> overwritten case AllOthers
    }
    right "ainfonce.advcl.ip" views (fun case -> asymmetric case AllOthers)
    hardAdvCl "ainfonce.advcl.hn" symmetric overwritten
    hardAdvCl "ainfonce.advcl.ip-hn" asymmetric asymmetric
]

let private casesOf published =
    let cases = GoldenValues.ofLosses ("loss " + published.What)
    if cases.IsEmpty then failtestf "no case of %s" published.What
    cases

[<Tests>]
let tests =
    testList "Losses.PublishedLoss" [
        for published in all do
            for case in casesOf published do
                let name = GoldenValues.text [ "id" ] case

                if GoldenValues.has "correct" case then
                    test (name + ": the right form") (fun () ->
                        agrees
                            case
                            (GoldenValues.at [ "correct" ] case)
                            published.Inputs
                            (published.Right case))

                if GoldenValues.has "published" case then
                    test (name + ": as published") (fun () ->
                        agrees
                            case
                            (GoldenValues.at [ "published" ] case)
                            published.Inputs
                            (published.AsPublished case))

                if GoldenValues.has "correct_value_with" case then
                    for faulty in (GoldenValues.at [ "correct_value_with" ] case).EnumerateObject() do
                        test (sprintf "%s: right but for one fault, %s" name faulty.Name) (fun () ->
                            let h = fault case faulty.Name (hard case)
                            let inputs = [
                                for name in published.Inputs -> GoldenValues.array [ "inputs"; name ] case
                            ]
                            let value = published.With.Value case h inputs
                            close
                                (GoldenValues.real [ "tolerance" ] case)
                                [| number value |]
                                [| faulty.Value.GetDouble() |]
                                "value")
    ]
