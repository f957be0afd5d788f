/// The contrastive kernel against double loops, finite differences and published values.
module Contrasts

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Laws

let private ntXent t view1 view2 = number (InfoNce.ntXent t (matrix view1) (matrix view2))

// Values and the gradients of both inputs.
let private withGradients (f: Tensor -> Tensor -> Tensor) (a: Tensor) (b: Tensor) =
    let a, b = a.detach().requires_grad_ true, b.detach().requires_grad_ true
    let value = f a b
    let gradients = torch.autograd.grad (ResizeArray [ value ], ResizeArray [ a; b ], allow_unused = true)
    number value, [ for g in gradients -> if g.IsInvalid then None else Some(floats g) ]

// Cosines over t against all candidates.
let private among t = { Similarity = Similarity.cosine t; Denominator = AllOthers; SelfIncluded = false }

// Anchor i drawn to one candidate, with weight 1.
let private pairsOf (positives: int[]) : Pairs = {
    Pairs.aligned (torch.device "cpu") positives.LongLength 0L with
        Positives = torch.tensor (Array.map int64 positives)
}

let private law name check =
    testProperty name (fun (seed: int) (PositiveInt b) (PositiveInt d) (PositiveInt hundredths) ->
        let source = Source seed
        let b, d = 2 + b % 5, 2 + d % 5
        let t = 0.05 + float (hundredths % 200) / 100.0
        balanced (fun () -> check source t (source.Rows(b, d)) (source.Rows(b, d))))

let private rowsOf (case: Reference.Case) name = Reference.array [ "inputs"; name ] case

// Compares a loss of two inputs with a case's value and gradients.
let private agrees case names (loss: Map<string, Tensor> -> Tensor) =
    let inputs = names |> List.map (fun name -> name, (rowsOf case name).requires_grad_ true) |> Map.ofList
    let value = loss inputs
    let tolerance = Reference.real [ "tolerance" ] case
    let right = Reference.right case
    close tolerance [| number value |] [| Reference.real [ "value" ] right |] "value"
    let gradients = torch.autograd.grad (ResizeArray [ value ], ResizeArray(Map.values inputs))

    for name, gradient in Seq.zip (Map.keys inputs) gradients do
        close
            tolerance
            (floats gradient)
            (Reference.values [ "gradients"; name ] right)
            ("gradient of " + name)

