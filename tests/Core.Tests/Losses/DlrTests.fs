/// The difference of logits ratio.
module Tests.Losses.DlrTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.Laws
open Support.AttackCases
open Support

let private gradient (loss: Tensor) (x: Tensor) =
    (torch.autograd.grad (ResizeArray [ loss.sum () ], ResizeArray [ x ]))[0]

let private falling (z: float[]) = Array.sortDescending z

// As the formulas read, for one row.
let private ratio (z: float[]) y =
    let s = falling z
    let other = seq { 0 .. z.Length - 1 } |> Seq.filter ((<>) y) |> Seq.map (Array.get z) |> Seq.max
    -(z[y] - other) / (s[0] - s[2] + 1e-12)

let private towards (z: float[]) y t =
    let s = falling z
    -(z[y] - z[t]) / (s[0] - (s[2] + s[3]) / 2.0 + 1e-12)

// Rows of logits with a label and a target each.
let private drawn (seed: int) least n k =
    let source = Source seed
    let n, k = 1 + n % 6, least + k % 6
    let shift = source.Among [ 0.0; -50.0 ]
    let z = source.Rows(n, k) |> Array.map (Array.map (fun v -> shift + 5.0 * v))
    let some () = Array.init n (fun _ -> source.Whole(0, k - 1))
    z, some (), some ()

[<Tests>]
let tests =
    testList "Losses.Dlr" [
        testProperty
            "values and gradients are those of the formula"
            (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
                balanced (fun () ->
                    let z, y, _ = drawn seed 3 n k
                    let x = (matrix z).requires_grad_ true
                    let values = Dlr.perSample x (labels y)
                    relative 1e-10 (floats values) (Array.map2 ratio z y) "values"
                    let expected = Array.map2 (fun z y -> slopes 1e-6 (fun z -> ratio z y) z) z y
                    relative 1e-4 (floats (gradient values x)) (Array.concat expected) "gradients"))

        testProperty "towards a target too" (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
            balanced (fun () ->
                let z, y, t = drawn seed 4 n k
                let x = (matrix z).requires_grad_ true
                let values = Dlr.targeted x (labels y) (labels t)
                relative 1e-10 (floats values) (Array.map3 towards z y t) "values"
                let expected = Array.map3 (fun z y t -> slopes 1e-6 (fun z -> towards z y t) z) z y t
                relative 1e-4 (floats (gradient values x)) (Array.concat expected) "gradients"))

        testProperty
            "a constant added to the logits and a factor above 0 change nothing"
            (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
                balanced (fun () ->
                    let z, y, t = drawn seed 4 n k
                    let source = Source seed
                    let shift, factor = source.Normal(), source.Uniform(0.1, 20.0)
                    let x, other =
                        matrix z, matrix (z |> Array.map (Array.map (fun v -> shift + factor * v)))

                    for loss in
                        [
                            fun x -> Dlr.perSample x (labels y)
                            fun x -> Dlr.targeted x (labels y) (labels t)
                        ] do
                        relative 1e-8 (floats (loss other)) (floats (loss x)) "value"))

        testProperty
            "it is above 0 where the label has lost, and the label's own is within -1 and 0"
            (fun (seed: int) (PositiveInt n) (PositiveInt k) ->
                balanced (fun () ->
                    let z, y, _ = drawn seed 3 n k

                    for value, z, y in Array.zip3 (floats (Dlr.perSample (matrix z) (labels y))) z y do
                        if Oracles.argmax z = y then
                            within -1.0 0.0 [| value |] "won"
                        else
                            Expect.isGreaterThan value 0.0 "lost"))

        test "three equal leaders give a value that is finite" (fun () ->
            let z = (tensor [ 1; 4 ] [| 1.0; 1.0; 1.0; 0.0 |]).requires_grad_ true
            let value = Dlr.perSample z (labels [| 0 |])
            Expect.equal (floats value) [| 0.0 |] "value"
            Expect.allEqual (floats (gradient value z) |> Array.map System.Double.IsFinite) true "gradient")

        test "half precision is compared in single precision" (fun () ->
            let z = (tensor [ 1; 4 ] [| 3.0; 1.0; 0.5; 0.25 |]).``to`` torch.float16

            for value in
                [ Dlr.perSample z (labels [| 0 |]); Dlr.targeted z (labels [| 0 |]) (labels [| 2 |]) ] do
                Expect.equal value.dtype torch.float32 "type"
                Expect.isLessThan (number value) 0.0 "value")

        test "what cannot be compared is refused" (fun () ->
            let zeros k = torch.zeros ([| 2L; k |], torch.float64)
            let y, far = labels [| 0; 1 |], labels [| 0; 4 |]
            let single z y () = Dlr.perSample z y |> ignore
            let pair z y t () = Dlr.targeted z y t |> ignore
            refuses [ "logits"; "3 classes or more"; "[2; 2]" ] (single (zeros 2L) y) "two classes"
            refuses [ "logits"; "4 classes or more"; "[2; 3]" ] (pair (zeros 3L) y y) "three classes"
            refuses [ "labels"; "0 .. 3"; "4" ] (single (zeros 4L) far) "range of the labels"
            refuses [ "labels"; "0 .. 3"; "4" ] (pair (zeros 4L) far y) "range of the labels"
            refuses [ "targets"; "0 .. 3"; "4" ] (pair (zeros 4L) y far) "range of the targets")

        testList "published" [
            for case in GoldenValues.ofAttacks "loss" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let z = (GoldenValues.array [ "inputs"; "logits" ] case).requires_grad_ true
                    let input name = GoldenValues.indices [ "inputs"; name ] case
                    let tolerance = GoldenValues.real [ "tolerance" ] case

                    let agrees name (values: Tensor) =
                        let expected key = GoldenValues.values [ "expected"; key ] case
                        relative tolerance (floats values) (expected name) name
                        let slopes = expected (name + "_grad")
                        relative tolerance (floats (gradient values z)) slopes (name + "'s gradient")

                    agrees "dlr" (Dlr.perSample z (input "y"))

                    if z.shape[1] >= 4L then
                        agrees "dlr_targeted" (Dlr.targeted z (input "y") (input "target")))
        ]
    ]
