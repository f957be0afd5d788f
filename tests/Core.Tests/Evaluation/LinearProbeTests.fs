/// Linear layers on encoders.
module Tests.Evaluation.LinearProbeTests

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support

let private full epochs rule n : LinearProbe = {
    Optimizer = rule
    Batch = n
    Epochs = epochs
    View = None
    Seed = 3UL
}

let private fit probe encoder data = LinearProbe.fit probe ignore encoder data

// Softmax regression by descent with momentum and decay, all images at every step.
let private regress rate mu decay epochs (x: float[][]) (y: int[]) classes =
    let d = x[0].Length
    let weights () = Array.init classes (fun _ -> Array.zeroCreate<float>(d + 1))
    // The offset is the weight of a pixel that is always 1.
    let x = x |> Array.map (fun row -> Array.append row [| 1.0 |])

    ((weights (), weights ()), [ 1..epochs ])
    ||> List.fold (fun (w, v) _ ->
        let pulls =
            Array.map2
                (fun row y ->
                    Oracles.softmax (w |> Array.map (dot row))
                    |> Array.mapi (fun k p -> if k = y then p - 1.0 else p))
                x
                y

        let slope k =
            Array.map2 (fun row (pull: float[]) -> times (pull[k] / float x.Length) row) x pulls
            |> Array.reduce plus
        let v = v |> Array.mapi (fun k v -> plus (times mu v) (plus (slope k) (times decay w[k])))
        Array.map2 (fun w v -> minus w (times rate v)) w v, v)
    |> fst

