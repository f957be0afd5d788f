/// What the contrastive losses refuse: programming faults, and embeddings of a network that collapsed.
module Tests.Losses.ContrastiveErrorTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws

let private cosine = Similarity.cosine 0.5

type private Form = {
    Name: string
    Views: int
    /// Names of its arguments, a view each.
    Arguments: string list
    Loss: Tensor list -> Tensor
}

let private form name arguments loss = {
    Name = name
    Views = List.length arguments
    Arguments = arguments
    Loss = loss
}

let private forms = [
    form "NT-Xent" [ "view1"; "view2" ] (fun z -> InfoNce.ntXent 0.5 z[0] z[1])
    form "one-sided" [ "anchors"; "partners" ] (fun z -> InfoNce.oneSided 0.5 z[0] z[1])
    form "N-pair" [ "anchors"; "positives" ] (fun z -> NPair.loss 0.5 z[0] z[1])
    form "RoCL of two views" [ "views"; "views" ] (fun z -> RoclLoss.pair cosine z[0] z[1])
    form "RoCL" [ "views"; "views"; "views" ] (fun z ->
        RoclLoss.loss cosine AllOthers RoclLoss.plain z[0] z[1] z[2])
    form "AdvCL, symmetric" [ "views"; "views"; "views" ] (AdvClLoss.symmetric 0.07 1.0 cosine AllOthers)
    form "AdvCL, overwritten" [ "views"; "views"; "views" ] (AdvClLoss.overwritten 0.07 1.0 cosine AllOthers)
    form
        "AdvCL, asymmetric"
        [ "views"; "views"; "views" ]
        (AdvClLoss.asymmetric 0.07 RoclLoss.plain cosine AllOthers)
    form "hard negatives" [ "views"; "views" ] (fun z ->
        InfoNce.ofViews cosine (Hard(HardNegatives.create 1.0 0.1)) [ 0, 1, 1.0 ] z)
]

let private good () = matrix [| [| 1.0; 2.0; 0.5 |]; [| -1.0; 0.5; 3.0 |]; [| 0.2; -2.0; 1.0 |] |]

// A good view with one row replaced.
let private spoilt row (values: float[]) =
    let z = rows (good ())
    z[row] <- values
    matrix z

let private collapsed parts (call: unit -> unit) message =
    Expect.throwsT<EmbeddingException> call message
    refuses parts call message

// An ordinary refusal, that no run takes for a network that diverged.
let private faulty parts (call: unit -> unit) message =
    refuses parts call message
    Expect.throwsC call (fun e -> Expect.isFalse (e :? EmbeddingException) message)

let private refusals form =
    let calling (place: int) (view: Tensor) () =
        form.Loss [ for k in 0 .. form.Views - 1 -> if k = place then view else good () ] |> ignore

    let everywhere view () = form.Loss(List.replicate form.Views view) |> ignore

    testList form.Name [
        for place, argument in List.indexed form.Arguments do
            test (sprintf "view %d" (place + 1)) (fun () ->
                let calling = calling place
                collapsed [ argument; "row 1"; "length 0" ] (calling (spoilt 1 [| 0.0; 0.0; 0.0 |])) "nought"
                collapsed [ argument; "row 2"; "not finite" ] (calling (spoilt 2 [| 0.0; nan; 1.0 |])) "NaN"
                collapsed
                    [ argument; "row 0"; "not finite" ]
                    (calling (spoilt 0 [| -infinity; 0.0; 1.0 |]))
                    "infinity"
                faulty [ "[3; 2]"; "[3; 3]" ] (calling (good().narrow(1L, 0L, 2L))) "narrower"
                faulty [ "[2; 3]"; "[3; 3]" ] (calling (good().narrow(0L, 0L, 2L))) "fewer images")

        test "all views" (fun () ->
            faulty [ "[n; d]"; "[9]" ] (everywhere (good().reshape 9L)) "rank"
            faulty [ "[n; d]" ] (everywhere (good().unsqueeze 0L)) "a rank more"
            faulty [ "2 rows"; "[1; 3]" ] (everywhere (good().narrow(0L, 0L, 1L))) "one image"
            faulty [ "2 rows"; "[0; 3]" ] (everywhere (good().narrow(0L, 0L, 0L))) "no image"
            faulty [ "1 column"; "[3; 0]" ] (everywhere (good().narrow(1L, 0L, 0L))) "no column"
            faulty [ "floating point"; "Int64" ] (everywhere (good().``to`` torch.int64)) "whole numbers")
    ]

