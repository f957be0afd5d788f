/// Encoders, linear layers on them, and accuracy under attack.
module Probes

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open Arrays
open Fixtures
open Laws

let private cpu = torch.device "cpu"

let private encoderOf network weights branch : Encoder = {
    Configuration = Configuration.defaults
    Input = grey
    Network = network
    Branch = branch
    Weights = weights
    Device = cpu
}

// The pixels are the features.
let private pixels count = encoderOf (glass count) (init 1UL (glass count)) clean

// n images of 2 by 3 in three classes: noise, and where parted a bright pixel that tells the class.
let private made seed n parted =
    let source = Source seed
    let labels = Array.init n (fun i -> i % 3)

    let images =
        labels
        |> Array.collect (fun label ->
            Array.init 6 (fun p -> byte (if parted && p = label then 230 else source.Whole(0, 120))))

    Dataset.ofBytes "made" images [| int64 n; 1L; 2L; 3L |] (Array.map byte labels) 3 [ 0.3 ] [ 0.4 ]

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

let private checkpointOf (method: Method) : Checkpoint =
    let network = tinyNet grey method
    let state = fresh (machine network) method

    {
        Configuration = {
            Configuration.defaults with
                Method = method.Name
                Network = Some "small"
                Width = Some 2
        }
        Input = grey
        State = { state with Online = shaken (Source 4) state.Online }
    }

let private asSingle (e: Encoder) =
    let single = Map.map (fun _ x -> single x)
    { e with Weights = single (fst e.Weights), single (snd e.Weights) }

// An attack that breaks the images whose id is odd and raises a flag in batches that hold id 0.
let private stub: Attack =
    Named.create "stub" (fun draw _ _ victims ->
        let odd = victims.Ids |> Array.map (fun id -> id % 2L = 1L)
        let counts = torch.zeros_like victims.Labels
        {
            Images = victims.Images
            Success = torch.tensor odd
            Distance = Map.empty
            FirstSuccess = counts
            Forwards = counts
            Gradients = counts
            Flags = if Array.contains 0L draw.Ids then Set [ "zero gradient" ] else Set.empty
        })

let private evaluation: Evaluation = {
    Evaluation.defaults with
        Attacks = [ "fgsm"; "pgd-2:0.5" ]
        Images = Some 40
        Threat = Some "linf:0.05"
}

