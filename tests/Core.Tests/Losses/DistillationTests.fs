/// The losses of student and teacher against loops over plain numbers, each other and published values.
module Tests.Losses.DistillationTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Objectives
open Support.LossGradients
open Support.Laws
open Support

// --- the formulas, number by number

let private closeness (x: float[][]) (y: float[][]) = Array.map2 cosine x y |> mean

let private deAcl weight (s: float[][]) s' t = -(closeness s t) - weight * closeness s' s

let private proFeAt w beta (f: float[][], z) (f', z') (ft, zt) =
    -((1.0 - w) * closeness f ft + w * closeness z zt)
    - beta * ((1.0 - w) * closeness f' f + w * closeness z' z)

let private apart (x: float[][]) y = -(Array.map2 cosine x y |> Array.sum)

// --- each loss as a function of a list

type private Form = {
    Name: string
    Inputs: int
    /// The inputs that get no gradient, by number.
    Fixed: int list
    Fast: float * float -> Tensor list -> Tensor
    Slow: float * float -> float[][] list -> float
}

let private forms = [
    {
        Name = "DeACL"
        Inputs = 3
        Fixed = []
        Fast = fun (_, weight) x -> Distillation.deAcl weight x[0] x[1] x[2]
        Slow = fun (_, weight) x -> deAcl weight x[0] x[1] x[2]
    }
    {
        Name = "DeACL's attack"
        Inputs = 2
        Fixed = []
        Fast = fun _ x -> Distillation.deAclAttack x[0] x[1]
        Slow = fun _ x -> apart x[0] x[1]
    }
    {
        Name = "DAQ-SDP"
        Inputs = 6
        Fixed = []
        Fast = fun (_, weight) x -> Distillation.twoViews weight (x[0], x[1], x[2]) (x[3], x[4], x[5])
        Slow = fun (_, weight) x -> (deAcl weight x[0] x[1] x[2] + deAcl weight x[3] x[4] x[5]) / 2.0
    }
    {
        Name = "ProFeAT"
        Inputs = 6
        Fixed = []
        Fast = fun (w, beta) x -> Distillation.proFeAt w beta (x[0], x[1]) (x[2], x[3]) (x[4], x[5])
        Slow = fun (w, beta) x -> proFeAt w beta (x[0], x[1]) (x[2], x[3]) (x[4], x[5])
    }
    {
        Name = "ProFeAT's attack"
        Inputs = 4
        Fixed = [ 2 ]
        Fast = fun _ x -> Distillation.proFeAtAttack (x[0], x[1]) x[2] x[3]
        Slow = fun _ x -> apart x[0] x[2] + apart x[1] x[3]
    }
]

let private laws form =
    let drawn count name check =
        testPropertyN count name (fun (seed: int) (PositiveInt n) (PositiveInt d) ->
            balanced (fun () ->
                let source = Source seed
                let n, d = 1 + n % 6, 2 + d % 5
                let weights = source.Uniform(0.0, 1.0), source.Uniform(0.0, 8.0)
                check source weights [ for _ in 1 .. form.Inputs -> source.Rows(n, d) ]))

    testList form.Name [
        drawn 100 "equals the formula, number by number" (fun _ weights x ->
            relative
                1e-10
                [| number (form.Fast weights (x |> List.map matrix)) |]
                [| form.Slow weights x |]
                "value")

        drawn 100 "sees neither order nor rotation nor length" (fun source weights x ->
            invariant source (form.Fast weights) x)

        drawn 20 "gradients equal finite differences, and the fixed side gets none" (fun _ weights x ->
            sloped form.Fixed (form.Slow weights) (form.Fast weights) x)

        test "is exact enough for 4096 embeddings in single precision" (fun () ->
            let source = Source 6
            let x = [ for _ in 1 .. form.Inputs -> source.Rows(4096, 8) ]
            let value, gradients = withGradients (form.Fast(0.5, 2.0)) (x |> List.map (matrix >> single))
            relative 1e-4 [| value |] [| form.Slow (0.5, 2.0) x |] "value"

            for gradient in List.choose id gradients do
                Expect.all gradient System.Double.IsFinite "gradient")

        test "half precision is summed in single precision" (fun () ->
            let source = Source 7
            halves (form.Fast(0.5, 2.0)) [ for _ in 1 .. form.Inputs -> source.Rows(5, 4) ])
    ]

