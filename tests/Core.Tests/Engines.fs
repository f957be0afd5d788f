/// The engine that runs a step.
module Engines

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws

let private everything (_: string) = true

let private methods = [ "SimCLR", SimClr.method; "ACL-DS", Acl.dualStream ]

/// The first images of the sample, cut to 16 by 16 so that a step takes little.
let private images n (ids: int64[]) : Batch =
    use data = sample true n
    let batch = batchOf data ids
    {
        batch with
            Images =
                batch.Images |> Map.map (fun _ x -> x.narrow(2L, 6L, 16L).narrow(3L, 6L, 16L).contiguous())
    }

let private firstSix () = images 6 [| 0L .. 5L |]

/// The bytes of an outcome: all of it.
let private print (o: Engine.Outcome) =
    o.Loss, o.Measures, hash o.Gradients, hash o.Buffers, Tree.hash o.Memory

let private moved (before: Buffers) (after: Buffers) =
    before.Keys
    |> Seq.filter (fun name -> bits before[name] <> bits after[name])
    |> Seq.map Branch.ofName
    |> Seq.distinct
    |> List.ofSeq

// A method of the test's own: views as they are, and a loss of what the passes gave.
let private own views passes loss : Method = {
    SimClr.method with
        Branches = [ clean; adv ]
        Head = Named.create "none" id
        Step = {
            Views =
                views
                |> List.map (fun (name, view) -> { Name = name; Source = "image"; Make = fun _ -> view })
            Adversaries = []
            Passes = passes
            Formula = ""
            Loss = loss
            Measures = fun _ -> []
        }
}

let private withAdversary makes passes objective (method: Method) =
    let adversary = {
        Makes = makes
        Threat = Threat.create Linf 0.1
        Ascent = Ascent.pgd 0.3 4
        Passes = passes
        Objective = objective
    }

    { method with Step = { method.Step with Adversaries = method.Step.Adversaries @ [ adversary ] } }

let private measuring (measures: Scene -> (string * float) list) (method: Method) = {
    method with
        Step = { method.Step with Measures = measures }
}

let private plainViews = [ "v1", View.identity; "v2", View.identity ]
let private embedding = Scene.embedding
let private square pass view : Loss = fun scene -> (embedding pass view scene).square().mean()

// Runs a method of the test's own with the small net, and gives what it started from as well.
let private runTiny (method: Method) =
    let machine = machine (tinyNet grey method)
    let state = fresh machine method
    state, Engine.run machine method everything state (firstSix ())

// A step's loss in float64 on a small double net, as a function of the state.
let private doubled (method: Method) =
    let source = Source 8
    let network = tinyNet grey method
    let machine = machine network
    let begun = fresh machine method
    let state = { begun with Online = shaken source begun.Online }
    let method = method |> measuring (fun scene -> [ "loss", number (method.Step.Loss scene) ])
    let batch = {
        firstSix () with
            Images = Map [ "image", noise source [ 4; 1; 12; 12 ] ]
            Ids = [| 3L; 1L; 4L; 9L |]
    }
    machine, method, state, batch

