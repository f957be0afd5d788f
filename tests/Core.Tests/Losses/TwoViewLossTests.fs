/// The losses of two views beside NT-Xent, against loops over plain numbers, finite differences and published
/// values.
module Tests.Losses.TwoViewLossTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support

let private square (x: float) = x * x
let private column j (rows: float[][]) = rows |> Array.map (Array.item j)

// --- the formulas, number by number

let private nPair t (a: float[][]) (p: float[][]) =
    Array.init a.Length (fun m ->
        logSumExp (p |> Array.map (fun row -> cosine a[m] row / t)) - cosine a[m] p[m] / t)
    |> Array.average

let private instanceSpread t spread (a: float[][]) (b: float[][]) =
    let z = Array.append a b
    let n = z.Length
    let partner i = (i + a.Length) % n
    let p i j = exp (cosine z[i] z[j] / t)

    -Array.average(
        Array.init n (fun i ->
            let others = [
                for j in 0 .. n - 1 do
                    if j <> i && j <> partner i then j
            ]
            let total = p i (partner i) + spread * List.sumBy (p i) others
            log (p i (partner i) / total) + spread * List.sumBy (fun j -> log (1.0 - p i j / total)) others)
    )

let private byol (p1: float[][]) (p2: float[][]) (z1: float[][]) (z2: float[][]) =
    let term (p: float[][]) (z: float[][]) =
        Array.map2 (fun a b -> 2.0 - 2.0 * cosine a b) p z |> Array.average
    term p1 z2 + term p2 z1

let private barlowTwins lambda (a: float[][]) (b: float[][]) =
    let n = float a.Length

    let standard (x: float[]) =
        let mean = Array.average x
        let variance = Array.averageBy (fun v -> square (v - mean)) x
        x |> Array.map (fun v -> (v - mean) / sqrt (variance + 1e-5))

    let c i j = (Array.map2 (*) (standard (column i a)) (standard (column j b)) |> Array.sum) / n

    List.sum [
        for i in 0 .. a[0].Length - 1 do
            for j in 0 .. a[0].Length - 1 do
                yield (if i = j then square (1.0 - c i i) else lambda * square (c i j))
    ]

let private vicReg invariance variance covariance (a: float[][]) (b: float[][]) =
    let d = a[0].Length

    let cov (x: float[][]) i j =
        let xi, xj = column i x, column j x
        let mi, mj = Array.average xi, Array.average xj
        (Array.map2 (fun u v -> (u - mi) * (v - mj)) xi xj |> Array.sum) / float (x.Length - 1)

    let shortfall x = List.average [ for i in 0 .. d - 1 -> max 0.0 (1.0 - sqrt (cov x i i + 1e-4)) ]

    let spread x =
        List.sum [
            for i in 0 .. d - 1 do
                for j in 0 .. d - 1 do
                    if i <> j then square (cov x i j)
        ]
        / float d

    let difference =
        Array.map2 (fun u v -> square (u - v)) (Array.concat a) (Array.concat b) |> Array.average
    invariance * difference
    + variance * (shortfall a + shortfall b) / 2.0
    + covariance * (spread a + spread b)

// --- each loss of two views, fast and slow

type private Twin = {
    Name: string
    Fast: float -> Tensor -> Tensor -> Tensor
    Slow: float -> float[][] -> float[][] -> float
    /// Whether swapping the views changes nothing.
    Symmetric: bool
}

let private twins = [
    { Name = "N-pair"; Fast = NPair.loss; Slow = nPair; Symmetric = false }
    {
        Name = "instance spreading"
        Fast = fun t -> InstanceSpread.loss t 1.5
        Slow = fun t -> instanceSpread t 1.5
        Symmetric = true
    }
    { Name = "Barlow Twins"; Fast = BarlowTwins.loss; Slow = barlowTwins; Symmetric = true }
    {
        Name = "VICReg"
        Fast = fun w -> VicReg.loss 25.0 w 1.0
        Slow = fun w -> vicReg 25.0 w 1.0
        Symmetric = true
    }
]

