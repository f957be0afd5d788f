/// The losses of an adversarial view among clean ones: RoCL's, AdvCL's, and what A-InfoNCE makes of them.
module Tests.Losses.MultiViewLossTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.ContrastiveOracle
open Support.Laws

/// Numbers that a form is given.
type private Given = { Temperature: float; Base: float; Denominator: Denominator; Inferior: PositiveWeights }

type private Form = {
    Name: string
    /// How many views it takes.
    Views: int list
    Fast: Given -> Tensor list -> Tensor
    /// The views that learn, and the same views where a stop-gradient holds them fast.
    Slow: Given -> float[][] list -> float[][] list -> float
    /// Places of the adversarial view and of clean ones that it matters not to swap.
    Alike: int list
}

// --- the formulas

// l(1,2) + l(2,1) + w [ alpha (l(1,a) + l(2,a)) + (1 - alpha) (l(a,1) + l(a,2)) ], by a view's third of rows.
let private slowRocl given moving fast =
    let a, w = given.Inferior.Pull, given.Inferior.Weight
    let between = [ 0, 1, 1.0; 1, 0, 1.0; 0, 2, w * a; 1, 2, w * a; 2, 0, w * (1.0 - a); 2, 1, w * (1.0 - a) ]
    ofViews given.Temperature given.Denominator between moving fast

// The mean over the other views, then over all rows.
let private slowMean given between moving fast =
    ofViews given.Temperature given.Denominator between moving fast / float (List.length moving - 1)

let private cleanPairs (views: 'a list) = [
    for c in 1 .. views.Length - 1 do
        for d in 1 .. views.Length - 1 do
            if c <> d then c, d, 1.0
]

let private scaled given value = given.Temperature / given.Base * value

let private slowSymmetric given (moving: float[][] list) _ =
    let w = given.Inferior.Weight
    let adversarial = [
        for c in 1 .. moving.Length - 1 do
            yield! [ 0, c, w; c, 0, w ]
    ]
    slowMean given (cleanPairs moving @ adversarial) moving moving |> scaled given

let private slowOverwritten given (moving: float[][] list) _ =
    let w = given.Inferior.Weight
    let adversarial = [
        for c in 1 .. moving.Length - 1 do
            yield! [ 0, c, w; 0, c, w * w ]
    ]
    slowMean given (cleanPairs moving @ adversarial) moving moving |> scaled given

// A_c = w [ alpha l(c,a) + (1 - alpha) l(a,c) ], twice for every clean view.
let private slowAsymmetric given (moving: float[][] list) fast =
    let a, w = given.Inferior.Pull, given.Inferior.Weight
    let adversarial = [
        for c in 1 .. moving.Length - 1 do
            yield! [ c, 0, 2.0 * w * a; 0, c, 2.0 * w * (1.0 - a) ]
    ]
    scaled given (slowMean given (cleanPairs moving) moving moving + slowMean given adversarial moving fast)

let private rocl given (views: Tensor list) =
    RoclLoss.loss
        (Similarity.cosine given.Temperature)
        given.Denominator
        given.Inferior
        views[0]
        views[1]
        views[2]

let private advCl form given = form given.Base (Similarity.cosine given.Temperature) given.Denominator

let private forms = [
    { Name = "RoCL"; Views = [ 3 ]; Fast = rocl; Slow = slowRocl; Alike = [ 0; 1 ] }
    {
        Name = "AdvCL, both directions"
        Views = [ 2; 3; 4 ]
        Fast = fun given -> advCl (fun b -> AdvClLoss.symmetric b given.Inferior.Weight) given
        Slow = slowSymmetric
        Alike = [ 1; 2 ]
    }
    {
        Name = "AdvCL, overwritten"
        Views = [ 2; 3; 4 ]
        Fast = fun given -> advCl (fun b -> AdvClLoss.overwritten b given.Inferior.Weight) given
        Slow = slowOverwritten
        Alike = [ 1; 2 ]
    }
    {
        Name = "AdvCL, inferior positives"
        Views = [ 2; 3; 4 ]
        Fast = fun given -> advCl (fun b -> AdvClLoss.asymmetric b given.Inferior) given
        Slow = slowAsymmetric
        Alike = [ 1; 2 ]
    }
]