let tests =
    testList "Engines" [
        for name, method in methods do
            test (name + ": running a step changes nothing of the state") (fun () ->
                let machine = machine (tinyNet grey method)
                let state = fresh machine method
                let batch = firstSix ()
                let before = Tree.hash (State.toTree state), bits batch.Images["image"]
                let outcome = Engine.run machine method everything state batch
                Expect.equal
                    (Tree.hash (State.toTree state), bits batch.Images["image"])
                    before
                    "state and images"
                Expect.all
                    (State.tensors state)
                    (fun x -> not x.requires_grad)
                    "no gradient is wanted of the state's tensors"
                Expect.all outcome.Gradients (fun g -> not g.Value.requires_grad) "no graph is handed on")

            test
                (name + ": every parameter learns, and the branches of the passes move, all of them")
                (fun () ->
                    let state, outcome = runTiny method
                    let parameters = fst state.Online
                    Expect.equal (Seq.toList outcome.Gradients.Keys) (Seq.toList parameters.Keys) "gradients"

                    for KeyValue(name, g) in outcome.Gradients do
                        Shape.same name g "its parameter" parameters[name]
                        Expect.all (floats g) System.Double.IsFinite name

                    let branches = method.Branches |> List.map Some |> List.sort
                    Expect.equal
                        (moved (snd state.Online) outcome.Buffers |> List.sort)
                        branches
                        "branches that moved"
                    Expect.equal
                        (Seq.toList outcome.Buffers.Keys)
                        (Seq.toList (snd state.Online).Keys)
                        "names")

            test (name + ": the same seed gives the same bytes, another seed or step others") (fun () ->
                let machine = machine (tinyNet grey method)
                let state = fresh machine method
                let batch = firstSix ()
                let run machine state = print (Engine.run machine method everything state batch)
                Expect.equal (run machine state) (run machine state) "again"
                Expect.notEqual (run { machine with Seed = 6UL } state) (run machine state) "another seed"
                let later = { state with Progress = Progress.next state.Progress }
                Expect.notEqual (run machine later) (run machine state) "another step")

            test (name + ": the gradient equals finite differences") (fun () ->
                let machine, method, state, batch = doubled method
                let parameters, buffers = state.Online
                let outcome = Engine.run machine method everything state batch
                let source = Source 3

                for name in parameters.Keys do
                    let p = parameters[name]
                    let at = source.Whole(0, int (p.numel ()) - 1)

                    let loss by =
                        let values = floats p
                        values[at] <- values[at] + by
                        let changed = tensor (p.shape |> Array.map int |> List.ofArray) values
                        let state = { state with Online = Map.add name changed parameters, buffers }
                        (Engine.run machine method everything state batch).Measures |> List.head |> snd

                    let slope = (loss 1e-6 - loss -1e-6) / 2e-6
                    let actual = (floats outcome.Gradients[name])[at]
                    close (1e-5 + 1e-4 * abs slope) [| actual |] [| slope |] name)

            test
                (name + ": a step leaves nothing behind, and its outcome lives in the caller's scope")
                (fun () ->
                    let machine = machine (tinyNet grey method)
                    let state = fresh machine method
                    let batch = firstSix ()
                    let before = torch.Tensor.TotalCount

                    Scope.value (fun () ->
                        let outcome = Engine.run machine method everything state batch
                        let kept =
                            Seq.concat [
                                Map.values outcome.Gradients :> Tensor seq
                                Map.values outcome.Buffers
                            ]
                            |> Seq.filter (fun x ->
                                not (Seq.exists (fun y -> obj.ReferenceEquals(x, y)) (State.tensors state)))
                        Expect.equal
                            (torch.Tensor.TotalCount - before)
                            (int64 (Seq.length kept))
                            "the outcome alone")

                    Expect.equal (torch.Tensor.TotalCount - before) 0L "nothing")

            test
                (name
                 + ": in lower precision the loss is about the same, and everything that is kept is float32")
                (fun () ->
                    let machine = machine (tinyNet grey method)
                    let state = fresh machine method
                    let run precision =
                        Engine.run
                            { machine with Precision = precision }
                            method
                            everything
                            state
                            (firstSix ())
                    let full, low = run Precision.Float32, run Precision.BFloat16
                    Expect.isLessThan (abs (full.Loss - low.Loss)) 0.05 "loss"
                    Expect.notEqual low.Loss full.Loss "the precision matters"
                    Expect.all
                        (Seq.append (Map.values low.Gradients) (Map.values low.Buffers))
                        (fun x -> x.dtype = torch.float32)
                        "types")

        test "ACL-DS's loss is half of the two contrasts" (fun () ->
            let _, outcome = runTiny Acl.dualStream
            let sum = outcome.Measures |> List.sumBy snd
            Expect.equal (outcome.Measures |> List.map fst) [ "clean"; "adversarial" ] "measures"
            close 1e-6 [| outcome.Loss |] [| sum / 2.0 |] "loss")

        test "ACL-DS's adversary raises what it is to raise, and moves no statistics doing so" (fun () ->
            // The adversarial contrast in eval mode, of the views as they were and as they became.
            let contrast pass a b : Loss = SimClr.contrast 0.5 pass a b

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
                let outcome = Engine.run machine method everything state (firstSix ())
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
                            (SimClr.contrast 0.5 "a" "a1" "a2")
                        |> measuring (fun scene ->
                            views <-
                                Map [
                                    for v in [ "v1"; "v2"; "a1"; "a2" ] ->
                                        v, floats (scene.Output "p" v).Features
                                ]
                            [])

                    let machine = { machine (glass 256) with Seed = seed }
                    Engine.run machine method everything (fresh machine method) (firstSix ()) |> ignore

                    for made, from in [ "a1", "v1"; "a2", "v2" ] do
                        within 0.0 1.0 views[made] "box"
                        let d = minus views[made] views[from]
                        atMost (0.1 + 1e-6) (Array.map abs d) "ball"
                        Expect.isGreaterThan (normInf d) 0.05 "moved"

                    Expect.isGreaterThan (normInf (minus views["a1"] views["v2"])) 0.11 "each about its own"))

        test "passes over views that the attack does not move run once, the others at every step" (fun () ->
            let calls = ResizeArray<string>()
            let network = glass 256
            let counting = {
                network with
                    Apply =
                        fun call parameters buffers images ->
                            calls.Add(sprintf "%s %d" (Branch.name call.Branch) images.shape[0])
                            network.Apply call parameters buffers images
            }
            let method =
                own plainViews [ Pass.train "p" [ "a1"; "v1" ] clean ] (square "p" "a1")
                |> withAdversary
                    [ "a1", "v1" ]
                    [ Pass.eval "fixed" [ "v1"; "v2" ] clean; Pass.eval "moving" [ "a1" ] adv ]
                    (fun scene ->
                        (embedding "fixed" "v2" scene - embedding "moving" "a1" scene).square().mean())
            let machine = machine counting
            Engine.run machine method everything (fresh machine method) (firstSix ()) |> ignore
            Expect.equal
                (List.ofSeq calls)
                [ "clean 12"; "adv 6"; "adv 6"; "adv 6"; "adv 6"; "clean 12" ]
                "calls")

        test "the views of a pass are one batch, two passes are two" (fun () ->
            let half = [ "v1", View.identity; "v2", Colour.jitter 0.9 0.0 0.0 0.0 ]
            let together = own half [ Pass.train "p" [ "v1"; "v2" ] clean ] (square "p" "v1")
            let apart =
                own half [ Pass.train "p" [ "v1" ] clean; Pass.train "q" [ "v2" ] clean ] (square "p" "v1")
            let show pass = measuring (fun scene -> [ for x in floats (embedding pass "v2" scene) -> "", x ])
            let values (_, o: Engine.Outcome) = o.Measures |> List.map snd |> Array.ofList
            let one, two = values (runTiny (show "p" together)), values (runTiny (show "q" apart))
            Expect.isGreaterThan (normInf (minus one two)) 1e-4 "batch statistics differ"

            let network = tinyNet grey together
            let state = fresh (machine network) together
            let x = (firstSix ()).Images["image"]
            let draw = { Draw.create 5UL "view/v2" [| 0L .. 5L |] with Epoch = 0; Step = 0L }
            let second = (Colour.jitter 0.9 0.0 0.0 0.0).Run draw x
            let apply images =
                fst (network.Apply (call clean Train) (fst state.Online) (snd state.Online) images)
            close
                1e-6
                one
                (floats ((apply (torch.cat [| x; second |])).Embedding.narrow(0L, 6L, 6L)))
                "one batch"
            close 1e-6 two (floats (apply second).Embedding) "two batches")

        test "statistics go from pass to pass, and only where a pass keeps them" (fun () ->
            let passes keepFirst keepSecond = [
                { Pass.train "p" [ "v1" ] clean with Keep = keepFirst }
                { Pass.train "q" [ "v2" ] clean with Keep = keepSecond }
            ]
            let run keepFirst keepSecond =
                let state, outcome = runTiny (own plainViews (passes keepFirst keepSecond) (square "p" "v1"))
                snd state.Online, outcome.Buffers
            let before, none = run false false
            Expect.isTrue
                (Map.forall (fun name x -> obj.ReferenceEquals(x, before[name])) none)
                "nothing kept: the same tensors"
            let mean (b: Buffers) = floats b["bn1.running_mean@clean"]
            let once, twice = mean (snd (run true false)), mean (snd (run true true))
            // Both passes see the same images: m/10 after one, 0.9 m/10 + m/10 after two.
            close 1e-6 twice (times 1.9 once) "twice"
            close 1e-7 (mean (snd (run false true))) once "the second alone")

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

        test "views of a sample do not depend on the batch it is in" (fun () ->
            let mutable shown = [||]
            let method =
                own
                    [ "v1", SimClr.views 0.1 1.0; "v2", SimClr.views 0.1 1.0 ]
                    [ Pass.train "p" [ "v1"; "v2" ] clean ]
                    (square "p" "v1")
                |> measuring (fun scene ->
                    shown <- [| "v1"; "v2" |] |> Array.collect (fun v -> rows (scene.Output "p" v).Features)
                    [])
            let machine = machine (glass 256)
            let state = fresh machine method
            let views ids =
                Engine.run machine method everything state (images 8 ids) |> ignore
                Array.map2 (fun a b -> a, b) shown[.. ids.Length - 1] shown[ids.Length ..]
            let all = views [| 0L .. 7L |]
            let parts = Array.append (views [| 0L; 1L; 2L |]) (views [| 3L .. 7L |])

            Array.iter2
                (fun (a1, a2) (b1, b2) ->
                    close 1e-5 a1 b1 "first view"
                    close 1e-5 a2 b2 "second view")
                parts
                all

            Expect.all all (fun (a, b) -> normInf (minus a b) > 0.01) "the two views differ")

        test "parameters that do not train get no gradient" (fun () ->
            let method = SimClr.method
            let machine = machine (tinyNet grey method)
            let state = fresh machine method
            let trains (name: string) = name.StartsWith "head."
            let outcome = Engine.run machine method trains state (firstSix ())
            Expect.equal
                (Seq.toList outcome.Gradients.Keys)
                [ "head.0.bias"; "head.0.weight"; "head.2.bias"; "head.2.weight" ]
                "the head's"
            let whole = Engine.run machine method everything state (firstSix ())
            for KeyValue(name, g) in outcome.Gradients do
                close 1e-6 (floats g) (floats whole.Gradients[name]) "the same gradient as when all train")

        test "a pass that does not learn gives no gradient to the parameters" (fun () ->
            let both =
                own
                    plainViews
                    [ Pass.train "p" [ "v1" ] clean; { Pass.train "q" [ "v2" ] adv with Learn = false } ]
                    (fun scene -> square "p" "v1" scene + square "q" "v2" scene)
            let _, outcome = runTiny both
            Expect.isFalse (outcome.Gradients.ContainsKey "bn1.weight@adv") "the branch that only looked"
            Expect.isTrue (outcome.Gradients.ContainsKey "bn1.weight@clean") "the branch that learnt"
            let _, alone = runTiny (own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1"))
            for KeyValue(name, g) in alone.Gradients do
                close 1e-6 (floats outcome.Gradients[name]) (floats g) "the learning pass's alone")

        test "frozen networks and averages compute, and get no gradient" (fun () ->
            let average = { Name = "ema"; Decay = Schedule.constant 0.9; CopiesBuffers = false }
            let pass name who = { Pass.eval name [ "v1" ] clean with Who = who; Learn = true }
            let distance a b : Loss =
                fun scene -> (embedding a "v1" scene - embedding b "v1" scene).square().mean()

            let method = {
                own
                    plainViews
                    [ Pass.train "p" [ "v1" ] clean; pass "t" (Frozen "teacher"); pass "e" (Average "ema") ]
                    (fun scene -> distance "p" "t" scene + distance "p" "e" scene) with
                    Averages = [ average ]
            }
            let method =
                method
                |> measuring (fun scene -> [
                    "t", number ((embedding "t" "v1" scene).sum())
                    "e", number ((embedding "e" "v1" scene).sum())
                ])
            let network = tinyNet grey method
            let teacher = init 99UL network
            let machine = { machine network with Frozen = Map [ "teacher", teacher ] }
            let begun = fresh machine method
            let state = { begun with Averages = Map [ "ema", init 98UL network ] }
            let before = hash (fst teacher), Tree.hash (State.toTree state)
            let outcome = Engine.run machine method everything state (firstSix ())
            Expect.equal (hash (fst teacher), Tree.hash (State.toTree state)) before "nothing moved"

            for (name, (parameters, buffers)) in [ "t", teacher; "e", init 98UL network ] do
                let x = (firstSix ()).Images["image"]
                let expected = (fst (network.Apply (call clean Eval) parameters buffers x)).Embedding.sum()
                let actual = outcome.Measures |> List.find (fst >> (=) name) |> snd
                close 1e-3 [| actual |] [| number expected |] "who computes"

            let alone = { state with Averages = state.Averages }
            let direct =
                let target =
                    [ "t", teacher; "e", state.Averages["ema"] ]
                    |> List.map (fun (_, (p, b)) ->
                        (fst (network.Apply (call clean Eval) p b ((firstSix ()).Images["image"])))
                            .Embedding.detach())
                let constant =
                    own plainViews [ Pass.train "p" [ "v1" ] clean ] (fun scene ->
                        target
                        |> List.map (fun t -> (embedding "p" "v1" scene - t).square().mean())
                        |> List.reduce (+))
                Engine.run machine constant everything alone (firstSix ())

            Expect.equal (Seq.toList outcome.Gradients.Keys) (Seq.toList direct.Gradients.Keys) "who learns"
            for KeyValue(name, g) in direct.Gradients do
                close 1e-6 (floats outcome.Gradients[name]) (floats g) "as if their outputs were constants")

        test "an update moves what has a gradient, follows with the averages and shares the rest" (fun () ->
            for copies in [ false; true ] do
                let average = { Name = "ema"; Decay = Schedule.constant 0.75; CopiesBuffers = copies }
                let rule = Transform.scale (Schedule.constant 0.5)
                let method =
                    {
                        own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1") with
                            Averages = [ average ]
                    }
                    |> updating rule
                let network = tinyNet grey method
                let machine = machine network
                let state = { fresh machine method with Averages = Map [ "ema", init 98UL network ] }
                let outcome = Engine.run machine method everything state (firstSix ())
                let next = Engine.update rule method state outcome
                let p, q = fst state.Online, fst next.Online

                for name in p.Keys do
                    match Map.tryFind name outcome.Gradients with
                    | Some g ->
                        close 1e-7 (floats q[name]) (minus (floats p[name]) (times 0.5 (floats g))) name
                    | None -> Expect.isTrue (obj.ReferenceEquals(q[name], p[name])) name

                let weightsBefore, statisticsBefore = state.Averages["ema"]
                let weights, statistics = next.Averages["ema"]
                let follow (before: Tensor) (now: Tensor) =
                    plus (times 0.75 (floats before)) (times 0.25 (floats now))

                for name in p.Keys do
                    close
                        1e-6
                        (floats weights[name])
                        (follow weightsBefore[name] q[name])
                        "average of the parameters"

                for KeyValue(name, now) in outcome.Buffers do
                    let expected = if copies then floats now else follow statisticsBefore[name] now
                    close 1e-6 (floats statistics[name]) expected "average of the statistics"

                Expect.equal next.Progress (Progress.next state.Progress) "progress"
                Expect.isTrue
                    (obj.ReferenceEquals(
                        (snd next.Online)["bn1.running_mean@clean"],
                        outcome.Buffers["bn1.running_mean@clean"]
                    ))
                    "the outcome's statistics")

        test "a loss sees memory, ids, labels and progress, and memory goes on" (fun () ->
            let mutable seen = None
            let count (tree: Tree) =
                match Map.tryFind "n" tree with
                | Some(Whole n) -> n
                | _ -> -1L
            let loss: Loss =
                fun scene ->
                    seen <-
                        Some(
                            scene.Ids,
                            wholes scene.Labels["class"],
                            scene.Progress.Step,
                            count scene.Memory
                        )
                    square "p" "v1" scene
            let method = {
                own plainViews [ Pass.train "p" [ "v1" ] clean ] loss with
                    Memory = {
                        Init = fun seed -> Map [ "n", Whole(int64 seed) ]
                        After = fun scene -> Map [ "n", Whole(count scene.Memory + 1L) ]
                    }
            }
            let machine = machine (glass 256)
            let state = fresh machine method
            let batch = firstSix ()
            let outcome = Engine.run machine method everything state batch
            Expect.equal seen (Some(batch.Ids, wholes batch.Labels["class"], 0L, 5L)) "what the loss saw"
            Expect.equal (count outcome.Memory) 6L "memory after it"
            let next = Engine.update (Transform.scale (Schedule.constant 0.1)) method state outcome
            Expect.equal (count next.Memory, count state.Memory) (6L, 5L) "memory of the next state")

        test "views may come from images that an earlier stage made" (fun () ->
            let made = { Name = "w"; Source = "perturbed"; Make = fun _ -> View.identity }
            let method = own plainViews [ Pass.train "p" [ "v1"; "w" ] clean ] (square "p" "w")
            let method = { method with Step = { method.Step with Views = made :: method.Step.Views } }
            let machine = machine (glass 256)
            let batch = firstSix ()
            let perturbed = batch.Images["image"] * 0.5
            let batch = { batch with Images = Map.add "perturbed" perturbed batch.Images }
            let outcome = Engine.run machine method everything (fresh machine method) batch
            close
                1e-6
                [| outcome.Loss |]
                [| floats perturbed |> Array.averageBy (fun v -> v * v) |]
                "loss of those images")

        test "a view may change as training goes on" (fun () ->
            let grows = {
                Name = "v1"
                Source = "image"
                Make = fun p -> if p.Epoch < 1 then View.identity else Colour.jitter 0.9 0.0 0.0 0.0
            }
            let method = own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1")
            let method = { method with Step = { method.Step with Views = [ grows ] } }
            let machine = machine (glass 256)
            let state = fresh machine method
            let loss progress =
                (Engine.run machine method everything { state with Progress = progress } (firstSix ())).Loss
            let plain = floats (firstSix ()).Images["image"] |> Array.averageBy (fun v -> v * v)
            close 1e-6 [| loss (Progress.start 10 10) |] [| plain |] "before"
            Expect.notEqual
                (loss (Progress.atEpoch 1 (Progress.start 10 10)))
                (loss (Progress.start 10 10))
                "after")
    ]