[<Tests>]
let tests =
    testList "Losses.Distillation" [
        yield! List.map laws forms

        testProperty "ProFeAT without projections at weight 2 is DeACL" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let x = [ for _ in 1..3 -> matrix (source.Rows(4, 5)) ]
                let p = [ for _ in 1..3 -> matrix (source.Rows(4, 2)) ]

                let value, gradients =
                    withGradients
                        (fun x -> Distillation.proFeAt 0.0 2.0 (x[0], p[0]) (x[1], p[1]) (x[2], p[2]))
                        x

                let expected, slopes = withGradients (fun x -> Distillation.deAcl 2.0 x[0] x[1] x[2]) x
                relative 1e-12 [| value |] [| expected |] "value"

                for i in 0..1 do
                    relative 1e-12 gradients[i].Value slopes[i].Value "gradient"))

        testProperty "two views alike are DeACL's one" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let s, s', t =
                    matrix (source.Rows(4, 5)), matrix (source.Rows(4, 5)), matrix (source.Rows(4, 5))
                relative
                    1e-12
                    [| number (Distillation.twoViews 2.0 (s, s', t) (s, s', t)) |]
                    [| number (Distillation.deAcl 2.0 s s' t) |]
                    "value"))

        test "bounds are met by equal and by opposite embeddings" (fun () ->
            let x = matrix ((Source 8).Rows(3, 4))
            let opposite = x.neg ()
            close 1e-12 [| number (Distillation.deAcl 2.0 x x x) |] [| -3.0 |] "alike"
            close 1e-12 [| number (Distillation.deAcl 2.0 x opposite opposite) |] [| 3.0 |] "opposite"
            close 1e-12 [| number (Distillation.deAclAttack x opposite) |] [| 3.0 |] "the attack's best"
            let attack = Distillation.proFeAtAttack (x, x) opposite opposite
            close 1e-12 [| number attack |] [| 6.0 |] "the attack's best in two spaces")

        test "features and projections have widths of their own" (fun () ->
            let source = Source 9
            let f = [ for _ in 1..3 -> source.Rows(4, 6) ]
            let z = [ for _ in 1..3 -> source.Rows(4, 2) ]
            let pair i = matrix f[i], matrix z[i]
            relative
                1e-10
                [| number (Distillation.proFeAt 0.3 2.0 (pair 0) (pair 1) (pair 2)) |]
                [| proFeAt 0.3 2.0 (f[0], z[0]) (f[1], z[1]) (f[2], z[2]) |]
                "value")

        test "faults are named" (fun () ->
            let ones (shape: int64 list) = torch.ones (Array.ofList shape, torch.float64)
            let good, longer, empty = ones [ 3L; 2L ], ones [ 4L; 2L ], ones [ 0L; 2L ]
            let zero = matrix [| [| 1.0; 1.0 |]; [| 1.0; 1.0 |]; [| 0.0; 0.0 |] |]
            let pair, longPair = (good, good), (longer, longer)
            let deAcl weight s a t () = Distillation.deAcl weight s a t |> ignore
            let proFeAt w beta s a t () = Distillation.proFeAt w beta s a t |> ignore
            let attack a s t () = Distillation.proFeAtAttack a s t |> ignore
            let three, bad = (good, good, good), (good, good, longer)

            for name, parts, call in
                [
                    "weight", [ "weight" ], deAcl -1.0 good good good
                    "no image", [ "student"; "at least 1" ], deAcl 2.0 empty empty empty
                    "rank", [ "student"; "[n; d]" ], deAcl 2.0 (ones [ 3L ]) good good
                    "shapes", [ "teacher"; "[4; 2]"; "[3; 2]" ], deAcl 2.0 good good longer
                    "no direction", [ "studentAdv"; "row 2" ], deAcl 2.0 good zero good
                    "the attack's teacher",
                    [ "teacher"; "[4; 2]" ],
                    (fun () -> Distillation.deAclAttack good longer |> ignore)
                    "the strong view",
                    [ "strong"; "[4; 2]" ],
                    (fun () -> Distillation.twoViews 2.0 three bad |> ignore)
                    "weight of two views",
                    [ "weight" ],
                    (fun () -> Distillation.twoViews nan three three |> ignore)
                    "projections' weight below 0", [ "projectionWeight" ], proFeAt -0.1 2.0 pair pair pair
                    "projections' weight above 1",
                    [ "projectionWeight"; "1.5" ],
                    proFeAt 1.5 2.0 pair pair pair
                    "robustness", [ "robustness" ], proFeAt 0.5 infinity pair pair pair
                    "features", [ "studentAdv"; "[4; 2]" ], proFeAt 0.5 2.0 pair (longer, good) pair
                    "projections", [ "teacher"; "[4; 2]" ], proFeAt 0.5 2.0 pair pair (good, longer)
                    "one projection too many",
                    [ "student"; "[3; 2]"; "[4; 2]" ],
                    proFeAt 0.5 2.0 (good, longer) (good, longer) (good, longer)
                    "projections without direction",
                    [ "student"; "row 2" ],
                    proFeAt 0.5 2.0 (good, zero) pair pair
                    "the attack's student", [ "student"; "[4; 2]" ], attack pair longer good
                    "the attack's projections", [ "teacher"; "[4; 2]" ], attack pair good longer
                    "the attack's rows",
                    [ "studentAdv"; "[3; 2]"; "[4; 2]" ],
                    attack (good, longer) good longer
                    "both too long", [ "studentAdv"; "[4; 2]" ], proFeAt 0.5 2.0 pair longPair pair
                ] do
                refuses parts call name)

        testList "published" [
            for case in GoldenValues.ofLosses "loss deacl" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let weight = GoldenValues.real [ "hyper"; "weight" ] case

                    agrees "published" case [ "student"; "student_adv"; "teacher" ] (fun x ->
                        Distillation.deAcl weight x["student"] x["student_adv"] x["teacher"]))

            for case in GoldenValues.ofLosses "attack deacl.pgd" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let part name = GoldenValues.array [ "network"; name ] case
                    let w1, b1, w2, b2 = part "W1", part "b1", part "W2", part "b2"
                    let net (x: Tensor) =
                        torch.nn.functional.linear (torch.nn.functional.linear(x, w1, b1).tanh(), w2, b2)
                    let hyper name = GoldenValues.real [ "hyper"; name ] case
                    let radius = hyper "epsilon"
                    let input name = GoldenValues.array [ "inputs"; name ] case
                    let origin = input "x"

                    let raised =
                        climb
                            (Threat.create Linf radius)
                            (GradientAttack.pgd
                                (hyper "step" / radius)
                                (GoldenValues.whole [ "hyper"; "steps" ] case))
                            (fun x -> Distillation.deAclAttack (net x) (input "teacher"))
                            origin
                            (origin + input "start")

                    close
                        (GoldenValues.real [ "tolerance" ] case)
                        (floats raised)
                        (GoldenValues.values [ "published"; "x_adv" ] case)
                        "x_adv")
        ]
    ]
