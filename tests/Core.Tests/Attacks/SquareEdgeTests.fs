/// The Square attack at its edges: models that give way or do not, and what it says of itself.
module Tests.Attacks.SquareEdgeTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.SquareOracle
open Support

[<Tests>]
let tests =
    testList "Attacks.SquareEdge" [
        law "a radius of nought changes nothing" (fun case ->
            let s = { case.Scene with Threat = { case.Scene.Threat with Radius = 0.0 } }
            let harm = run case.How s
            close 1e-12 (floats harm.Images) (floats s.Victims.Images) "images")

        testPropertyN 12 "what a linear model of two classes withstands stays whole" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let shape = source.Among shapes
                let c, h, w = shape
                let d = c * h * w
                let model: Oracles.Linear = { Weights = source.Rows(2, d); Offsets = [| 0.0; 0.0 |] }
                let images = noise source [ 1; c; h; w ]
                let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                let across = minus model.Weights[0] model.Weights[1]
                let z = model.Logits(floats images)

                for norm, reach in [ Linf, norm1 across; L2, norm2 across; L1, normInf across ] do
                    let threat = Threat.create norm (0.999 * abs (z[0] - z[1]) / reach)
                    let draw = Rng.create 1UL "a" [| 7L |]
                    let attack = Square.attack { brief with Queries = 100; Rescaled = true }
                    let harm = attack.Run draw threat (linear model) (victims [| 7L |] images y)
                    Expect.equal (truths harm.Success) [| false |] (sprintf "%A" norm)))

        testPropertyN
            12
            "with patience it finds the corner that breaks a linear model, windows to the edge or none"
            (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let model: Oracles.Linear = { Weights = source.Rows(2, 16); Offsets = [| 0.0; 0.0 |] }
                    let images = noise source [ 4; 1; 4; 4 ] * 0.2 + 0.4
                    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
                    let across = minus model.Weights[0] model.Weights[1]

                    // The corner alone is just enough.
                    for i, x in Array.indexed (rows images) do
                        let z = model.Logits x
                        let threat = {
                            Threat.create Linf (1.001 * abs (z[0] - z[1]) / norm1 across) with
                                Box = None
                        }
                        let ids = [| int64 i |]
                        let image = images.narrow (0L, int64 i, 1L)
                        let attack = Square.attack { brief with Queries = 600; Rescaled = true }
                        let harm =
                            attack.Run
                                (Rng.create 1UL "a" ids)
                                threat
                                (linear model)
                                (victims ids image [| y[i] |])
                        Expect.equal (truths harm.Success) [| true |] "broken"))

        test "windows short of the edge never touch the last row and column; others do" (fun () ->
            let s = { (scene 8 5) with Threat = Threat.create Linf 0.01 }
            let images = noise (Source 3) [ 2; 1; 8; 8 ]
            // A model that nothing breaks, and that likes every change: a slope at random.
            let weight = matrix [| (Source 5).Normals 64; Array.create 64 0.0 |]
            let classify (x: Tensor) =
                torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
                + tensor [ 2 ] [| 1000.0; 0.0 |]

            let changed toTheEdge =
                let run queries =
                    let how = { Square.standard with Queries = queries; Share = 0.2; ToTheEdge = toTheEdge }
                    let s = {
                        s with
                            Classify = classify
                            Draw = Rng.create 1UL "a" [| 1L; 2L |]
                            Victims = victims [| 1L; 2L |] images [| 0; 0 |]
                    }
                    floats (run how s).Images |> Array.indexed

                let before, after = run 1, run 120
                Array.zip before after
                |> Array.filter (fun ((p, _), _) -> p / 8 % 8 = 7 || p % 8 = 7)
                |> Array.filter (fun ((_, before), (_, after)) -> before <> after)
                |> Array.length

            Expect.equal (changed false) 0 "short of the edge"
            Expect.isGreaterThan (changed true) 5 "to the edge")

        test "where all fall to the start, nothing is proposed" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let s = scene 8 5
                let mutable calls = 0
                let classify (x: Tensor) =
                    calls <- calls + 1
                    let winner = if calls = 1 then [| 1.0; 0.0 |] else [| 0.0; 1.0 |]
                    torch.zeros ([| x.shape[0]; 1L |], x.dtype) + tensor [ 2 ] winner
                let n = s.Y.Length
                let harm =
                    run Square.standard {
                        s with
                            Threat = Threat.create norm 0.1
                            Classify = classify
                            Victims = victims s.Victims.Ids s.Victims.Images (Array.create n 0)
                    }
                Expect.equal calls 3 "the clean images, the start and the verdict"
                Expect.allEqual (wholes harm.Forwards) 2L "forwards"
                Expect.allEqual (wholes harm.FirstSuccess) 1L "first success"
                Expect.allEqual (truths harm.Success) true "success")

        test "where all are wrong already, nothing is proposed" (fun () ->
            let s = scene 8 5
            let wrong = guesses s.Classify s.Victims.Images |> Array.map (fun g -> (g + 1) % 4)
            let harm = run brief { s with Victims = victims s.Victims.Ids s.Victims.Images wrong }
            Expect.allEqual (wholes harm.Forwards) 1L "forwards"
            Expect.equal (bits harm.Images) (bits s.Victims.Images) "images")

        test "no gradient is asked for, and parameters' gradients stay as they were" (fun () ->
            let weight = (matrix ((Source 2).Rows(4, 6))).requires_grad_ true
            let mark = torch.ones_like weight
            weight.grad <- mark
            let enabled = ResizeArray<bool>()
            let classify (x: Tensor) =
                enabled.Add(torch.is_grad_enabled ())
                torch.nn.functional.linear (x.reshape [| x.shape[0]; -1L |], weight)
            let s = scene 2 4
            let before = Autograd.liveTensors ()

            Scope.value (fun () ->
                let harm = run brief { s with Classify = classify }
                Expect.hasLength (Attack.tensors harm) 12 "tensors of a result"
                Expect.equal (Autograd.liveTensors () - before) 12L "nothing but the result lives")

            Expect.allEqual enabled false "gradients enabled"
            Expect.equal (bits weight.grad) (bits mark) "gradients of parameters"
            Expect.isTrue (torch.is_grad_enabled ()) "as before")

        test "a long run holds no more tensors than a short one" (fun () ->
            for norm in [ Linf; L2; L1 ] do
                let s = scene 4 4
                let highest = ResizeArray<int64>()
                let always (x: Tensor) =
                    highest.Add(Autograd.liveTensors ())
                    torch.zeros ([| x.shape[0]; 1L |], x.dtype) + tensor [ 2 ] [| 1.0; 0.0 |]
                let s = {
                    s with
                        Threat = Threat.create norm 0.1
                        Classify = always
                        Victims = victims s.Victims.Ids s.Victims.Images (Array.create s.Y.Length 0)
                }
                run { Square.standard with Queries = 260 } s |> ignore
                // Both stretches draw ahead.
                let early, late = highest.GetRange(60, 67), highest.GetRange(127, 130)
                Expect.isLessThanOrEqual (Seq.max late) (Seq.max early) (sprintf "%A" norm))

        test "a classifier that is not finite is flagged, and the stored images stay finite" (fun () ->
            let s = scene 1 4
            let broken x = s.Classify x * nan
            let harm = run brief { s with Classify = broken }
            Expect.equal harm.Flags (Set [ "logits not finite" ]) "flag"
            within 0.0 1.0 (floats harm.Images) "images"
            Expect.equal (run brief s).Flags Set.empty "a sound one is not")

        test "faults are named" (fun () ->
            let attack how () = Square.attack how |> ignore
            refuses [ "Share"; "above 0" ] (attack { brief with Share = 0.0 }) "share"
            refuses [ "Queries"; "above 0" ] (attack { brief with Queries = 0 }) "queries"
            let s = scene 1 4
            let flat = s.Victims.Images.reshape ([| -1L; 6L |])
            let s = { s with Victims = { s.Victims with Images = flat } }
            refuses [ "images"; "[n; c; h; w]" ] (fun () -> run brief s |> ignore) "images")

        test "its printed form says what ran" (fun () ->
            let text how = (Square.attack how).Text
            Expect.equal (text Square.standard) "Square, 5000 proposals, p 0.8" "standard"
            Expect.equal
                (text { Square.standard with Rescaled = true; ToTheEdge = false })
                "Square, 5000 proposals, p 0.8, schedule rescaled, windows short of the edge"
                "switches")

        test "by name" (fun () ->
            for name, queries in [ "square", 5000; "Square-1000", 1000 ] do
                let attack = Expect.wantOk (RobustAccuracy.attack name) name
                Expect.equal attack.Text (sprintf "Square, %d proposals, p 0.8" queries) name

            for name in [ "square-0"; "square-x"; "square--3"; "square-1.5"; "square-100-2" ] do
                let error = wantError (RobustAccuracy.attack name) name
                says [ sprintf "'%s'" name; "square-1000" ] error name)
    ]