[<Tests>]
let tests =
    testList "Losses.ContrastiveError" [
        yield! List.map refusals forms

        testTheory "temperatures" [ 0.0; -0.5; nan; infinity ] (fun t ->
            for name, call in
                [
                    "cosine", (fun () -> Similarity.cosine t |> ignore)
                    "anchored", (fun () -> Similarity.anchored t |> ignore)
                    "NT-Xent", (fun () -> InfoNce.ntXent t (good ()) (good ()) |> ignore)
                    "one-sided", (fun () -> InfoNce.oneSided t (good ()) (good ()) |> ignore)
                    "N-pair", (fun () -> NPair.loss t (good ()) (good ()) |> ignore)
                    "RoCL", (fun () -> RoclLoss.pair (Similarity.cosine t) (good ()) (good ()) |> ignore)
                ] do
                balanced (fun () -> faulty [ "temperature" ] call name)

            for form in
                [
                    AdvClLoss.symmetric t 1.0
                    AdvClLoss.overwritten t 1.0
                    AdvClLoss.asymmetric t RoclLoss.plain
                ] do
                balanced (fun () ->
                    let call () = form cosine AllOthers [ good (); good () ] |> ignore
                    faulty [ "baseTemperature" ] call "AdvCL's"))

        test "fewer than two views" (fun () ->
            for views in [ []; [ good () ] ] do
                for name, loss in
                    [
                        "the kernel", InfoNce.ofViews cosine AllOthers []
                        "symmetric", AdvClLoss.symmetric 0.07 1.0 cosine AllOthers
                        "overwritten", AdvClLoss.overwritten 0.07 1.0 cosine AllOthers
                        "asymmetric", AdvClLoss.asymmetric 0.07 RoclLoss.plain cosine AllOthers
                    ] do
                    let count = sprintf "got %d" views.Length
                    faulty [ "views"; "two views or more"; count ] (fun () -> loss views |> ignore) name)

        test "pairs that do not fit" (fun () ->
            let z, wider = good (), matrix ((Source 1).Rows(3, 4))
            let pairs = Pairs.aligned (torch.device "cpu") 3L 0L
            let one = Pairs.aligned (torch.device "cpu") 1L 0L
            let contrast = { Similarity = cosine; Denominator = AllOthers; SelfIncluded = false }

            for kernel in [ InfoNce.loss; InfoNce.terms ] do
                let kernel contrast pairs anchors candidates () =
                    kernel contrast pairs anchors candidates |> ignore

                faulty [ "anchors"; "[n; d]" ] (kernel contrast pairs (z.flatten ()) z) "rank of the anchors"
                faulty
                    [ "candidates"; "[n; d]" ]
                    (kernel contrast pairs z (z.flatten ()))
                    "of the candidates"
                faulty [ "candidates"; "2 rows" ] (kernel contrast pairs z (z.narrow (0L, 0L, 1L))) "one"
                faulty [ "candidates"; "[3; 4]"; "[3; 3]" ] (kernel contrast pairs z wider) "widths"
                faulty [ "pairs" ] (kernel contrast { pairs with Anchors = z } z z) "rank of the pairs"
                faulty
                    [ "pairs"; "[3]"; "[1]" ]
                    (kernel contrast { pairs with Positives = one.Positives } z z)
                    "positives"
                faulty
                    [ "pairs"; "[3]"; "[1]" ]
                    (kernel contrast { pairs with Weights = one.Weights } z z)
                    "weights"
                let included = { contrast with SelfIncluded = true }
                faulty
                    [ "candidates"; "[3; 3]"; "[2; 3]" ]
                    (kernel included pairs z (z.narrow (0L, 0L, 2L)))
                    "anchors that are not among the candidates"
                faulty
                    [ "contrast"; "among the candidates" ]
                    (kernel { contrast with Denominator = AllLessConstant } pairs z z)
                    "a self term taken off where there is none")

        test "rows that are too long for their type, and half precision that is not" (fun () ->
            let long = single (good ()) * 3e38f
            let call (z: Tensor) () = InfoNce.ntXent 0.5 z z |> ignore
            collapsed [ "view1"; "row 0" ] (call long) "single precision"
            let half = (good () * 2e4).``to`` torch.float16
            Expect.isTrue
                (Double.IsFinite(number (InfoNce.ntXent 0.5 half half)))
                "its squares overflow, it does not"
            collapsed
                [ "view1"; "row 1"; "not finite" ]
                (call ((good () * 2.5e4).``to`` torch.float16))
                "it does")

        test "the check names its argument, and accepts sound ones" (fun () ->
            Embeddings.check "z" 3L (good ())
            Embeddings.check "z" 1L ((good ()).requires_grad_ true)
            faulty [ "z"; "4 rows"; "[3; 3]" ] (fun () -> Embeddings.check "z" 4L (good ())) "rows"
            collapsed
                [ "z"; "row 1"; "direction" ]
                (fun () -> Embeddings.check "z" 2L (spoilt 1 [| 0.0; 0.0; 0.0 |]))
                "the first such row")
    ]