let tests =
    testList "Probes" [
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
            let accuracy = Robustness.clean cpu (LinearProbe.classifier encoder head) test
            Expect.equal (accuracy.Correct, accuracy.Total, accuracy.Fraction) (60, 60, 1.0) "accuracy"
            Expect.equal head.Weight.shape [| 3L; 6L |] "weights"
            Expect.equal head.Bias.shape [| 3L |] "offsets")

        test "classes that nothing tells apart are not" (fun () ->
            use encoder = pixels 6
            use train = made 1 300 false
            use test = made 2 300 false
            use head = fit LinearProbe.quick encoder train
            let accuracy = Robustness.clean cpu (LinearProbe.classifier encoder head) test
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
                let live = torch.Tensor.TotalCount
                let head =
                    Scope.value (fun () -> fit { full 2 (adam 0.01) 10 with View = view } encoder data)
                Expect.equal (torch.Tensor.TotalCount - live) 2L "the layer alone"
                (head :> IDisposable).Dispose()
                Expect.equal torch.Tensor.TotalCount live "nothing"

            Expect.equal (hash (fst encoder.Weights), hash (snd encoder.Weights)) before "the encoder")

        test "protocols by name" (fun () ->
            Expect.equal (Expect.wantOk (LinearProbe.find "PUBLISHED") "published").Epochs 25 "published"
            Expect.isNone (Expect.wantOk (LinearProbe.find "quick") "quick").View "quick"
            says
                [ "probe"; "'publishd'"; "'published'" ]
                (wantError (LinearProbe.find "publishd") "unknown")
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

        for method in [ SimClr.method; Acl.dualStream ] do
            test
                (method.Name + ": an encoder is the deployed branch in eval mode, one image at a time or many")
                (fun () ->
                    let checkpoint = checkpointOf method
                    use encoder = Expect.wantOk (Encoder.ofCheckpoint checkpoint) "encoder"
                    Expect.equal encoder.Branch (snd method.Deploy) "branch"
                    let x = noise (Source 1) [ 5; 1; 12; 12 ]
                    let together = rows (Encoder.features encoder x)

                    for i, expected in Array.indexed together do
                        close
                            1e-9
                            (floats (Encoder.features encoder (x.narrow (0L, int64 i, 1L))))
                            expected
                            "one image"

                    let network = tinyNet grey method
                    let call = call (snd method.Deploy) Eval
                    let output, _ =
                        network.Apply call (fst checkpoint.State.Online) (snd checkpoint.State.Online) x
                    close 1e-12 (Array.concat together) (floats output.Features) "the network's features"
                    Expect.equal encoder.Network.FeatureWidth 8L "width")

        test "an encoder has copies of its own" (fun () ->
            let checkpoint = checkpointOf SimClr.method
            use encoder = Scope.value (fun () -> Expect.wantOk (Encoder.ofCheckpoint checkpoint) "encoder")
            let before = hash (fst encoder.Weights)
            for x in State.tensors checkpoint.State do
                x.fill_ (0.0.ToScalar()) |> ignore
            Expect.equal (hash (fst encoder.Weights)) before "whatever becomes of the checkpoint")

        test "an encoder is loaded from a run's folder, and freed whole" (fun () ->
            inFolder (fun folder ->
                let checkpoint = checkpointOf Acl.dualStream
                Expect.isOk (Checkpoint.save folder checkpoint) "saved"
                let before = torch.Tensor.TotalCount
                let encoder, warning = Expect.wantOk (Encoder.load folder) "loaded"
                Expect.isNone warning "warning"
                Expect.equal (hash (fst encoder.Weights)) (hash (fst checkpoint.State.Online)) "weights"
                (encoder :> IDisposable).Dispose()
                Expect.equal torch.Tensor.TotalCount before "nothing left"))

        test "an encoder that cannot be loaded leaves nothing behind" (fun () ->
            inFolder (fun folder ->
                Expect.equal (Error.exitCode (wantError (Encoder.load folder) "missing")) 4 "missing"
                let checkpoint = checkpointOf SimClr.method

                for change, code, part in
                    [
                        (fun (c: Configuration) -> { c with Method = "simclr2" }), 3, "'simclr'"
                        (fun c -> { c with Network = Some "smal" }), 3, "'small'"
                        (fun c -> { c with Width = Some 0 }), 2, "--width"
                        (fun c -> { c with Device = "abacus" }), 2, "--device"
                    ] do
                    Expect.isOk
                        (Checkpoint.save folder {
                            checkpoint with
                                Configuration = change checkpoint.Configuration
                        })
                        "saved"
                    let before = torch.Tensor.TotalCount
                    let error = wantError (Encoder.load folder) part
                    Expect.equal (Error.exitCode error) code part
                    says [ part ] error part
                    Expect.equal torch.Tensor.TotalCount before "nothing left"))

        testList "robustness" [
            testTheory
                "attacks by name"
                [
                    "fgsm", "FGSM"
                    "FGSM", "FGSM"
                    "pgd-20", "PGD-20, step 0.25 radii"
                    "PGD-7", "PGD-7, step 0.25 radii"
                    "pgd-20:0.125", "PGD-20, step 0.125 radii"
                ]
                (fun (name, text) ->
                    Expect.equal (Expect.wantOk (Robustness.attack name) name).Text text name)

            testTheory
                "what is no attack"
                [
                    "pgd-0"
                    "pgd-x"
                    "pgd--3"
                    "pgd-20:0"
                    "pgd-20:-1"
                    "pgd-20:nan"
                    "pgd-20:infinity"
                    "pgd-20:0,5"
                    "pgd-20:x"
                    "pgd-1.5"
                    "pdg-20"
                    "pgd"
                    "fgsm-2"
                    ""
                ]
                (fun name ->
                    let error = wantError (Robustness.attack name) name
                    says [ sprintf "'%s'" name; "pgd-20" ] error name
                    Expect.contains [ 2; 3 ] (Error.exitCode error) "a bad option or an unknown name")

            test "accuracy counts what is right, over all batches" (fun () ->
                // More than one batch, and a last one that is not full.
                use data = sample false 700
                let guess = 3L
                let always (x: Tensor) =
                    torch.nn.functional
                        .one_hot(torch.full ([| x.shape[0] |], guess.ToScalar(), torch.int64), 10L)
                        .``to``
                        torch.float32
                let expected = wholes data.Labels |> Array.filter ((=) guess) |> Array.length
                let accuracy = Robustness.clean cpu always data
                Expect.equal
                    (accuracy.Name, accuracy.Correct, accuracy.Total)
                    ("clean", expected, 700)
                    "counts"
                close 1e-12 [| accuracy.Fraction |] [| float expected / 700.0 |] "share")

            test
                "under attack, what the attack did not break is right; flags and images done are told"
                (fun () ->
                    use data = sample false 601
                    let told = ResizeArray<int>()
                    let accuracy =
                        Robustness.under
                            ("stub", stub)
                            1UL
                            (Threat.create Linf 0.1)
                            told.Add
                            cpu
                            (fun x -> x)
                            data
                    Expect.equal
                        (accuracy.Name, accuracy.Correct, accuracy.Total)
                        ("stub", 301, 601)
                        "counts"
                    Expect.equal accuracy.Flags (Set [ "zero gradient" ]) "flags"
                    Expect.isAscending told "images done"
                    Expect.equal (Seq.last told) 601 "all of them")

            test "a real attack's accuracy is that of the whole set at once" (fun () ->
                use data = sample false 300
                let weights = shaken (Source 3) (init 3UL (tinyNet grey SimClr.method))
                use encoder = encoderOf (tinyNet grey SimClr.method) weights clean |> asSingle
                use train = sample true 200
                use head = fit LinearProbe.quick encoder train
                let classify = LinearProbe.classifier encoder head
                let threat = Threat.create Linf 0.02
                let attack = Attack.pgd 0.5 2
                let accuracy = Robustness.under ("pgd", attack) 9UL threat ignore cpu classify data
                let ids = [| 0L .. 299L |]

                let harm =
                    attack.Run (Draw.create 9UL "evaluate/pgd" ids) threat classify {
                        Ids = ids
                        Images = data.Batch cpu ids
                        Labels = data.LabelsOf cpu ids
                        Targets = None
                    }

                let right = truths harm.Success |> Array.filter not |> Array.length
                Expect.equal accuracy.Correct right "right"
                let clean = Robustness.clean cpu classify data
                Expect.isLessThan accuracy.Correct clean.Correct "it breaks some"
                Expect.isGreaterThan accuracy.Correct 0 "and not all"
                Expect.equal
                    (Robustness.under ("pgd", attack) 9UL threat ignore cpu classify data)
                    accuracy
                    "again")
        ]

        testList "evaluation" [
            test "fits, measures and tells how far it is" (fun () ->
                use encoder = Expect.wantOk (Encoder.ofCheckpoint (checkpointOf SimClr.method)) "encoder"
                let encoder = asSingle encoder
                let told = ResizeArray<string * float>()
                let before = torch.Tensor.TotalCount
                let measured =
                    Expect.wantOk
                        (Evaluation.run
                            (fun what share -> told.Add(what, share))
                            CancellationToken.None
                            encoder
                            evaluation)
                        "measured"
                Expect.equal torch.Tensor.TotalCount before "nothing left"
                Expect.equal
                    (measured.Dataset, measured.Images, measured.Probe, measured.Seed)
                    ("sample", 40, "quick", 1UL)
                    "what was measured"
                Expect.equal measured.Threat (Threat.create Linf 0.05) "threat"
                Expect.equal
                    (measured.Accuracies |> List.map _.Name)
                    [ "clean"; "fgsm"; "pgd-2:0.5" ]
                    "names"
                Expect.all measured.Accuracies (fun a -> a.Total = 40) "images"
                let clean = measured.Accuracies.Head
                Expect.isGreaterThan clean.Correct 8 "better than chance"
                Expect.all
                    measured.Accuracies.Tail
                    (fun a -> a.Correct <= clean.Correct)
                    "an attack breaks, it does not mend"
                Expect.equal
                    (told |> Seq.map fst |> Seq.distinct |> List.ofSeq)
                    [ "linear layer"; "fgsm"; "pgd-2:0.5" ]
                    "what was told"
                within 0.0 1.0 (told |> Seq.map snd |> Array.ofSeq) "shares")

            test "all faults are told at once" (fun () ->
                use encoder = pixels 784
                let bad = {
                    evaluation with
                        Attacks = [ "fgms"; "pgd-0" ]
                        Threat = Some "l7:1"
                        Probe = "quik"
                        Images = Some 0
                        Threads = Some 0
                }
                let sentences =
                    Expect.wantError
                        (Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder bad)
                        "faults"
                    |> List.map Error.message

                for part in [ "'fgms'"; "'pgd-0'"; "'l7'"; "'quik'"; "--images"; "--threads" ] do
                    Expect.exists sentences (fun s -> s.Contains part) part

                Expect.hasLength sentences 6 "one each")

            test "a data set that the encoder cannot see is refused" (fun () ->
                inFolder (fun folder ->
                    let inner =
                        Directory.CreateDirectory(Path.Combine(folder, "cifar-10-batches-bin")).FullName
                    for i in 1..5 do
                        File.WriteAllBytes(
                            Path.Combine(inner, sprintf "data_batch_%d.bin" i),
                            Array.zeroCreate 3073
                        )
                    use encoder = pixels 784
                    let colourful = { evaluation with Dataset = Some "cifar10"; Data = Some folder }

                    match Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder colourful with
                    | Error [ error ] ->
                        says [ "--dataset"; "1 channel"; "'cifar10' has 3" ] error "sentence"
                        Expect.equal (Error.exitCode error) 2 "a bad option"
                    | other -> failtestf "one error was expected: %A" other))

            test "a stop ends it, and leaves nothing behind" (fun () ->
                use encoder = pixels 784
                use stop = new CancellationTokenSource()

                for at in [ "linear layer"; "fgsm" ] do
                    use stop = new CancellationTokenSource()
                    let before = torch.Tensor.TotalCount
                    let report what _ = if what = at then stop.Cancel()

                    match Evaluation.run report stop.Token encoder evaluation with
                    | Error [ Error.Interrupted ] -> ()
                    | other -> failtestf "an interruption was expected: %A" other

                    Expect.equal torch.Tensor.TotalCount before at

                stop.Cancel()
                Expect.equal
                    (Evaluation.run (fun _ _ -> ()) stop.Token encoder evaluation)
                    (Error [ Error.Interrupted ])
                    "before it begins")

            test "where no threat is given it is the one of the training, else 8/255" (fun () ->
                use encoder = pixels 784
                let threatOf trained =
                    let encoder = {
                        encoder with
                            Configuration = { encoder.Configuration with Threat = trained }
                    }
                    let quick = { evaluation with Threat = None; Attacks = []; Images = Some 2 }
                    (Expect.wantOk
                        (Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder quick)
                        "measured")
                        .Threat
                Expect.equal (threatOf (Some "l2:0.5")) (Threat.create L2 0.5) "of the training"
                Expect.equal (threatOf None) (Threat.create Linf (8.0 / 255.0)) "usual")
        ]
    ]
