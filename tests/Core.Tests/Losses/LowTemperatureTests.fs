/// The contrastive losses at low temperature, with many embeddings, in single precision.
module Tests.Losses.LowTemperatureTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws

let private temperature = 0.01
let private cosine = Similarity.cosine temperature

// Every view is the first one, moved by as much as two images differ; so scores go from -100 to 100.
let private views rows count =
    let source = Source count
    let images = rows / count
    let first = source.Rows(images, 8)

    first :: [ for _ in 2..count -> first |> Array.map (fun row -> plus row (source.Normals 8)) ]
    |> List.map matrix

let private advCl form (denominator: Denominator) = form 0.07 cosine denominator

let private hard concentration prior = Hard(HardNegatives.create concentration prior)

let private slips =
    Hard {
        HardNegatives.create 1.0 0.1 with
            MeansByColumn = true
            DenominatorOfPositive = true
            Floor = Some(-1.0 / 0.5 + 1.0 / temperature)
    }

let private forms = [
    "NT-Xent", 2, (fun (z: Tensor list) -> InfoNce.ntXent temperature z[0] z[1])
    "one-sided", 2, (fun z -> InfoNce.oneSided temperature z[0] z[1])
    "N-pair", 2, (fun z -> NPair.loss temperature z[0] z[1])
    "RoCL of two views", 2, (fun z -> RoclLoss.pair (Similarity.cosine temperature) z[0] z[1])
    "RoCL, guarded",
    3,
    (fun z -> RoclLoss.loss { cosine with Guard = 1e-8 } AllOthers RoclLoss.plain z[0] z[1] z[2])
    "supervised",
    2,
    (fun z ->
        let z = torch.cat (ResizeArray z, 0L)
        let labels: Tensor = torch.tensor (Array.init (int z.shape[0]) (fun i -> int64 (i % 128)))
        SupCon.loss temperature z labels)
    for name, denominator in
        [
            "all others", AllOthers
            "hard negatives", hard 1.0 0.1
            "hard negatives, no concentration", hard 0.0 0.1
            "hard negatives, much of it", hard 4.0 0.5
            "hard negatives, the published slips", slips
        ] do
        "RoCL, " + name, 3, (fun z -> RoclLoss.loss cosine denominator RoclLoss.plain z[0] z[1] z[2])
        // Two kernels, so only once with each kind of denominator.
        if name = "all others" || name = "hard negatives" then
            "AdvCL, " + name,
            4,
            advCl (AdvClLoss.asymmetric >> fun f -> f { Pull = 0.2; Weight = 1.0 }) denominator
]

[<Tests>]
let tests =
    testList "Losses.LowTemperature" [
        for name, count, loss in forms do
            test (name + ": four thousand embeddings") (fun () ->
                let value, gradients = sentAll loss (views 4096 count |> List.map single)
                Expect.isTrue (Double.IsFinite value) "value"

                for gradient in gradients do
                    Expect.all gradient Double.IsFinite "gradient"

                Expect.isGreaterThan (gradients |> List.map normInf |> List.max) 0.0 "some gradient")

            test (name + ": single precision agrees with double") (fun () ->
                let views = views 480 count
                let value, gradients = sentAll loss (List.map single views)
                let expected, slopes = sentAll loss views
                Expect.isGreaterThan expected 0.01 "not trivial"
                relative 1e-4 [| value |] [| expected |] "value"
                let size = slopes |> List.map normInf |> List.max
                close (1e-3 * size) (Array.concat gradients) (Array.concat slopes) "gradient")
    ]
