/// Encoders: what a run deploys.
module Tests.Runs.EncoderTests

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws

[<Tests>]
let tests =
    testList "Runs.Encoder" [
        for method in [ SimClr.method; Acl.dualStream ] do
            test
                (method.Name + ": an encoder is the deployed branch in eval mode, alone or in a batch")
                (fun () ->
                    let checkpoint = checkpointOf method
                    use encoder = Expect.wantOk (Encoder.ofCheckpoint None checkpoint) "encoder"
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

        test
            "a folded encoder is the same function of the images, and for other weights and modes the network"
            (fun () ->
                use encoder =
                    Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf Acl.dualStream)) "encoder"
                let folded = Encoder.folded encoder
                let x = (noise (Source 2) [ 5; 1; 12; 12 ]).requires_grad_ true

                let seen encoder =
                    let features = Encoder.features encoder x
                    let value = ResizeArray [ features.square().sum() ]
                    let gradients = torch.autograd.grad (value, ResizeArray [ x ])
                    floats features, floats gradients[0]

                let features, gradient = seen encoder
                let actual, actualGradient = seen folded
                close 1e-12 actual features "features"
                relative 1e-10 actualGradient gradient "gradient"
                Expect.notEqual
                    (bits (Encoder.features folded x))
                    (bits (Encoder.features encoder x))
                    "another way"

                let apply (encoder: Encoder) mode (parameters: Parameters) =
                    let output, _ =
                        encoder.Network.Apply (call encoder.Branch mode) parameters (snd encoder.Weights) x
                    bits output.Features

                let parameters = fst encoder.Weights
                Expect.equal (apply folded Train parameters) (apply encoder Train parameters) "in train mode"
                let others = parameters |> Map.map (fun _ p -> p * 0.5)
                Expect.equal (apply folded Eval others) (apply encoder Eval others) "with other weights")

        test "an encoder has copies of its own" (fun () ->
            let checkpoint = checkpointOf SimClr.method
            use encoder =
                Scope.value (fun () -> Expect.wantOk (Encoder.ofCheckpoint None checkpoint) "encoder")
            let before = hash (fst encoder.Weights)
            for x in State.tensors checkpoint.State do
                x.fill_ (0.0.ToScalar()) |> ignore
            Expect.equal (hash (fst encoder.Weights)) before "whatever becomes of the checkpoint")

        test "an encoder is loaded from a run's folder, and freed whole" (fun () ->
            inFolder (fun folder ->
                let checkpoint = checkpointOf Acl.dualStream
                Expect.isOk (Checkpoint.save folder 2 checkpoint) "saved"
                let before = Autograd.liveTensors ()
                let encoder, warning = Expect.wantOk (Encoder.load folder) "loaded"
                Expect.isNone warning "warning"
                Expect.equal (hash (fst encoder.Weights)) (hash (fst checkpoint.State.Online)) "weights"
                (encoder :> IDisposable).Dispose()
                Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test "an encoder that cannot be loaded leaves nothing behind" (fun () ->
            inFolder (fun folder ->
                Expect.equal (Error.exitCode (wantError (Encoder.load folder) "missing")) 4 "missing"
                let checkpoint = checkpointOf SimClr.method

                for change, code, part in
                    [
                        (fun (c: PretrainConfig) -> { c with Method = "simclr2" }), 3, "'simclr'"
                        (fun c -> { c with Network = Some "smal" }), 3, "'small'"
                        (fun c -> { c with Width = Some 0 }), 2, "--width"
                    ] do
                    Expect.isOk
                        (Checkpoint.save folder 2 {
                            checkpoint with
                                Configuration = change checkpoint.Configuration
                        })
                        "saved"
                    let before = Autograd.liveTensors ()
                    let error = wantError (Encoder.load folder) part
                    Expect.equal (Error.exitCode error) code part
                    says [ part ] error part
                    Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        for method in [ SimClr.method; Acl.dualStream ] do
            test
                (method.Name + ": an encoder saved alone is the same encoder under PyTorch's names")
                (fun () ->
                    inFolder (fun folder ->
                        let file = Path.Combine(folder, "encoder.safetensors")
                        use encoder =
                            Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf method)) "encoder"
                        Expect.isOk (Encoder.save file encoder) "saved"
                        let before = Autograd.liveTensors ()
                        let again, warning = Expect.wantOk (Encoder.load file) "loaded"
                        Expect.isNone warning "warning"
                        let x = noise (Source 1) [ 5; 1; 12; 12 ]
                        let seen encoder = Scope.value (fun () -> floats (Encoder.features encoder x))
                        Expect.equal (seen again) (seen encoder) "features"
                        Expect.equal
                            again.Network.Text
                            encoder.Network.Text[.. again.Network.Text.Length - 1]
                            "text"
                        let names =
                            Seq.append (fst again.Weights).Keys (snd again.Weights).Keys |> Set.ofSeq

                        Expect.equal
                            names
                            (Set [
                                for i in 1..5 do
                                    yield $"conv{i}.weight"
                                    for part in [ "weight"; "bias"; "running_mean"; "running_var" ] ->
                                        $"bn{i}.{part}"
                            ])
                            "the deployed branch's tensors and no others"

                        (again :> IDisposable).Dispose()
                        x.Dispose()
                        Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test
            "a saved encoder that lacks a tensor, or has one of another shape, is refused by its name"
            (fun () ->
                inFolder (fun folder ->
                    let file = Path.Combine(folder, "encoder.safetensors")
                    use encoder =
                        Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf SimClr.method)) "encoder"
                    Expect.isOk (Encoder.save file encoder) "saved"
                    let metadata, tree = Expect.wantOk (Safetensors.read file) "read"
                    let metadata =
                        metadata |> Map.filter (fun key _ -> key = "configuration" || key = "input")
                    let before = Autograd.liveTensors ()

                    for change, part in
                        [
                            Map.remove "bn2.bias", "lacks 'bn2.bias'"
                            Map.add "bn2.bias" tree["conv1.weight"], "'bn2.bias' as"
                        ] do
                        Expect.isOk (Safetensors.write file metadata (change tree)) "written"
                        says [ part ] (wantError (Encoder.load file) part) part
                        Expect.equal (Autograd.liveTensors ()) before "nothing left"

                    for x in TensorTree.tensors tree do
                        x.Dispose()))

        test "an encoder whose weights are not finite is not saved, and the place is named" (fun () ->
            inFolder (fun folder ->
                let file = Path.Combine(folder, "encoder.safetensors")
                use encoder =
                    Expect.wantOk (Encoder.ofCheckpoint None (checkpointOf SimClr.method)) "encoder"
                let weight = (fst encoder.Weights)["conv3.weight"]
                Scope.value (fun () -> weight.detach().fill_(nan.ToScalar()) |> ignore)
                says
                    [ "'conv3.weight'"; "not finite" ]
                    (wantError (Encoder.save file encoder) "saved")
                    "why"
                Expect.isFalse (File.Exists file) "nothing written"))
    ]
