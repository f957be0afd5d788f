/// Losses of adversarial training with labels, TRADES and MART, and their inner attacks.
module Tests.Losses.TradesMartTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

let private divergence (z: float[]) (z': float[]) =
    let p, q = Oracles.softmax z, Oracles.softmax z'
    Array.fold2 (fun sum p q -> sum + p * log (p / q)) 0.0 p q

let private trades beta (z: float[][]) (z': float[][]) y =
    mean (Array.map2 Oracles.crossEntropy z y) + beta * mean (Array.map2 divergence z z')

// With the guards as published.
let private mart beta (z: float[][]) (z': float[][]) (y: int[]) =
    Array.zip3 z z' y
    |> Array.map (fun (z, z', y) ->
        let p, q = Oracles.softmax z, Oracles.softmax z'
        let rival = q |> Array.indexed |> Array.filter (fun (k, _) -> k <> y) |> Array.map snd |> Array.max
        let guarded = Array.fold2 (fun sum p q -> sum + p * (log p - log (q + 1e-12))) 0.0 p q
        -log q[y] - log (1.0001 - rival + 1e-12) + beta * guarded * (1.0000001 - p[y]))
    |> mean

let private both (loss: Tensor -> Tensor -> Tensor) clean adversarial =
    let z, z' = (clean: Tensor).requires_grad_ true, (adversarial: Tensor).requires_grad_ true
    let value = loss z z'
    let gradients = torch.autograd.grad (ResizeArray [ value.sum () ], ResizeArray [ z; z' ])
    value, gradients[0], gradients[1]

// A loss of two sets of logits against plain arrays, with its gradient through both.
let private agrees loss (slow: float[][] -> float[][] -> int[] -> float) (seed: int) =
    balanced (fun () ->
        let source = Source seed
        let n, k = source.Whole(1, 5), source.Whole(2, 6)
        let z = source.Rows(n, k) |> Array.map (times 2.0)
        let z' = source.Rows(n, k) |> Array.map (times 2.0)
        let y = Array.init n (fun _ -> source.Whole(0, k - 1))
        let value, atClean, atAdversarial = both (fun z z' -> loss z z' (labels y)) (matrix z) (matrix z')
        relative 1e-11 [| number value |] [| slow z z' y |] "value"
        let cut (all: float[]) = Array.chunkBySize k all
        let expected = slopes 1e-5 (fun z -> slow (cut z) z' y) (Array.concat z)
        close 1e-7 (floats atClean) expected "gradient through the clean logits"
        let expected = slopes 1e-5 (fun z' -> slow z (cut z') y) (Array.concat z')
        close 1e-7 (floats atAdversarial) expected "gradient through the adversarial logits")

let private published name loss = [
    for case in GoldenValues.ofLosses ("loss " + name) do
        test (GoldenValues.text [ "id" ] case) (fun () ->
            let input key = GoldenValues.array [ "inputs"; key ] case
            let beta, y =
                GoldenValues.real [ "hyper"; "beta" ] case, GoldenValues.indices [ "inputs"; "labels" ] case
            let value, clean, adversarial =
                both (fun z z' -> loss beta z z' y) (input "clean") (input "adversarial")
            let tolerance = GoldenValues.real [ "tolerance" ] case
            let expected keys = GoldenValues.values ("published" :: keys) case
            close tolerance [| number value |] (expected [ "value" ]) "value"
            close tolerance (floats clean) (expected [ "gradients"; "clean" ]) "gradient at clean"
            close
                tolerance
                (floats adversarial)
                (expected [ "gradients"; "adversarial" ])
                "gradient at adversarial")
]

// An inner attack's objective from the classifier and clean images.
let private towardsTrades (classify: Classifier) clean : Objective =
    let z = (classify clean).detach()
    fun x -> Trades.divergence z (classify x)

let private towardsMart (classify: Classifier) y : Objective = fun x -> CrossEntropy.perSample (classify x) y

let private climbed case key (threat: Threat) stride steps objective =
    let origin = GoldenValues.array [ "inputs"; "x" ] case
    let scale = GoldenValues.real [ key; "start_scale" ] case
    let x0 = origin + GoldenValues.array [ "inputs"; "noise" ] case * scale
    Objectives.climb threat (GradientAttack.trades (stride / threat.Radius) steps) objective origin x0

[<Tests>]
let tests =
    testList "Losses.TradesMart" [
        testProperty
            "the divergence is Kullback and Leibler's, row by row, with its gradient through both"
            (agrees (fun z z' _ -> (Trades.divergence z z').sum()) (fun z z' _ ->
                Array.map2 divergence z z' |> Array.sum))

        testProperty
            "TRADES is cross-entropy and beta times the divergence"
            (agrees (Trades.loss 6.0) (trades 6.0))

        testProperty "MART is what its formula says, guards included" (agrees (Mart.loss 5.0) (mart 5.0))

        testProperty
            "the divergence is 0 or more, and no shift of a row moves it"
            (fun (seed: int) (PositiveInt n) ->
                balanced (fun () ->
                    let source = Source seed
                    let n = 1 + n % 5
                    let z, z' = matrix (source.Rows(n, 4)), matrix (source.Rows(n, 4))
                    let values = floats (Trades.divergence z z')
                    within 0.0 infinity values "sign"
                    let shift () = tensor [ n; 1 ] (times 9.0 (source.Normals n))
                    close 1e-9 (floats (Trades.divergence (z + shift ()) (z' + shift ()))) values "shifted"))

        law
            "at the clean image the divergence is 0 and flat, so that an attack must start beside it"
            (fun s ->
                let x = s.Victims.Images
                let value, gradient = GradientAttackLoop.look true (towardsTrades s.Classify x) x
                close 1e-12 (floats value) (Array.create s.Y.Length 0.0) "value"
                close 1e-12 (floats gradient.Value) (Array.create (int (x.numel ())) 0.0) "gradient"
                let z = s.Classify x
                let loss = Trades.loss 6.0 z z s.Victims.Labels
                close 1e-12 [| number loss |] [| mean (losses s x) |] "the loss is cross-entropy there")

        test "sure predictions keep both losses finite, half precision too" (fun () ->
            let sure = tensor [ 2; 2 ] [| 1e4; -1e4; -1e4; 1e4 |]
            let y = labels [| 1; 1 |]
            let mart = Mart.loss 5.0 (single sure) (single (sure.neg ())) y
            let wrong = 2e4 / 2.0 - (log 1e-4 + log 1.0001) / 2.0
            let apart = -5.0 * log 1e-12 / 2.0
            relative 1e-3 [| number mart |] [| wrong + apart |] "MART"
            let trades = Trades.loss 6.0 (single sure) (single (sure.neg ())) y
            relative 1e-6 [| number trades |] [| 1e4 + 6.0 * 2e4 |] "TRADES"

            for loss in [ Trades.loss 6.0; Mart.loss 5.0 ] do
                let z = (matrix ((Source 1).Rows(2, 4))).``to`` torch.bfloat16
                let half = loss z (z * 0.5) y
                Expect.equal half.dtype torch.float32 "type"
                close 1e-6 [| number half |] [| number (loss (single z) (single (z * 0.5)) y) |] "half")

        test "faults are named" (fun () ->
            let z, y = torch.zeros [| 2L; 3L |], labels [| 0; 1 |]

            for loss in [ Trades.loss; Mart.loss ] do
                let call beta clean adversarial y () = loss beta clean adversarial y |> ignore
                refuses [ "beta"; "-1" ] (call -1.0 z z y) "beta"
                refuses [ "clean"; "[n; k]" ] (call 6.0 y y y) "rank"
                refuses [ "adversarial"; "clean" ] (call 6.0 z (torch.zeros [| 2L; 4L |]) y) "shapes"
                refuses [ "labels"; "0 .. 2" ] (call 6.0 z z (labels [| 0; 3 |])) "labels")

        law "TRADES' attack starts at noise of its own size, in the box or not, and ends inside" (fun s ->
            let threat = { s.Threat with Norm = Linf }
            let images = s.Victims.Images.clamp (0.3.ToScalar(), 0.6.ToScalar())
            // Every image on the faces of a box.
            let threat = { threat with Box = Some(0.3, 0.6) }
            let visited = ResizeArray<float[]>()
            let rises = towardsTrades s.Classify images
            let objective x =
                visited.Add(floats x)
                rises x
            let ended =
                GradientAttackLoop.ascend s.Draw threat (GradientAttack.trades 0.25 10) objective images
            Expect.hasLength visited 10 "a gradient a step"
            let noise = floats (Rng.normal [ 1L; 2L; 3L ] s.Draw) |> times 0.001
            close 1e-12 visited[0] (plus (floats images) noise) "the start"
            within 0.3 0.6 (floats ended) "box"
            atMost (threat.Radius + 1e-12) (minus (floats ended) (floats images) |> Array.map abs) "ball"
            let before, after = floats (rises (images + 1e-6)), floats (rises ended)
            Array.iter2 (fun before after -> Expect.isGreaterThan after before "raised") before after)

        testList "published" [
            yield! published "trades" Trades.loss
            yield! published "mart" Mart.loss

            for name in [ "trades.attack"; "mart.attack" ] do
                for case in GoldenValues.ofLosses ("attack " + name) do
                    test (GoldenValues.text [ "id" ] case) (fun () ->
                        let part key = GoldenValues.array [ "network"; key ] case
                        let w1, b1, w2, b2 = part "W1", part "b1", part "W2", part "b2"
                        let net (x: Tensor) =
                            torch.nn.functional.linear (torch.nn.functional.linear(x, w1, b1).tanh(), w2, b2)
                        let hyper key = GoldenValues.real [ "hyper"; key ] case
                        let objective =
                            if name = "mart.attack" then
                                towardsMart net (GoldenValues.indices [ "inputs"; "labels" ] case)
                            else
                                towardsTrades net (GoldenValues.array [ "inputs"; "x" ] case)
                        let threat = Threat.create Linf (hyper "epsilon")
                        let steps = GoldenValues.whole [ "hyper"; "steps" ] case
                        let x = climbed case "hyper" threat (hyper "step") steps objective
                        close
                            (GoldenValues.real [ "tolerance" ] case)
                            (floats x)
                            (GoldenValues.values [ "published"; "x_adv" ] case)
                            "x_adv")

            for name in [ "trades"; "mart" ] do
                for case in GoldenValues.ofAttacks name do
                    test (GoldenValues.text [ "id" ] case) (fun () ->
                        let classify = GoldenValues.classifier case
                        let x, y =
                            GoldenValues.array [ "inputs"; "x" ] case,
                            GoldenValues.indices [ "inputs"; "y" ] case
                        let param key = GoldenValues.real [ "params"; key ] case
                        let objective, loss =
                            if name = "mart" then
                                towardsMart classify y, Mart.loss
                            else
                                towardsTrades classify x, Trades.loss
                        let threat = Threat.create (GoldenValues.norm case) (param "eps")
                        let steps = GoldenValues.whole [ "params"; "steps" ] case
                        let x' = climbed case "params" threat (param "alpha") steps objective
                        relative
                            (GoldenValues.real [ "tolerance" ] case)
                            [| number (loss (param "beta") (classify x) (classify x') y) |]
                            [| GoldenValues.real [ "expected"; "loss" ] case |]
                            "loss")
        ]
    ]
