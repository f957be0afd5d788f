/// The Square attack.
module Tests.Attacks.SquareTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.SquareOracle
open Support

[<Tests>]
let tests =
    testList "Attacks.Square" [
        testList "published" [
            for case in GoldenValues.ofAttacks "square_schedule" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    let how = {
                        Share = GoldenValues.real [ "params"; "p_init" ] case
                        Queries = GoldenValues.whole [ "params"; "n_queries" ] case
                        Rescaled = GoldenValues.truth [ "params"; "rescale" ] case
                        ToTheEdge = true
                    }
                    let height, width =
                        GoldenValues.whole [ "params"; "height" ] case,
                        GoldenValues.whole [ "params"; "width" ] case
                    let shares =
                        GoldenValues.values [ "inputs"; "iteration" ] case
                        |> Array.map (int >> Square.share how)
                    let sides =
                        shares |> Array.map (fun share -> SquareWindow.side Linf share height width |> float)
                    let tolerance = GoldenValues.real [ "tolerance" ] case
                    close tolerance shares (GoldenValues.values [ "expected"; "p" ] case) "p"
                    close tolerance sides (GoldenValues.values [ "expected"; "side_linf" ] case) "sides")

            for case in GoldenValues.ofAttacks "square_bump" do
                test (GoldenValues.text [ "id" ] case) (fun () ->
                    for side in GoldenValues.values [ "inputs"; "side" ] case |> Array.map int do
                        close
                            (GoldenValues.real [ "tolerance" ] case)
                            (Array.concat (SquareWindow.bump (GoldenValues.norm case) side))
                            (GoldenValues.values [ "expected"; sprintf "side%d" side ] case)
                            (sprintf "side %d" side))
        ]

        testProperty
            "p is what the schedule's rules say"
            (fun (NonNegativeInt index) (PositiveInt queries) (rescaled: bool) ->
                let index, queries = index * 97 % 10001, 1 + queries * 89 % 12000
                let how = { Square.standard with Queries = queries; Rescaled = rescaled }
                let expected = slowShare 0.8 rescaled queries index
                close 1e-15 [| Square.share how index |] [| expected |] "p")

        testTheory
            "sides: rounded, at least 1 or 3, odd but in Linf, and no longer than the image"
            [
                Linf, 0.8, 32, 32, 29
                Linf, 0.0001, 32, 32, 1
                Linf, 1.0, 32, 8, 8
                Linf, 0.1, 7, 3, 1
                L2, 0.8, 32, 32, 29
                L2, 0.4, 32, 32, 21
                L1, 0.1, 32, 32, 11
                L2, 0.0001, 32, 32, 3
                L1, 0.0001, 2, 9, 2
                L2, 1.0, 1, 1, 1
            ]
            (fun (norm, share, h, w, expected) ->
                Expect.equal (SquareWindow.side norm share h w) expected "side")

        testTheory "bumps are painted rectangles, of length 1" [ 1..11 ] (fun side ->
            for norm, size in [ L2, norm2; L1, norm1 ] do
                let bump = Array.concat (SquareWindow.bump norm side)
                let expected = slowBump norm side |> Seq.cast<float> |> Array.ofSeq
                close 1e-14 bump expected "bump"
                close 1e-14 [| size bump |] [| 1.0 |] "length")

        testPropertyN
            120
            "all is as a slow attack has it, pixel by pixel"
            (fun (seed: int) (PositiveInt count) (targeted: bool) ->
                balanced (fun () ->
                    let case = case seed count
                    let s, (c, h, w) = case.Scene, case.Shape
                    let source = Source seed
                    // Some runs that draw more than once.
                    let how: Square =
                        if source.Whole(0, 3) = 0 then
                            { case.How with Queries = source.Whole(60, 140) }
                        else
                            case.How
                    let classes = int (s.Classify s.Victims.Images).shape[1]
                    let targets = s.Y |> Array.map (fun y -> (y + 1) % classes)
                    let s =
                        if targeted then
                            { s with Victims = { s.Victims with Targets = Some(labels targets) } }
                        else
                            s
                    let logits x = floats (s.Classify(tensor [ 1; c; h; w ] x))
                    let expected =
                        rows s.Victims.Images
                        |> Array.mapi (fun i image ->
                            slow
                                how
                                s.Threat
                                logits
                                case.Shape
                                { s.Draw with Ids = [| s.Draw.Ids[i] |] }
                                image
                                s.Y[i]
                                (if targeted then Some targets[i] else None))

                    same (deeds (run how s)) expected "report"))

        law "every point evaluated lies in ball and box, in single precision too" (fun case ->
            let s = pick [| 0 |] case.Scene
            let images = single s.Victims.Images
            let seen = ResizeArray<float[]>()
            let classify (x: Tensor) =
                seen.AddRange(rows x)
                s.Classify x
            let s = { s with Classify = classify; Victims = { s.Victims with Images = images } }
            let harm = run case.How s
            Expect.equal harm.Images.dtype torch.float32 "precision"
            Expect.equal (int64 seen.Count) ((wholes harm.Forwards)[0] + 1L) "points"
            let original = floats images
            let moved = seen.ToArray() |> Array.map (fun x -> minus x original)
            within 0.0 1.0 (Array.concat seen) "box"
            let radius = s.Threat.Radius
            atMost
                (radius + 1e-5 * (1.0 + radius))
                (moved |> Array.map (Oracles.lengthOf s.Threat.Norm))
                "ball"

            for norm in [ Linf; L2; L1 ] do
                relative 1e-5 (floats harm.Distance[norm]) (lengths norm harm.Images images) "distance")

        law "more proposals go on where fewer end: the kept margin never rises" (fun case ->
            let s = case.Scene
            let outcome queries =
                let harm = run { case.How with Queries = queries; Rescaled = false } s
                Array.zip3 (truths harm.Success) (wholes harm.FirstSuccess) (margins s harm.Images)

            for fewer, more in [ 1; 3; 20; 70 ] |> List.map outcome |> List.pairwise do
                for (wasBroken, wasFirst, before), (isBroken, isFirst, after) in Array.zip fewer more do
                    Expect.isLessThanOrEqual after (before + 1e-9) "margin"

                    if wasBroken then
                        Expect.equal (isBroken, isFirst) (true, wasFirst) "what fell falls the same")

        law "any split of the batch gives the same, the batch of one too, and so does any order" (fun case ->
            let s = case.Scene
            let together = deeds (run case.How s)
            let n = together.Length

            for size in [ 1; 2 ] do
                let parts = Array.chunkBySize size [| 0 .. n - 1 |]
                let apart = parts |> Array.collect (fun places -> deeds (run case.How (pick places s)))
                same apart together (sprintf "batches of %d" size)

            let order = (Source 1).Order n
            let permuted = deeds (run case.How (pick order s))
            same permuted (order |> Array.map (Array.get together)) "permuted")

        law "the same seed gives the same bytes, and the images given stay as they were" (fun case ->
            let s = case.Scene
            let before = bits s.Victims.Images
            let first = run case.How s
            let again = run case.How s

            for a, b in Seq.zip (Attack.tensors first) (Attack.tensors again) do
                Expect.equal (bits a) (bits b) "bytes"

            Expect.equal (bits s.Victims.Images) before "the images given"
            Expect.isFalse first.Images.requires_grad "gradient attached")

        test "another seed looks elsewhere" (fun () ->
            let s = { (scene 8 5) with Threat = Threat.create L2 0.05 }
            let other = { s with Draw = { s.Draw with Seed = 4UL } }
            Expect.notEqual (bits (run brief s).Images) (bits (run brief other).Images) "images")

        law
            "success is that of the stored image, and looks are counted as the classifier sees them"
            (fun case ->
                let s = case.Scene
                let mutable seen = 0L
                let classify (x: Tensor) =
                    seen <- seen + x.shape[0]
                    s.Classify x
                let harm = run case.How { s with Classify = classify }
                Expect.equal seen (Array.sum (wholes harm.Forwards) + int64 s.Y.Length) "rows"
                Expect.equal
                    (truths harm.Success)
                    (Array.map2 (<>) (guesses s.Classify harm.Images) s.Y)
                    "misclassified"
                let wrong = Array.map2 (<>) (guesses s.Classify s.Victims.Images) s.Y

                Array.zip3 wrong (deeds harm) (rows s.Victims.Images)
                |> Array.iter (fun (wrong, deed, image) ->
                    Expect.equal deed.Gradients 0L "gradients"

                    if wrong then
                        Expect.equal (deed.Image, deed.First, deed.Forwards) (image, 0L, 1L) "one look"
                    elif deed.Success then
                        Expect.equal deed.Forwards (deed.First + 1L) "it leaves at its first success"
                    else
                        Expect.equal
                            (deed.First, deed.Forwards)
                            (-1L, int64 case.How.Queries + 2L)
                            "every proposal is made"))
    ]