[<Tests>]
let tests =
    testList "Evaluation.LinearProbe" [
        test "a few steps of a fit equal slow softmax regression" (fun () ->
            use data = made 1 30 false
            use encoder = pixels 6
            let x, y = rows (data.Batch cpu [| 0L .. 29L |]), wholes data.Labels |> Array.map int

            for epochs in [ 1; 6 ] do
                use head = fit (full epochs (Transform.sgd (Schedule.constant 0.5) 0.9 0.01) 30) encoder data
                let expected = regress 0.5 0.9 0.01 epochs x y 3
                close 1e-5 (floats head.Weight) (expected |> Array.collect (fun w -> w[..5])) "weights"
                close 1e-5 (floats head.Bias) (expected |> Array.map Array.last) "offsets")

        test "separable classes are separated" (fun () ->
            use encoder = pixels 6
            use train = made 1 90 true
            use test = made 2 60 true
            use head = fit LinearProbe.quick encoder train
            let accuracy = RobustAccuracy.clean cpu (LinearProbe.classifier encoder head) test
            Expect.equal (accuracy.Correct, accuracy.Total, accuracy.Fraction) (60, 60, 1.0) "accuracy"
            Expect.equal head.Weight.shape [| 3L; 6L |] "weights"
            Expect.equal head.Bias.shape [| 3L |] "offsets")

        test "classes that nothing tells apart are not" (fun () ->
            use encoder = pixels 6
            use train = made 1 300 false
            use test = made 2 300 false
            use head = fit LinearProbe.quick encoder train
            let accuracy = RobustAccuracy.clean cpu (LinearProbe.classifier encoder head) test
            within 0.2 0.47 [| accuracy.Fraction |] "about a third")

        test "a fit goes over every batch of every epoch, and tells where it stands" (fun () ->
            use data = made 1 25 false
            use encoder = pixels 6
            let seen = ResizeArray<Progress>()
            use _ = LinearProbe.fit { full 3 (adam 0.01) 25 with Batch = 10 } seen.Add encoder data
            Expect.equal (seen |> Seq.map _.Step |> List.ofSeq) [ 0L .. 8L ] "steps"
            Expect.equal (seen |> Seq.map _.Epoch |> List.ofSeq) [ 0; 0; 0; 1; 1; 1; 2; 2; 2 ] "epochs"
            Expect.equal seen[0].Steps 9L "steps in all")

        test "the same seed fits the same layer; a view that changes nothing changes nothing" (fun () ->
            use data = made 1 25 true
            use encoder = pixels 6
            let probe = { full 3 (adam 0.01) 25 with Batch = 10 }
            let weights probe =
                use head = fit probe encoder data
                floats head.Weight
            Expect.equal (weights probe) (weights probe) "again"
            Expect.notEqual (weights { probe with Seed = 4UL }) (weights probe) "another seed"
            close
                1e-6
                (weights { probe with View = Some View.identity })
                (weights probe)
                "the identity as a view"
            Expect.notEqual
                (weights { probe with View = Some(Crop.padded 1L) })
                (weights probe)
                "another view")

        test "fitting leaves nothing behind and the encoder as it was" (fun () ->
            let weights = shaken (Source 3) (init 3UL (tinyNet grey SimClr.method))
            use encoder = encoderOf (tinyNet grey SimClr.method) weights clean |> asSingle
            use data = sample true 20
            let before = hash (fst encoder.Weights), hash (snd encoder.Weights)

            for view in [ None; Some View.identity ] do
                let live = Autograd.liveTensors ()
                let head =
                    Scope.value (fun () -> fit { full 2 (adam 0.01) 10 with View = view } encoder data)
                Expect.equal (Autograd.liveTensors () - live) 2L "the layer alone"
                (head :> IDisposable).Dispose()
                Expect.equal (Autograd.liveTensors ()) live "nothing"

            Expect.equal (hash (fst encoder.Weights), hash (snd encoder.Weights)) before "the encoder")

        test "weights that came with a classifier are measured by it" (fun () ->
            inFolder (fun folder ->
                writeFashion folder 60
                let network classes = (Head.classifier "fc" (Some classes)).Run(tinyNet grey SimClr.method)

                let encoder classes =
                    let network = network classes
                    encoderOf network (shaken (Source 3) (init 3UL network)) clean |> asSingle

                let run encoder =
                    let evaluation: Evaluation = {
                        Evaluation.defaults with
                            Dataset = Some "fashion-mnist"
                            Data = Some folder
                            Attacks = []
                            Probe = "own"
                    }

                    Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder evaluation

                use ten = encoder 10
                let measured = Expect.wantOk (run ten) "measured"
                use test = Expect.wantOk (DatasetRegistry.load "fashion-mnist" (Some folder) false) "test"
                let classify = Network.classifier "fc" (Encoder.model ten)
                let expected = RobustAccuracy.clean cpu classify test
                let figures (a: Accuracy) = a.Name, a.Correct, a.Total
                Expect.equal
                    (List.map figures measured.Accuracies)
                    [ figures expected ]
                    "the same images are right"

                let refused encoder parts =
                    match run encoder with
                    | Error [ error ] -> says ("--probe" :: "quick" :: parts) error "sentence"
                    | other -> failtestf "one error was expected: %A" other

                use five = encoder 5
                refused five [ "5 classes"; "has 10" ]
                use none = pixels 784
                refused none [ "no classifier" ]))

        test "protocols by name" (fun () ->
            let fitted name =
                match ClassifierHead.find 9UL name with
                | Ok(ClassifierHead.Fitted probe) -> probe.Epochs, probe.View.IsSome, probe.Seed
                | other -> failtestf "a fitted layer was expected: %A" other
            Expect.equal (fitted "PUBLISHED") (25, true, 9UL) "published"
            Expect.equal (fitted "quick") (100, false, 9UL) "quick"
            says
                [ "probe"; "'publishd'"; "'published'"; "own" ]
                (wantError (ClassifierHead.find 9UL "publishd") "unknown")
                "sentence")

        test "the published protocol drops its rate to a tenth after 10 and after 20 of 25 epochs" (fun () ->
            let p = LinearProbe.published
            let rate epoch =
                let w: Parameters = Map [ "w", torch.zeros [| 1L |] ]
                let updates, _ =
                    p.Optimizer.Update
                        (Progress.atEpoch epoch (Progress.start 10 25))
                        (Map [ "w", torch.ones [| 1L |] ])
                        w
                        (p.Optimizer.Init w)
                number updates["w"]
            close
                1e-9
                [| rate 0; rate 9; rate 10; rate 19; rate 20; rate 24 |]
                [| 0.01; 0.01; 0.001; 0.001; 0.0001; 0.0001 |]
                "rates"
            Expect.equal (p.Batch, p.Epochs) (512, 25) "batch and epochs"
            Expect.stringContains p.Optimizer.Text "momentum 0.9, weight decay 0.0002" "SGD")
    ]