let private laws twin =
    let value w a b = number (twin.Fast w (matrix a) (matrix b))

    let drawn name check =
        testProperty name (fun (seed: int) (PositiveInt n) (PositiveInt d) ->
            balanced (fun () ->
                let source = Source seed
                let n, d = 2 + n % 5, 2 + d % 4
                check source (source.Uniform(0.1, 1.5)) (source.Rows(n, d)) (source.Rows(n, d))))

    testList twin.Name [
        drawn "equals the formula, number by number" (fun _ w a b ->
            relative 1e-10 [| value w a b |] [| twin.Slow w a b |] "value")

        drawn "the order of the pairs does not matter" (fun source w a b ->
            let order = source.Order a.Length
            let permute (x: float[][]) = order |> Array.map (Array.get x)
            relative 1e-10 [| value w (permute a) (permute b) |] [| value w a b |] "permuted")

        if twin.Symmetric then
            drawn "the views are alike" (fun _ w a b ->
                relative 1e-10 [| value w b a |] [| value w a b |] "swapped")

        test "refuses views of different shapes, by name" (fun () ->
            Expect.throwsC
                (fun () -> twin.Fast 0.5 (torch.ones (2L, 3L)) (torch.ones (3L, 3L)) |> ignore)
                (fun e -> Expect.stringContains e.Message "[3; 3]" "both shapes"))
    ]

// The gradient of a loss of two views in both, and the slopes of its values.
let private gradients (loss: Tensor -> Tensor -> Tensor) (a: float[][]) (b: float[][]) =
    let x, y = (matrix a).requires_grad_ true, (matrix b).requires_grad_ true
    let found = torch.autograd.grad (ResizeArray [ loss x y ], ResizeArray [ x; y ])
    Array.append (floats found[0]) (floats found[1])

let private sloped name loss =
    testPropertyN 20 (name + "'s gradient equals finite differences") (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            let a, b = source.Rows(4, 3), source.Rows(4, 3)

            let f (flat: float[]) =
                let rows = Array.chunkBySize 3 flat
                number (loss (matrix rows[..3]) (matrix rows[4..]))

            close 1e-5 (gradients loss a b) (slopes 1e-5 f (Array.concat (Array.append a b))) "gradient"))

let private published what (loss: GoldenValues.Case -> Tensor -> Tensor -> Tensor) (first, second) =
    test (what + " agrees with the published code") (fun () ->
        let cases = GoldenValues.ofLosses ("loss " + what)
        Expect.isNonEmpty cases "cases"

        for case in cases do
            let input name = (GoldenValues.array [ "inputs"; name ] case).requires_grad_ true
            let a, b = input first, input second
            let value = loss case a b
            let found = torch.autograd.grad (ResizeArray [ value ], ResizeArray [ a; b ])
            let right = GoldenValues.right case
            let tolerance = GoldenValues.real [ "tolerance" ] case
            close tolerance [| number value |] [| GoldenValues.real [ "value" ] right |] "value"

            for name, gradient in [ first, found[0]; second, found[1] ] do
                close tolerance (floats gradient) (GoldenValues.values [ "gradients"; name ] right) name)

let private hyper name (case: GoldenValues.Case) = GoldenValues.real [ "hyper"; name ] case

[<Tests>]
let tests =
    testList "Losses.TwoViewLoss" [
        yield! List.map laws twins
        sloped "N-pair" (NPair.loss 0.5)
        sloped "Barlow Twins" (BarlowTwins.loss 0.1)
        sloped "VICReg" (VicReg.loss 25.0 25.0 1.0)
        published "npair.plain" (fun case -> NPair.loss (hyper "T" case)) ("anchor", "positive")
        published
            "spread.uel"
            (fun case -> InstanceSpread.loss (hyper "T" case) (hyper "m" case))
            ("x1", "x2")

        testProperty "BYOL and SimSiam equal their formulas, and targets get no gradient" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let rows = Array.init 4 (fun _ -> source.Rows(3, 4))
                let p1, p2, z1, z2 = rows[0], rows[1], rows[2], rows[3]
                let inputs = rows |> Array.map (fun r -> (matrix r).requires_grad_ true)
                let loss = Byol.loss inputs[0] inputs[1] inputs[2] inputs[3]
                relative 1e-12 [| number loss |] [| byol p1 p2 z1 z2 |] "BYOL"
                let siam = SimSiam.loss inputs[0] inputs[1] inputs[2] inputs[3]
                relative 1e-12 [| number siam |] [| byol p1 p2 z1 z2 / 4.0 - 1.0 |] "SimSiam"
                Expect.equal
                    (Autograd.grad false loss inputs |> List.map Option.isSome)
                    [ true; true; false; false ]
                    "who gets a gradient"))

        test "alike and spread views cost nothing" (fun () ->
            let x = matrix [| [| 3.0; 0.0 |]; [| 0.0; 3.0 |]; [| -3.0; 0.0 |]; [| 0.0; -3.0 |] |]
            close 1e-9 [| number (VicReg.loss 25.0 25.0 1.0 x x) |] [| 0.0 |] "VICReg"
            close 1e-5 [| number (BarlowTwins.loss 0.005 x x) |] [| 0.0 |] "Barlow Twins"
            close 1e-12 [| number (Byol.loss x x x x) |] [| 0.0 |] "BYOL")
    ]
