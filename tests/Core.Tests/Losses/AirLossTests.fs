/// The invariance regularisers against loops over plain numbers, closed forms and published values.
module Tests.Losses.AirLossTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.LossGradients
open Support.Laws
open Support

let private forms = [
    for log in [ false; true ] do
        for products in [ false; true ] do
            { ProbabilityForLogarithm = log; ProductsAsTheyCome = products }
]

// --- the formulas, number by number

let private cosines (x: float[][]) (y: float[][]) = Array.map2 cosine x y

let private divergence form (p: float[]) (q: float[]) =
    Array.map2 (fun p q -> q * (log q - (if form.ProbabilityForLogarithm then p else log p))) p q
    |> Array.sum

let private sir form t (z1: float[][]) z2 zo =
    let share z = Oracles.softmax (times (1.0 / t) (cosines z zo))
    divergence form (share z1) (share z2)

let private air form t (a1: float[][]) a2 z1 z2 zo =
    let share a z =
        let product =
            Array.map2
                (*)
                (Oracles.softmax (times (1.0 / t) (cosines a zo)))
                (Oracles.softmax (times (1.0 / t) (cosines a z)))

        if form.ProductsAsTheyCome then product else times (1.0 / Array.sum product) product

    divergence form (share a1 z1) (share a2 z2)

// --- both losses, fast and slow, as functions of a list

type private Form = {
    Name: string
    Inputs: int
    Fast: Divergence -> float -> Tensor list -> Tensor
    Slow: Divergence -> float -> float[][] list -> float
}

let private two = [
    {
        Name = "SIR"
        Inputs = 3
        Fast = fun form t x -> AirLoss.standardBy form t x[0] x[1] x[2]
        Slow = fun form t x -> sir form t x[0] x[1] x[2]
    }
    {
        Name = "AIR"
        Inputs = 5
        Fast = fun form t x -> AirLoss.adversarialBy form t x[0] x[1] x[2] x[3] x[4]
        Slow = fun form t x -> air form t x[0] x[1] x[2] x[3] x[4]
    }
]

let private laws loss =
    let drawn name check =
        testProperty name (fun (seed: int) (PositiveInt n) (PositiveInt d) ->
            balanced (fun () ->
                let source = Source seed
                let n, d = 2 + n % 6, 2 + d % 5
                let t = source.Uniform(0.1, 2.0)
                check source t [ for _ in 1 .. loss.Inputs -> source.Rows(n, d) ]))

    testList loss.Name [
        drawn "equals the formula, number by number" (fun _ t x ->
            for form in forms do
                relative
                    1e-10
                    [| number (loss.Fast form t (x |> List.map matrix)) |]
                    [| loss.Slow form t x |]
                    $"{form}")

        drawn "is a divergence: 0 or more" (fun _ t x ->
            let value = number (loss.Fast AirLoss.proper t (x |> List.map matrix))
            Expect.isGreaterThan value -1e-12 "value")

        drawn "sees neither order nor rotation nor length" (fun source t x ->
            for form in forms do
                invariant source (loss.Fast form t) x)

        testPropertyN 20 "gradients equal finite differences, in every input" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let t = source.Uniform(0.2, 1.0)
                let x = [ for _ in 1 .. loss.Inputs -> source.Rows(3, 4) ]

                for form in forms do
                    sloped [] (loss.Slow form t) (loss.Fast form t) x))

        test "is stable for 4096 embeddings at temperature 0.01 in single precision" (fun () ->
            let source = Source 3
            let x = [ for _ in 1 .. loss.Inputs -> source.Rows(4096, 8) ]
            let expected = loss.Slow AirLoss.proper 0.01 x
            let value, gradients =
                withGradients (loss.Fast AirLoss.proper 0.01) (x |> List.map (matrix >> single))
            Expect.isGreaterThan expected 1.0 "not trivial"
            relative 1e-3 [| value |] [| expected |] "value"

            for gradient in gradients do
                Expect.all (Option.get gradient) System.Double.IsFinite "gradient")

        test "half precision is summed in single precision" (fun () ->
            let source = Source 4
            halves (loss.Fast AirLoss.proper 0.5) [ for _ in 1 .. loss.Inputs -> source.Rows(5, 4) ])
    ]

