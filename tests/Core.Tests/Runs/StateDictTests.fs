/// State dicts of other programs: PyTorch's logits and gradients, and what does not fit.
module Tests.Runs.StateDictTests

open System
open System.IO
open System.Text
open System.Text.Json
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestRuns
open Support
open Tests.Networks

// --- the tensors of the reference networks: functions of name and place

let private modulus = 1000003L

let drawn (name: string) count =
    let start = name |> Seq.fold (fun start c -> (31L * start + int64 c) % modulus) 0L
    Array.init count (fun i ->
        let i = int64 i
        float ((start + 7919L * i + 104729L * i * i) % modulus) / float modulus)

let private product = List.fold (*) 1

let weight (name: string) (shape: int list) : Tensor =
    if name.EndsWith "num_batches_tracked" then
        torch.tensor (7L)
    else
        let u = tensor shape (drawn name (product shape))

        if name.EndsWith "running_var" || (shape.Length = 1 && name.EndsWith "weight") then u + 0.5
        elif shape.Length = 1 then u - 0.5
        else (u * 2.0 - 1.0) * sqrt (2.0 / float (product shape.Tail))

let private stateOf case : Map<string, Tensor> =
    Map [
        for name, shape in GoldenValues.parts [ "state_dict" ] case ->
            name, weight name [ for size in shape.EnumerateArray() -> size.GetInt32() ]
    ]

let private all = GoldenValues.networks
let private mean, std =
    let list key = List.ofArray (GoldenValues.values [ key ] all.Value)
    list "mean", list "std"

let private images =
    let shape = GoldenValues.values [ "images" ] all.Value |> Array.map int |> List.ofArray
    fun () -> tensor shape (drawn "images" (product shape))

let private reference name =
    GoldenValues.at [ "cases" ] all.Value
    |> _.EnumerateArray()
    |> Seq.find (fun case -> GoldenValues.text [ "network" ] case = name)

let private building case branches input =
    let name, width = GoldenValues.text [ "network" ] case, GoldenValues.whole [ "width" ] case
    let build = Expect.wantOk (ModelRegistry.find name (Some(int64 width))) name
    (Head.classifier "fc" (Some 5)).Run(build input branches)

let private colours = { Channels = 3L; Mean = mean; Std = std; Classes = 5 }

// --- files

// A file as the library of the layout's authors writes it from Python: no checksum, a format.
let writePython (path: string) (tensors: Map<string, Tensor>) =
    let bodies = tensors |> Map.toList |> List.map (fun (name, x) -> name, x, TensorTree.bytes x)
    let code (x: Tensor) =
        match x.dtype with
        | torch.ScalarType.Float64 -> "F64"
        | torch.ScalarType.Int64 -> "I64"
        | _ -> "F32"

    let entries =
        ((0, []), bodies)
        ||> List.fold (fun (from, entries) (name, x, body) ->
            let shape = String.Join(",", x.shape)
            let until = from + body.Length
            let entry =
                sprintf
                    "%s:{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%d,%d]}"
                    (JsonSerializer.Serialize name)
                    (code x)
                    shape
                    from
                    until
            until, entry :: entries)
        |> snd
        |> List.rev

    let header =
        Encoding.UTF8.GetBytes(
            "{" + String.Join(",", "\"__metadata__\":{\"format\":\"pt\"}" :: entries) + "}"
        )

    File.WriteAllBytes(
        path,
        Array.concat [
            BitConverter.GetBytes(int64 header.Length)
            header
            yield! bodies |> List.map (fun (_, _, body) -> body)
        ]
    )

let private inFile tensors (look: string -> unit) =
    inFolder (fun folder ->
        let file = path [ folder; "weights.safetensors" ]
        writePython file tensors
        look file)

let private singles (tensors: Map<string, Tensor>) =
    tensors |> Map.map (fun _ x -> if x.dtype = torch.ScalarType.Int64 then x.alias () else single x)

let private load name file = Pretrained.load name (mean, std) cpu file

// The logits of a network, the gradient of the mean cross-entropy in the images, and that.
let private answers (classify: Tensor -> Tensor) (x: Tensor) =
    let x = x.detach().requires_grad_ true
    let logits = classify x
    let loss =
        (CrossEntropy.perSample logits (torch.arange (x.shape[0].ToScalar(), dtype = torch.int64))).mean()
    let gradient = torch.autograd.grad (ResizeArray [ loss ], ResizeArray [ x ])
    floats logits, floats gradient[0], number loss

