/// AdversarialExamples of a training step.
module Tests.Training.AdversarialViewsTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods

[<Tests>]
let tests =
    testList "Training.AdversarialViews" [
        test "ACL-DS's adversary raises what it is to raise, and moves no statistics doing so" (fun () ->
            // The adversarial contrast in eval mode, of the views as they were and as they became.
            let contrast pass a b : Loss = SimClr.contrast 0.5 pass a pass b

            let method =
                {
                    Acl.dualStream with
                        Step = {
                            Acl.dualStream.Step with
                                Passes = [
                                    Pass.eval "before" [ "v1"; "v2" ] adv
                                    Pass.eval "after" [ "a1"; "a2" ] adv
                                    Pass.train "clean" [ "v1"; "v2" ] clean
                                ]
                                Loss = contrast "clean" "v1" "v2"
                        }
                }
                |> measuring (fun scene -> [
                    "before", number (contrast "before" "v1" "v2" scene)
                    "after", number (contrast "after" "a1" "a2" scene)
                ])

            let machine = machine (tinyNet grey method)

            for seed in 1UL .. 5UL do
                let machine = { machine with Seed = seed }
                let state = fresh machine method
                let outcome = TrainStep.run machine method everything state (firstSix ())
                Expect.isGreaterThan (snd outcome.Measures[1]) (snd outcome.Measures[0]) "raised"
                Expect.equal
                    (moved (snd state.Online) outcome.Buffers)
                    [ Some clean ]
                    "only the clean pass moved statistics")

        testPropertyN
            20
            "adversarial views stay in ball and box about the views they start from"
            (fun (seed: uint64) ->
                balanced (fun () ->
                    let mutable views = Map.empty
                    let passes = [ Pass.train "p" [ "v1"; "v2"; "a1"; "a2" ] clean ]

                    let method =
                        own
                            [ "v1", Crop.randomResized 0.3; "v2", Crop.randomResized 0.3 ]
                            passes
                            (square "p" "v1")
                        |> withAdversary
                            [ "a1", "v1"; "a2", "v2" ]
                            [ Pass.eval "a" [ "a1"; "a2" ] adv ]
                            (SimClr.contrast 0.5 "a" "a1" "a" "a2")
                        |> measuring (fun scene ->
                            views <-
                                Map [
                                    for v in [ "v1"; "v2"; "a1"; "a2" ] ->
                                        v, floats (scene.Output "p" v).Features
                                ]
                            [])

                    let machine = { machine (glass 256) with Seed = seed }
                    TrainStep.run machine method everything (fresh machine method) (firstSix ()) |> ignore

                    for made, from in [ "a1", "v1"; "a2", "v2" ] do
                        within 0.0 1.0 views[made] "box"
                        let d = minus views[made] views[from]
                        atMost (0.1 + 1e-6) (Array.map abs d) "ball"
                        Expect.isGreaterThan (normInf d) 0.05 "moved"

                    Expect.isGreaterThan (normInf (minus views["a1"] views["v2"])) 0.11 "each about its own"))

        test "views that are made together start from noise of their own, as the samples' ids say" (fun () ->
            let mutable views = Map.empty
            let from (ids: int64[]) =
                let method =
                    own plainViews [ Pass.train "p" [ "v1"; "a1"; "a2" ] clean ] (square "p" "v1")
                    |> withAdversary
                        [ "a1", "v1"; "a2", "v1" ]
                        [ Pass.eval "a" [ "a1"; "a2" ] adv ]
                        (square "a" "a1")
                    |> measuring (fun scene ->
                        views <-
                            Map [ for v in [ "v1"; "a1"; "a2" ] -> v, rows (scene.Output "p" v).Features ]
                        [])
                let still =
                    method.Step.Adversaries
                    |> List.map (fun a -> { a with Ascent = { a.Ascent with Steps = 0 } })
                let method = { method with Step = { method.Step with Adversaries = still } }
                let machine = machine (glass 256)
                TrainStep.run machine method everything (fresh machine method) (images 6 ids) |> ignore
                views

            let all = from [| 0L .. 5L |]
            Expect.all
                (Array.zip all["a1"] all["a2"])
                (fun (a, b) -> normInf (minus a b) > 0.05)
                "the two views"
            Expect.all (Array.pairwise all["a1"]) (fun (a, b) -> a <> b) "any two samples"
            let part = from [| 4L; 1L |]

            for view in [ "a1"; "a2" ] do
                Expect.equal part[view] [| all[view][4]; all[view][1] |] "whatever batch they are in")

        test
            "passes over views that the attack does not move run once, but where they keep statistics"
            (fun () ->
                let network = glass 256

                let calls (still: Pass) =
                    let calls = ResizeArray<string>()
                    let apply (call: Call) parameters buffers (images: Tensor) =
                        calls.Add(sprintf "%s %d" (Branch.name call.Branch) images.shape[0])
                        network.Apply call parameters buffers images
                    let counting = { network with Apply = apply; Fold = Network.unfolded apply }
                    let method =
                        own plainViews [ Pass.train "p" [ "a1"; "v1" ] clean ] (square "p" "a1")
                        |> withAdversary
                            [ "a1", "v1" ]
                            [ still; Pass.eval "moving" [ "a1" ] adv ]
                            (fun scene ->
                                (embedding "fixed" "v2" scene - embedding "moving" "a1" scene)
                                    .square()
                                    .mean())
                    let machine = machine counting
                    TrainStep.run machine method everything (fresh machine method) (firstSix ()) |> ignore
                    List.ofSeq calls

                let once = [ "clean 12"; "adv 6"; "adv 6"; "adv 6"; "adv 6"; "clean 12" ]
                let train = Pass.train "fixed" [ "v1"; "v2" ] clean
                Expect.equal (calls (Pass.eval "fixed" [ "v1"; "v2" ] clean)) once "in eval mode"
                Expect.equal (calls (Pass.look train)) once "in train mode"
                let every = List.replicate 4 [ "clean 12"; "adv 6" ] |> List.concat
                Expect.equal (calls { Pass.look train with Keep = true }) (every @ [ "clean 12" ]) "keeping")

        test
            "an attack in train mode moves statistics where its pass keeps them, and not otherwise"
            (fun () ->
                let attacked keep =
                    let pass = { Pass.train "a" [ "a1" ] adv with Learn = false; Keep = keep }
                    own plainViews [ { Pass.train "p" [ "v1" ] clean with Keep = false } ] (square "p" "v1")
                    |> withAdversary [ "a1", "v1" ] [ pass ] (square "a" "a1")
                    |> runTiny
                let state, outcome = attacked false
                Expect.equal (moved (snd state.Online) outcome.Buffers) [] "not kept"
                let state, outcome = attacked true
                Expect.equal (moved (snd state.Online) outcome.Buffers) [ Some adv ] "kept, in its branch"
                // Four looks: as many updates.
                let var = floats outcome.Buffers["bn1.running_var@adv"]
                let once = runTiny (own plainViews [ Pass.train "p" [ "v1" ] adv ] (square "p" "v1")) |> snd
                let remaining = floats once.Buffers["bn1.running_var@adv"] |> Array.map (fun v -> v - 0.9)
                close
                    0.02
                    var
                    (remaining |> Array.map (fun r -> 0.9 ** 4.0 + r * (1.0 - 0.9 ** 4.0) / 0.1))
                    "four updates")
    ]