[<Tests>]
let tests =
    testList "Losses.AirLoss" [
        yield! List.map laws two

        test "the proper divergence is the one that goes without saying" (fun () ->
            let source = Source 5
            let x = [ for _ in 1..5 -> matrix (source.Rows(4, 3)) ]
            let standard = AirLoss.standard 0.5 x[0] x[1] x[2]
            Expect.equal (number standard) (number (two[0].Fast AirLoss.proper 0.5 x)) "SIR"
            let adversarial = AirLoss.adversarial 0.5 x[0] x[1] x[2] x[3] x[4]
            Expect.equal (number adversarial) (number (two[1].Fast AirLoss.proper 0.5 x)) "AIR")

        testProperty "views alike cost nothing" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let a, z, zo =
                    matrix (source.Rows(4, 3)), matrix (source.Rows(4, 3)), matrix (source.Rows(4, 3))
                close 1e-12 [| number (AirLoss.standard 0.3 z z zo) |] [| 0.0 |] "SIR"
                close 1e-12 [| number (AirLoss.adversarial 0.3 a a z z zo) |] [| 0.0 |] "AIR"))

        testProperty
            "where clean views are the images themselves, AIR is SIR at half the temperature"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let t = source.Uniform(0.1, 2.0)
                    let a1, a2, zo =
                        matrix (source.Rows(5, 4)), matrix (source.Rows(5, 4)), matrix (source.Rows(5, 4))
                    relative
                        1e-10
                        [| number (AirLoss.adversarial t a1 a2 zo zo zo) |]
                        [| number (AirLoss.standard (t / 2.0) a1 a2 zo) |]
                        "value"))

        testProperty
            "two images against equal shares cost log cosh of half their scores' difference"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let t = source.Uniform(0.1, 2.0)
                    let angles = source.Uniforms(2, 0.0, 3.0)
                    let zo = matrix [| [| 1.0; 0.0 |]; [| 0.0; 1.0 |] |]
                    // Turned from the axis by an angle each, and by the same angle both.
                    let z1 =
                        matrix [| [| cos angles[0]; sin angles[0] |]; [| -sin angles[1]; cos angles[1] |] |]
                    let z2 = matrix [| [| 1.0; 1.0 |]; [| 1.0; 1.0 |] |]
                    let difference = (cos angles[0] - cos angles[1]) / t
                    relative
                        1e-10
                        [| number (AirLoss.standard t z1 z2 zo) |]
                        [| log (cosh (difference / 2.0)) |]
                        "value"))

        test "the published form can be negative" (fun () ->
            let z = matrix [| [| 1.0; 0.0 |]; [| 0.0; 1.0 |] |]
            // Equal shares: 1/2 (log 1/2 - 1/2) twice.
            close
                1e-12
                [| number (AirLoss.standardBy AirLoss.published 0.5 z z z) |]
                [| log 0.5 - 0.5 |]
                "value")

        test "faults are named" (fun () ->
            let good = torch.ones ([| 3L; 2L |], torch.float64)
            let ones (shape: int64 list) = torch.ones (Array.ofList shape, torch.float64)
            let lone = ones [ 1L; 2L ]
            let standard t z1 z2 zo () = AirLoss.standard t z1 z2 zo |> ignore
            let adversarial t a1 a2 z1 z2 zo () = AirLoss.adversarial t a1 a2 z1 z2 zo |> ignore
            let zero = matrix [| [| 1.0; 1.0 |]; [| 0.0; 0.0 |]; [| 1.0; 2.0 |] |]
            let lost = matrix [| [| 1.0; 1.0 |]; [| 1.0; nan |]; [| 1.0; 2.0 |] |]

            for name, parts, call in
                [
                    "temperature", [ "temperature" ], standard 0.0 good good good
                    "temperature of AIR", [ "temperature" ], adversarial -1.0 good good good good good
                    "one image has no shares", [ "z1"; "at least 2"; "[1; 2]" ], standard 1.0 lone lone lone
                    "one image of AIR", [ "a1"; "at least 2" ], adversarial 1.0 lone lone lone lone lone
                    "rank", [ "z2"; "[n; d]"; "[3]" ], standard 1.0 good (ones [ 3L ]) good
                    "rows", [ "zo"; "[4; 2]"; "[3; 2]" ], standard 1.0 good good (ones [ 4L; 2L ])
                    "columns", [ "a2"; "[3; 3]" ], adversarial 1.0 good (ones [ 3L; 3L ]) good good good
                    "no direction", [ "zo"; "row 1" ], standard 1.0 good good zero
                    "not finite", [ "z2"; "row 1" ], adversarial 1.0 good good good lost good
                ] do
                refuses parts call name)

        testList "published" [
            for case in GoldenValues.ofLosses "loss air" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let hyper name = GoldenValues.real [ "hyper"; name ] case
                    let t, omega = hyper "T", hyper "omega"

                    for key, form in [ "correct", AirLoss.proper; "published", AirLoss.published ] do
                        agrees key case [ "x1"; "x2"; "a1"; "a2"; "o" ] (fun x ->
                            let sir = AirLoss.standardBy form t x["x1"] x["x2"] x["o"]
                            let air = AirLoss.adversarialBy form t x["a1"] x["a2"] x["x1"] x["x2"] x["o"]

                            InfoNce.ntXent t x["x1"] x["x2"] * (1.0 - omega)
                            + InfoNce.ntXent t x["a1"] x["a2"] * (1.0 + omega)
                            + sir * hyper "lambda1"
                            + air * hyper "lambda2"))
        ]
    ]