let private agree tolerance case (logits, gradient, loss) what =
    let scaled key actual =
        let expected = GoldenValues.values [ key ] case
        let top = normInf expected
        close tolerance (times (1.0 / top) actual) (times (1.0 / top) expected) (what + ": " + key)

    scaled "logits" logits
    scaled "gradient" gradient
    close tolerance [| loss |] [| GoldenValues.real [ "loss" ] case |] (what + ": loss")

// --- a state dict small enough to be spoilt

let private smallState () =
    let parameters, buffers = init 3UL (SmallNet.create 2L grey [ clean ])
    Seq.append (Map.toSeq parameters) (Map.toSeq buffers)
    |> Seq.map (fun (name, x) -> Branch.stem name, x)
    |> Map.ofSeq

let private refused file normalise name =
    let before = Autograd.liveTensors ()
    let error = wantError (Pretrained.load name normalise cpu file) name
    Expect.equal (Autograd.liveTensors ()) before "nothing left"
    error

let private none = [ 0.0 ], [ 1.0 ]

[<Tests>]
let tests =
    testList "Runs.StateDict" [
        testList "PyTorch's logits, gradients and loss" [
            for case in (GoldenValues.at [ "cases" ] all.Value).EnumerateArray() do
                let name = GoldenValues.text [ "network" ] case

                test (name + ", in float64 and in every branch") (fun () ->
                    let branches = [ clean; adv; Branch "third" ]
                    let network = building case branches colours
                    let parameters, buffers =
                        Expect.wantOk (StateDict.fit "file" network (stateOf case)) "weights"

                    for branch in branches do
                        let classify x =
                            let output, _ = network.Apply (call branch Eval) parameters buffers x
                            output.Heads["fc"]
                        agree 1e-9 case (answers classify (images ())) (Branch.name branch))

                test (name + ", from a file in float32") (fun () ->
                    inFile (singles (stateOf case)) (fun file ->
                        use encoder = Expect.wantOk (load name file) "loaded"
                        let classify = Network.classifier "fc" (Encoder.model encoder)
                        agree 1e-5 case (answers classify (single (images ()))) "float32"
                        let width = GoldenValues.whole [ "width" ] case
                        Expect.equal encoder.Configuration.Width (Some width) "the file's width"
                        Expect.equal encoder.Input colours "its channels and classes"))
        ]

        test
            "every batch norm of a ResNet-50 has another branch's weights, those of the shortcuts included"
            (fun () ->
                let count name width branches =
                    let network = (Expect.wantOk (ModelRegistry.find name (Some width)) name) colour branches
                    fst (init 1UL network) |> ModelRegistryTests.count

                // A batch norm's weight and bias for another branch: channels of each norm, shortcuts included.
                let norms = 64 + (64 + 64 + 256) * 3 + 256 + (128 + 128 + 512) * 4 + 512
                let norms = norms + (256 + 256 + 1024) * 6 + 1024 + (512 + 512 + 2048) * 3 + 2048
                let more = count "resnet50" 4L [ clean; adv ] - count "resnet50" 4L [ clean ]
                Expect.equal more (int64 (2 * norms / 16)) "one more branch")

        test "an encoder without a classifier has no head" (fun () ->
            let state =
                stateOf (reference "resnet18") |> Map.filter (fun name _ -> not (name.StartsWith "fc."))
            inFile (singles state) (fun file ->
                use encoder = Expect.wantOk (load "ResNet18" file) "loaded"
                let x = single (images ())
                let call = call encoder.Branch Eval
                let output, _ = encoder.Network.Apply call (fst encoder.Weights) (snd encoder.Weights) x
                Expect.isTrue output.Heads.IsEmpty "heads"
                Expect.equal (bits (Encoder.features encoder x)) (bits output.Features) "features"
                Expect.equal output.Features.shape [| 2L; 32L |] "shape"))

        test "weights are copies, the same in every branch, and freed whole" (fun () ->
            inFile (smallState ()) (fun file ->
                let before = Autograd.liveTensors ()
                let loaded = Pretrained.withBranches [ adv; clean ] "small" none cpu file
                let encoder = Expect.wantOk loaded "loaded"
                Expect.equal encoder.Branch adv "the first branch"

                Scope.value (fun () ->
                    let state = smallState ()

                    for KeyValue(name, x) in Seq.append (fst encoder.Weights) (snd encoder.Weights) do
                        Expect.equal (bits x) (bits state[Branch.stem name]) name)

                (encoder :> IDisposable).Dispose()
                Expect.equal (Autograd.liveTensors ()) before "nothing left"))

        test "what other programs put beside the weights is passed over" (fun () ->
            let state = stateOf (reference "wrn-28-10")
            let twin = state["block1.layer.0.bn1.weight"].alias()
            let state = Map.add "sub_block1.layer.0.bn1.weight" twin state
            let prefixed = Map [ for KeyValue(name, x) in singles state -> "module." + name, x ]
            inFile prefixed (fun file ->
                use encoder = Expect.wantOk (load "wrn-28-10" file) "loaded"
                let classify = Network.classifier "fc" (Encoder.model encoder)
                agree 1e-5 (reference "wrn-28-10") (answers classify (single (images ()))) "logits"))

        test "what does not fit is told by name, with the nearest and with both shapes" (fun () ->
            let state = smallState ()

            let cases = [
                "a name that is missing", Map.remove "conv3.weight" state, [ "it lacks 'conv3.weight'" ]
                "a name misspelt",
                state |> Map.remove "bn2.running_var" |> Map.add "bn2.runing_var" state["bn2.running_var"],
                [
                    "it lacks 'bn2.running_var'"
                    "the unknown 'bn2.runing_var' (did you mean 'bn2.running_var'?)"
                ]
                "a name too many", Map.add "extra" state["bn1.bias"] state, [ "the unknown 'extra'." ]
                "another shape",
                Map.add "conv2.weight" (state["conv2.weight"].reshape [| 4L; 2L; 9L |]) state,
                [ "'conv2.weight' as [4; 2; 9] for [4; 2; 3; 3]" ]
                "many", state |> Map.filter (fun name _ -> not (name.StartsWith "bn")), [ "and 17 more" ]
                "half a classifier", Map.add "fc.bias" state["bn1.bias"] state, [ "the unknown 'fc.bias'" ]
            ]

            for what, spoilt, parts in cases do
                inFile spoilt (fun file ->
                    let error = refused file none "small"
                    says (file :: "it does not fit five 3x3 convolutions" :: parts) error what
                    Expect.equal (Error.exitCode error) 5 what))

        test "a file for another network, or of a run, and one that is not there" (fun () ->
            inFile (smallState ()) (fun file ->
                let error = refused file none "resnet18"
                says [ "the small network"; "name that network: small" ] error "another network"
                let unknown = refused file none "resnet19"
                says [ "'resnet18'"; "wrn-28-10" ] unknown "unknown"
                let wrong = refused file (mean, std) "small"
                says [ "--normalise"; "3 channels"; "has 1" ] wrong "channels"
                Expect.equal (Error.exitCode (refused (file + "x") none "small")) 4 "missing")

            inFolder (fun folder ->
                let checkpoint = checkpointOf SimClr.method
                Expect.isOk (Checkpoint.save folder 2 checkpoint) "saved"
                State.dispose checkpoint.State
                let file = path [ folder; "checkpoint.safetensors" ]
                says [ "--network"; file; "a run of this program" ] (refused file none "small") "a run"
                File.WriteAllText(file, "no weights")
                Expect.equal (Error.exitCode (refused file none "small")) 5 "damaged"))

        test "normalisations by name and by their numbers" (fun () ->
            for text, expected in
                [
                    "none", none
                    "ImageNet", (mean, std)
                    "cifar10", ([ 0.4914; 0.4822; 0.4465 ], [ 0.2470; 0.2435; 0.2616 ])
                    "0.5/0.25", ([ 0.5 ], [ 0.25 ])
                    "0.1, 0.2,0.3/1,2,3", ([ 0.1; 0.2; 0.3 ], [ 1.0; 2.0; 3.0 ])
                ] do
                Expect.equal (Pretrained.normalisation text) (Ok expected) text

            for text in [ "0.5/0"; "1,2/1"; "a/b"; "1/nan"; "1,/1,1" ] do
                says [ "--normalise"; text; "means" ] (wantError (Pretrained.normalisation text) text) text

            let unknown = wantError (Pretrained.normalisation "imagnet") "unknown"
            says [ "'imagnet'"; "'imagenet'" ] unknown "unknown"
            Expect.equal (Pretrained.usual "resnet50-imagenet") (Ok(mean, std)) "by its stem"
            says
                [ "--normalise"; "'resnet18'"; "none" ]
                (wantError (Pretrained.usual "resnet18") "usual")
                "usual")
    ]
