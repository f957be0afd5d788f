/// Evaluations as a user asks for them.
module Tests.Evaluation.EvaluationTests

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Methods
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private evaluation: Evaluation = {
    Evaluation.defaults with
        Attacks = [ "fgsm"; "pgd-2:0.5" ]
        Images = Some 40
        Threats = [ "linf:0.05" ]
}

// The same on the few images in a folder.
let private onFew folder = { evaluation with Dataset = Some "fashion-mnist"; Data = Some folder }

[<Tests>]
let tests =
    testList "Evaluation.Evaluation" [
        test "fits, measures and tells how far it is" (fun () ->
            use encoder = Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf SimClr.method)) "encoder"
            let encoder = asSingle encoder
            let told = ResizeArray<string * float>()
            let before = Autograd.liveTensors ()
            let measured =
                Expect.wantOk
                    (Evaluation.run
                        (fun what share -> told.Add(what, share))
                        CancellationToken.None
                        encoder
                        evaluation)
                    "measured"
            Expect.equal (Autograd.liveTensors ()) before "nothing left"
            Expect.equal
                (measured.Dataset, measured.Coverage.Images, measured.Probe, measured.Seed)
                ("sample", 40L, "quick", 1UL)
                "what was measured"
            Expect.equal
                (measured.Accuracies |> List.map _.Threat)
                (None :: List.replicate 2 (Some(Threat.create Linf 0.05)))
                "threats"
            Expect.equal (measured.Accuracies |> List.map _.Name) [ "clean"; "fgsm"; "pgd-2:0.5" ] "names"
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
                    Threats = [ "l7:1" ]
                    Probe = "quik"
                    Images = Some 0
                    Threads = Some 0
            }
            let sentences =
                Expect.wantError (Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder bad) "faults"
                |> List.map Error.message

            for part in [ "'fgms'"; "'pgd-0'"; "'l7'"; "'quik'"; "--images"; "--threads" ] do
                Expect.exists sentences (fun s -> s.Contains part) part

            Expect.hasLength sentences 6 "one each")

        test "a data set that the encoder cannot see is refused" (fun () ->
            inFolder (fun folder ->
                let inner = Directory.CreateDirectory(Path.Combine(folder, "cifar-10-batches-bin")).FullName
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
            inFolder (fun folder ->
                writeFashion folder 60
                use encoder = pixels 784
                let evaluation = onFew folder

                for at in [ "linear layer"; "fgsm" ] do
                    use stop = new CancellationTokenSource()
                    let before = Autograd.liveTensors ()
                    let report what _ = if what = at then stop.Cancel()

                    match Evaluation.run report stop.Token encoder evaluation with
                    | Error [ Error.Interrupted ] -> ()
                    | other -> failtestf "an interruption was expected: %A" other

                    Expect.equal (Autograd.liveTensors ()) before at

                use stop = new CancellationTokenSource()
                stop.Cancel()
                Expect.equal
                    (Evaluation.run (fun _ _ -> ()) stop.Token encoder evaluation)
                    (Error [ Error.Interrupted ])
                    "before it begins"))

        test "where no threat is given it is the one of the training, else 8/255" (fun () ->
            inFolder (fun folder ->
                writeFashion folder 60
                use encoder = pixels 784

                let threatOf trained =
                    let encoder = {
                        encoder with
                            Configuration = { encoder.Configuration with Threat = trained }
                    }
                    let quick = { onFew folder with Threats = []; Attacks = [ "fgsm" ]; Images = Some 2 }
                    let measured = Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder quick
                    (Expect.wantOk measured "measured").Accuracies |> List.choose _.Threat

                Expect.equal (threatOf (Some "l2:0.5")) [ Threat.create L2 0.5 ] "of the training"
                Expect.equal (threatOf None) [ Threat.create Linf (8.0 / 255.0) ] "usual"))

        test "several threats give a curve: the wider the ball the fewer stand" (fun () ->
            inFolder (fun folder ->
                writeFashion folder 60
                use encoder = pixels 784
                let radii = [ "linf:0"; "linf:0.02"; "linf:0.1" ]
                let curve = { onFew folder with Threats = radii; Attacks = [ "pgd-5" ]; Images = Some 60 }
                let measured = Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder curve
                let accuracies = (Expect.wantOk measured "measured").Accuracies
                let correct = accuracies |> List.map _.Correct
                Expect.equal (List.length correct) 4 "clean, and one for each"
                Expect.equal correct[1] correct[0] "a ball of radius 0 is the image"
                Expect.equal correct (List.sortDescending correct) "never more under a wider one"
                Expect.isLessThan correct[3] correct[1] "and fewer in the end"))

        test "an interval is Wilson's" (fun () ->
            let interval correct total = (Accuracy.create "" None correct total).Interval
            // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
            for correct, total, low, high in
                [
                    81, 263, 0.2553, 0.3662
                    15, 148, 0.0624, 0.1605
                    0, 20, 0.0, 0.1611
                    1, 29, 0.0061, 0.1718
                ] do
                let found = interval correct total
                close 5e-5 [| fst found; snd found |] [| low; high |] (sprintf "%d of %d" correct total))
    ]