let tests =
    testList "Contrasts" [
        law "NT-Xent equals the double loop" (fun _ t a b ->
            relative 1e-10 [| ntXent t a b |] [| Oracles.ntXent t a b |] "value")

        testPropertyN 20 "its gradient equals finite differences" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let a, b = source.Rows(3, 4), source.Rows(3, 4)
                let t = source.Uniform(0.2, 1.0)
                let _, gradients = withGradients (InfoNce.ntXent t) (matrix a) (matrix b)
                let f (flat: float[]) =
                    let rows = Array.chunkBySize 4 flat
                    Oracles.ntXent t rows[..2] rows[3..]
                let expected = slopes 1e-5 f (Array.concat (Array.append a b))
                close 1e-6 (gradients |> List.choose id |> Array.concat) expected "gradient"))

        law "the views are alike" (fun _ t a b ->
            relative 1e-12 [| ntXent t a b |] [| ntXent t b a |] "swapped")

        law "the order of the pairs does not matter" (fun source t a b ->
            let order = source.Order a.Length
            let permute (x: 'a[]) = order |> Array.map (Array.get x)
            relative 1e-12 [| ntXent t (permute a) (permute b) |] [| ntXent t a b |] "permuted")

        law "turning all embeddings does not matter" (fun source t a b ->
            let turn = rotation source a[0].Length
            relative 1e-10 [| ntXent t (multiply a turn) (multiply b turn) |] [| ntXent t a b |] "turned")

        law "the length of an embedding does not matter" (fun source t a b ->
            let scale = Array.map (fun row -> times (exp (source.Uniform(-5.0, 5.0))) row)
            relative 1e-10 [| ntXent t (scale a) (scale b) |] [| ntXent t a b |] "scaled")

        law "where all embeddings are equal it is log(2B - 1)" (fun _ t a _ ->
            let same = Array.create a.Length a[0]
            relative 1e-10 [| ntXent t same same |] [| log (2.0 * float a.Length - 1.0) |] "value")

        testProperty
            "the general kernel equals the double loop, self left out or not"
            (fun (seed: int) (PositiveInt n) (PositiveInt m) ->
                balanced (fun () ->
                    let source = Source seed
                    let n, m = 1 + n % 5, 2 + m % 5
                    let anchors, candidates = source.Rows(n, 3), source.Rows(m, 3)
                    let t = source.Uniform(0.1, 2.0)

                    let slow excludeSelf (positives: int[]) (a: float[][]) (c: float[][]) =
                        a
                        |> Array.mapi (fun i row ->
                            let s k = cosine row c[k] / t
                            let others = [|
                                for k in 0 .. c.Length - 1 do
                                    if not excludeSelf || k <> i then s k
                            |]
                            logSumExp others - s positives[i])

                    let positives = Array.init n (fun _ -> source.Whole(0, m - 1))
                    let terms =
                        InfoNce.terms (among t) (pairsOf positives) (matrix anchors) (matrix candidates)
                    Expect.equal terms.shape [| int64 n |] "a term an anchor"
                    relative 1e-10 (floats terms) (slow false positives anchors candidates) "all candidates"

                    let positives = Array.init m (fun i -> (i + 1) % m)
                    let z = matrix candidates
                    let terms = InfoNce.terms { among t with SelfIncluded = true } (pairsOf positives) z z
                    relative
                        1e-10
                        (floats terms)
                        (slow true positives candidates candidates)
                        "self left out"))

        testProperty "shares scale the gradient of their side and nothing else" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let anchors, candidates = matrix (source.Rows(3, 4)), matrix (source.Rows(5, 4))
                let pairs = pairsOf [| 4; 0; 2 |]
                let loss anchorShare candidateShare a c =
                    let similarity = {
                        Similarity.cosine 0.3 with
                            AnchorShare = anchorShare
                            CandidateShare = candidateShare
                    }
                    InfoNce.loss { among 0.3 with Similarity = similarity } pairs a c

                let value, full = withGradients (loss 1.0 1.0) anchors candidates
                let part = source.Uniform(0.0, 1.0)

                for toAnchors, toCandidates in
                    [ part, 1.0; 1.0, part; 0.0, 1.0; 1.0, 0.0; part, 0.0; part, part ] do
                    let sharedValue, gradients =
                        withGradients (loss toAnchors toCandidates) anchors candidates
                    relative 1e-12 [| sharedValue |] [| value |] "value"

                    for share, gradient, whole in List.zip3 [ toAnchors; toCandidates ] gradients full do
                        match gradient with
                        | Some g -> close 1e-12 g (times share whole.Value) "its share"
                        | None -> Expect.equal share 0.0 "no gradient where the share is nought"

                    if toAnchors = 0.0 then Expect.isNone gradients[0] "a stop-gradient on the anchors"
                    if toCandidates = 0.0 then
                        Expect.isNone gradients[1] "a stop-gradient on the candidates"))

        test "it is stable for a thousand embeddings at temperature 0.01 in single precision" (fun () ->
            let source = Source 1
            let a = source.Rows(512, 16)
            // Scores from -100 to 100, the positive's not always the largest.
            let b = a |> Array.map (fun row -> plus row (source.Normals 16))
            let expected = Oracles.ntXent 0.01 a b
            let value, gradients =
                withGradients (InfoNce.ntXent 0.01) (single (matrix a)) (single (matrix b))
            Expect.isGreaterThan expected 0.01 "not trivial"
            relative 1e-3 [| value |] [| expected |] "value"
            Expect.all (gradients |> List.choose id |> Array.concat) System.Double.IsFinite "gradient"
            Expect.hasLength (List.choose id gradients) 2 "gradients")

        test "half precision is summed in single precision" (fun () ->
            let source = Source 2
            let a, b = matrix (source.Rows(4, 8)), matrix (source.Rows(4, 8))
            let half (x: Tensor) = x.``to`` torch.bfloat16
            let loss = InfoNce.ntXent 0.1 (half a) (half b)
            Expect.equal loss.dtype torch.float32 "type"
            let expected = InfoNce.ntXent 0.1 (half a |> single) (half b |> single)
            Expect.equal (number loss) (number expected) "value")

        test "a vanished embedding is refused, not blown up into a direction" (fun () ->
            let a = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 0.0; 0.0; 0.0 |]
            let b = tensor [ 2; 3 ] [| 1.0; 0.0; 0.0; 1.0; 2.0; 2.0 |]
            Expect.throwsT<EmbeddingException> (fun () -> InfoNce.ntXent 0.5 a b |> ignore) "first view"
            refuses [ "row 1"; "view2"; "length 0" ] (fun () -> InfoNce.ntXent 0.5 b a |> ignore) "the row")

        test "faults are named" (fun () ->
            let ones (shape: int64 list) = torch.ones (Array.ofList shape, torch.float64)
            let good, flat, empty = ones [ 2L; 2L ], ones [ 2L ], ones [ 0L; 2L ]
            let longer, wider = ones [ 3L; 2L ], ones [ 2L; 3L ]
            let whole = torch.ones ([| 2L; 2L |], torch.int64)
            let pairs = pairsOf [| 1; 0 |]
            let ntXent t a b () = InfoNce.ntXent t a b |> ignore
            let terms selfIncluded p a c () =
                InfoNce.terms { among 0.5 with SelfIncluded = selfIncluded } p a c |> ignore

            for name, parts, call in
                [
                    "rank", [ "view1"; "[n; d]"; "[2]" ], ntXent 0.5 flat good
                    "shapes", [ "view2"; "[2; 2]"; "[3; 2]" ], ntXent 0.5 good longer
                    "type", [ "view1"; "Int64" ], ntXent 0.5 whole whole
                    "no image", [ "view1" ], ntXent 0.5 empty empty
                    "one image",
                    [ "view1"; "2 rows"; "[1; 2]" ],
                    ntXent 0.5 (ones [ 1L; 2L ]) (ones [ 1L; 2L ])
                    "temperature 0", [ "temperature" ], ntXent 0.0 good good
                    "temperature NaN", [ "temperature" ], ntXent nan good good
                    "rank of the anchors", [ "anchors" ], terms false pairs flat good
                    "rank of the candidates", [ "candidates" ], terms false pairs good flat
                    "rank of the pairs", [ "pairs" ], terms false { pairs with Anchors = good } good good
                    "number of positives",
                    [ "pairs"; "[2]"; "[1]" ],
                    terms false { pairs with Positives = (pairsOf [| 0 |]).Positives } good good
                    "widths", [ "candidates"; "[2; 3]"; "[2; 2]" ], terms false pairs good wider
                    "self among others",
                    [ "candidates"; "[3; 2]"; "[2; 2]" ],
                    terms true (pairsOf [| 1; 0; 1 |]) longer good
                ] do
                refuses parts call name)

        testList "published" [
            for case in Reference.ofLosses "loss ntxent.acl" @ Reference.ofLosses "loss ntxent.clae" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let t = Reference.real [ "hyper"; "T" ] case
                    agrees case [ "x1"; "x2" ] (fun x -> InfoNce.ntXent t x["x1"] x["x2"]))

            for case in Reference.ofLosses "loss acl.ds" do
                test (Reference.text [ "id" ] case) (fun () ->
                    let loss = Acl.dualStream.Step.Loss

                    agrees case [ "nor1"; "nor2"; "adv1"; "adv2" ] (fun x ->
                        let output pass view =
                            let z =
                                match pass, view with
                                | "clean", "v1" -> x["nor1"]
                                | "clean", "v2" -> x["nor2"]
                                | "adv", "a1" -> x["adv1"]
                                | _ -> x["adv2"]

                            { Features = z; Embedding = z; Heads = Map.empty }

                        loss {
                            Progress = Progress.start 1 1
                            Memory = Map.empty
                            Ids = [||]
                            Labels = Map.empty
                            Output = output
                            Gather = fun z -> z.alias ()
                        }))
        ]
    ]
