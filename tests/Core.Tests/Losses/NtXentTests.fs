/// NT-Xent and its one-sided half against double loops, finite differences and closed forms.
module Tests.Losses.NtXentTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Testing
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws
open Support

type private Contrast = {
    Name: string
    Fast: float -> Tensor -> Tensor -> Tensor
    Slow: float -> float[][] -> float[][] -> float
}

// Every anchor against the other anchors and all partners, its own among them.
let private slowOneSided t (a: float[][]) (p: float[][]) =
    Array.init a.Length (fun m ->
        let others = a |> Array.removeAt m |> Array.append p
        logSumExp (others |> Array.map (fun row -> cosine a[m] row / t)) - cosine a[m] p[m] / t)
    |> mean

let private contrasts = [
    { Name = "NT-Xent"; Fast = InfoNce.ntXent; Slow = Oracles.ntXent }
    { Name = "one-sided"; Fast = InfoNce.oneSided; Slow = slowOneSided }
]

let private law name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            let images, width = source.Whole(2, 7), source.Whole(2, 6)
            let a, b = source.Rows(images, width), source.Rows(images, width)
            check source (source.Uniform(0.05, 2.0)) a b))

let private laws contrast =
    let value t a b = number (contrast.Fast t (matrix a) (matrix b))
    let sentBy t = sent (fun z -> contrast.Fast t z[0] z[1])

    testList contrast.Name [
        law "equals the double loop" (fun _ t a b ->
            relative 1e-10 [| value t a b |] [| contrast.Slow t a b |] "value")

        testPropertyN 20 "its gradient equals finite differences" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let a, b = source.Rows(3, 4), source.Rows(3, 4)
                let t = source.Uniform(0.2, 1.0)
                let _, gradients = sentBy t [ matrix a; matrix b ]
                let expected = slopesOf (fun z -> contrast.Slow t z[0] z[1]) [ a; b ]
                close 1e-6 (gradients |> List.choose id |> Array.concat) expected "gradient"))

        law "the order of the pairs does not matter" (fun source t a b ->
            let order = source.Order a.Length
            let permute (x: 'a[]) = order |> Array.map (Array.get x)
            relative 1e-12 [| value t (permute a) (permute b) |] [| value t a b |] "permuted")

        law "turning all embeddings does not matter" (fun source t a b ->
            let turn = rotation source a[0].Length
            relative 1e-10 [| value t (multiply a turn) (multiply b turn) |] [| value t a b |] "turned")

        law "the length of an embedding does not matter" (fun source t a b ->
            let scale = Array.map (fun row -> times (exp (source.Uniform(-5.0, 5.0))) row)
            relative 1e-10 [| value t (scale a) (scale b) |] [| value t a b |] "scaled")

        law "where all embeddings are equal it is log(2B - 1)" (fun _ t a _ ->
            let same = Array.create a.Length a[0]
            relative 1e-10 [| value t same same |] [| log (2.0 * float a.Length - 1.0) |] "value")

        testProperty "of images in directions of their own it has a closed form" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let images, t = source.Whole(2, 7), source.Uniform(0.05, 2.0)
                let z = Array.init images (fun m -> Array.init images (fun k -> if k = m then 3.0 else 0.0))
                let expected = log (exp (1.0 / t) + 2.0 * float (images - 1)) - 1.0 / t
                close 1e-10 [| value t z z |] [| expected |] "alike"
                let turned = z |> Array.map (times -1.0)
                let expected = log (exp (-1.0 / t) + 2.0 * float (images - 1)) + 1.0 / t
                close 1e-10 [| value t z turned |] [| expected |] "opposed"))

        test "it is stable for a thousand embeddings at temperature 0.01 in single precision" (fun () ->
            let source = Source 1
            let a = source.Rows(512, 16)
            // Scores from -100 to 100, the positive's not always the largest.
            let b = a |> Array.map (fun row -> plus row (source.Normals 16))
            let expected = contrast.Slow 0.01 a b
            let value, gradients = sentBy 0.01 [ single (matrix a); single (matrix b) ]
            Expect.isGreaterThan expected 0.01 "not trivial"
            relative 1e-3 [| value |] [| expected |] "value"
            Expect.all (gradients |> List.choose id |> Array.concat) System.Double.IsFinite "gradient"
            Expect.hasLength (List.choose id gradients) 2 "gradients")

        test "half precision is summed in single precision" (fun () ->
            let source = Source 2
            let a, b = matrix (source.Rows(4, 8)), matrix (source.Rows(4, 8))
            let half (x: Tensor) = x.``to`` torch.bfloat16
            let loss = contrast.Fast 0.1 (half a) (half b)
            Expect.equal loss.dtype torch.float32 "type"
            let expected = contrast.Fast 0.1 (half a |> single) (half b |> single)
            Expect.equal (number loss) (number expected) "value")
    ]

[<Tests>]
let tests =
    testList "Losses.NtXent" [
        yield! List.map laws contrasts

        law "NT-Xent's views are alike" (fun _ t a b ->
            let value a b = number (InfoNce.ntXent t (matrix a) (matrix b))
            relative 1e-12 [| value a b |] [| value b a |] "swapped")

        law
            "NT-Xent is the mean of its one-sided halves with the roles swapped, gradients too"
            (fun _ t a b ->
                let inputs = [ matrix a; matrix b ]
                let halves (z: Tensor list) =
                    (InfoNce.oneSided t z[0] z[1] + InfoNce.oneSided t z[1] z[0]) * 0.5
                same
                    1e-10
                    (sentAll halves inputs)
                    (sentAll (fun z -> InfoNce.ntXent t z[0] z[1]) inputs)
                    "halves")

        law "two attacks that give the same images count as one" (fun _ t a p ->
            let two (z: Tensor list) = (InfoNce.oneSided t z[0] z[1] + InfoNce.oneSided t z[0] z[2]) * 0.5
            let value, gradients = sentAll two [ matrix a; matrix p; matrix p ]
            let single, ofOne = sentAll (fun z -> InfoNce.oneSided t z[0] z[1]) [ matrix a; matrix p ]
            relative 1e-12 [| value |] [| single |] "value"
            relative 1e-10 gradients[0] ofOne[0] "the anchors' gradient"
            relative 1e-10 (plus gradients[1] gradients[2]) ofOne[1] "the attacks' share it")

        testProperty "ACL's form is NT-Xent up to a constant's rounding" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let images, width = source.Whole(2, 5), source.Whole(2, 5)
                let views = [ for _ in 1..2 -> source.Rows(images, width) ]
                let t = source.Uniform(0.3, 2.0)
                let between = [ 0, 1, 1.0; 1, 0, 1.0 ]
                let acl = InfoNce.ofViews (Similarity.cosine t) AllLessConstant between
                let value, gradients = sentAll acl (List.map matrix views)
                let expected = ofViews t AllLessConstant between views views
                relative 1e-10 [| value |] [| expected |] "value"
                let slopes = slopesOf (fun z -> ofViews t AllLessConstant between z z) views
                relative 1e-5 (Array.concat gradients) slopes "gradient"
                relative 1e-5 [| value |] [| Oracles.ntXent t views[0] views[1] |] "NT-Xent"))
    ]