let private drawn (source: Source) form =
    let images, width = source.Whole(2, 4), source.Whole(2, 5)
    let given = {
        Temperature = source.Uniform(0.1, 1.5)
        Base = source.Uniform(0.05, 1.0)
        Denominator = denominator source
        Inferior = {
            Pull = source.Among [ 0.0; 0.5; 1.0; source.Uniform(0.0, 1.0) ]
            Weight = source.Uniform(0.0, 2.0)
        }
    }
    given, [ for _ in 1 .. source.Among form.Views -> source.Rows(images, width) ]

let private law form name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            let given, views = drawn source form
            check source given views))

let private value form given views = number (form.Fast given (List.map matrix views))

let private laws form =
    testList form.Name [
        law form "equals its formula, number by number" (fun _ given views ->
            relative 1e-10 [| value form given views |] [| form.Slow given views views |] "value")

        testPropertyN 20 "its gradient is that of what learns" (fun (seed: int) ->
            balanced (fun () ->
                let given, views = drawn (Source seed) form
                let _, gradients = sentAll (form.Fast given) (List.map matrix views)
                let expected = slopesOf (fun moving -> form.Slow given moving views) views
                relative 1e-6 (Array.concat gradients) expected "gradient"))

        law form "the order of the images does not matter" (fun source given views ->
            let order = source.Order views[0].Length
            let permuted = views |> List.map (fun view -> order |> Array.map (Array.get view))
            relative 1e-10 [| value form given permuted |] [| value form given views |] "value")

        law form "turning all embeddings does not matter, nor does their length" (fun source given views ->
            let turn = rotation source views.Head[0].Length
            let moved = views |> List.map (fun view -> multiply view turn)
            let moved =
                moved |> List.map (Array.map (fun row -> times (exp (source.Uniform(-5.0, 5.0))) row))
            relative 1e-9 [| value form given moved |] [| value form given views |] "value")

        law form "the order of the clean views does not matter" (fun _ given views ->
            if views.Length > 2 then
                let i, j = form.Alike[0], form.Alike[1]
                let swapped =
                    views
                    |> List.mapi (fun k view ->
                        if k = i then views[j]
                        elif k = j then views[i]
                        else view)
                relative 1e-10 [| value form given swapped |] [| value form given views |] "value")
    ]

// Plain numbers for identities.
let private plainly (source: Source) = {
    Temperature = source.Uniform(0.1, 1.5)
    Base = source.Uniform(0.05, 1.0)
    Denominator = denominator source
    Inferior = { Pull = 0.5; Weight = 1.0 }
}

let private views (source: Source) n =
    let images, width = source.Whole(2, 4), source.Whole(2, 5)
    [ for _ in 1..n -> matrix (source.Rows(images, width)) ]

let private identity name check =
    testProperty name (fun (seed: int) ->
        balanced (fun () ->
            let source = Source seed
            check source (plainly source)))

[<Tests>]
let tests =
    testList "Losses.MultiViewLoss" [
        yield! List.map laws forms

        identity "RoCL of two views has NT-Xent's value, and only anchors learn" (fun source given ->
            let inputs = views source 2
            let t = given.Temperature
            let value, gradients = sentAll (fun z -> RoclLoss.pair (Similarity.cosine t) z[0] z[1]) inputs
            let whole, _ = sentAll (fun z -> InfoNce.ntXent t z[0] z[1]) inputs
            relative 1e-12 [| value |] [| whole |] "value"
            let rows = List.map rows inputs
            let expected = slopesOf (fun z -> ofViews t AllOthers [ 0, 1, 1.0; 1, 0, 1.0 ] z rows) rows
            relative 1e-6 (Array.concat gradients) expected "only anchors learn")

        identity "RoCL's own weights are all six pairs alike, gradients too" (fun source given ->
            let inputs = views source 3
            let own = sentAll (fun z -> rocl { given with Inferior = RoclLoss.plain } z) inputs
            let similarity = Similarity.anchored given.Temperature
            let six =
                sentAll (InfoNce.ofViews similarity given.Denominator (Pairs.every 1.0 [ 0; 1; 2 ])) inputs
            same 1e-10 own six "alpha 1/2, weight 2")

        identity
            "RoCL sends no gradient by its candidates, whatever similarity it is given"
            (fun source given ->
                let inputs = views source 3
                let by similarity =
                    sentAll
                        (fun z -> RoclLoss.loss similarity given.Denominator given.Inferior z[0] z[1] z[2])
                        inputs
                same
                    1e-12
                    (by (Similarity.cosine given.Temperature))
                    (by (Similarity.anchored given.Temperature))
                    "shares")

        identity
            "AdvCL's inferior positives at alpha 1/2 have the value of both directions"
            (fun source given ->
                let inputs = views source (source.Whole(2, 4))
                let w = source.Among [ 1.0; source.Uniform(0.0, 2.0) ]
                let asymmetric =
                    advCl (fun b s d -> AdvClLoss.asymmetric b { Pull = 0.5; Weight = w } s d inputs) given
                let symmetric = advCl (fun b s d -> AdvClLoss.symmetric b w s d inputs) given
                relative 1e-10 [| number asymmetric |] [| number symmetric |] "value")

        identity "AdvCL's pull decides which side of a pair learns from it" (fun source given ->
            // Without slips, whose denominators are the other side's.
            let given = { given with Denominator = AllOthers }
            let inputs = views source 2
            let pulled pull view =
                let loss = advCl (fun b -> AdvClLoss.asymmetric b { Pull = pull; Weight = 1.0 }) given
                normInf (snd (sentAll loss inputs) |> List.item view)
            Expect.equal (pulled 1.0 0) 0.0 "pull 1: not the adversarial view"
            Expect.isGreaterThan (pulled 1.0 1) 0.0 "but the clean one"
            Expect.equal (pulled 0.0 1) 0.0 "pull 0: not the clean view"
            Expect.isGreaterThan (pulled 0.0 0) 0.0 "but the adversarial one")

        identity "AdvCL of two views at its own temperature is NT-Xent" (fun source given ->
            let inputs = views source 2
            let t = given.Temperature
            let advCl = sentAll (AdvClLoss.symmetric t 1.0 (Similarity.cosine t) AllOthers) inputs
            same 1e-10 advCl (sentAll (fun z -> InfoNce.ntXent t z[0] z[1]) inputs) "a mean over one pair")

        identity "AdvCL's overwritten pairs are those of the adversarial view alone" (fun source given ->
            let inputs = views source (source.Whole(2, 4))
            let w = source.Uniform(0.5, 1.5)
            let loss w = advCl (fun b s d -> number (AdvClLoss.overwritten b w s d inputs)) given
            // The weight comes in once as it is and once squared.
            relative 1e-9 [| loss 2.0 - loss 0.0 |] [| 6.0 / (w + w * w) * (loss w - loss 0.0) |] "w + w^2"
            let anchored =
                advCl
                    (fun b s d -> number (AdvClLoss.asymmetric b { Pull = 0.0; Weight = 1.0 } s d inputs))
                    given
            relative 1e-9 [| loss 1.0 |] [| anchored |] "as if only the adversarial view were drawn")

        testProperty "where all embeddings are equal only their number counts" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let images, count = source.Whole(2, 6), source.Whole(2, 4)
                let t, b = source.Uniform(0.1, 1.5), source.Uniform(0.05, 1.0)
                let all n = List.replicate n (matrix (Array.create images [| 3.0; -1.0; 2.0 |]))
                let similarity = Similarity.cosine t
                let inferior = { Pull = source.Uniform(0.0, 1.0); Weight = source.Uniform(0.0, 2.0) }
                let log n = log (float (n * images) - 1.0)
                let z = all 3
                close
                    1e-10
                    [| number (RoclLoss.pair (Similarity.cosine t) z[0] z[1]) |]
                    [| log 2 |]
                    "RoCL of two views"
                let rocl = RoclLoss.loss similarity AllOthers inferior z[0] z[1] z[2]
                // Two clean pairs and two times w alpha and w (1 - alpha), over three views.
                close 1e-10 [| number rocl |] [| (2.0 + 2.0 * inferior.Weight) / 3.0 * log 3 |] "RoCL"
                // Of the V (V - 1) pairs, 2 (V - 1) weigh w; the mean over V - 1 pairs, then over V views.
                let v = float count
                let share = ((v - 2.0) + 2.0 * inferior.Weight) / v
                let expected = t / b * share * log count
                let symmetric = AdvClLoss.symmetric b inferior.Weight similarity AllOthers (all count)
                let asymmetric = AdvClLoss.asymmetric b inferior similarity AllOthers (all count)
                close 1e-9 [| number symmetric; number asymmetric |] [| expected; expected |] "AdvCL"))
    ]
