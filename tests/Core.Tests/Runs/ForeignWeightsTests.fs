/// Checkpoints of other programs, under the names that their tensors have there: each loads as the network that it
/// is, in both file formats.
module Tests.Runs.ForeignWeightsTests

open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.PickleWriter
open Tests.Runs

let private width, classes = 2L, 3
let private none = [ 0.0 ], [ 1.0 ]
let private imagenet = [ 0.485; 0.456; 0.406 ], [ 0.229; 0.224; 0.225 ]

let private inputOf (mean, std) : ImageInfo =
    let three (values: float list) = if values.Length = 1 then List.replicate 3 values.Head else values

    { Channels = 3L; Mean = three mean; Std = three std; Classes = classes }

let private networkOf name normalise =
    let build = Expect.wantOk (ModelRegistry.find name (Some width)) name
    (Head.classifier "fc" (Some classes)).Run(build (inputOf normalise) [ clean ])

let private isNorm (name: string) =
    let layer = (name.Split '.') |> Array.rev |> Array.tryItem 1 |> Option.defaultValue ""
    layer.StartsWith "bn" || name.Contains "downsample.1."

// The tensors of a network under PyTorch's names: functions of the names, and for batch norms of a salt.
let private stateOf name salt =
    let parameters, buffers = init 1UL (networkOf name none)

    [
        for KeyValue(name, x) in Map.toSeq parameters |> Seq.append (Map.toSeq buffers) |> Map.ofSeq do
            let stem = Branch.stem name
            let key = if isNorm stem then salt + stem else stem
            stem, single (StateDictTests.weight key [ for size in x.shape -> int size ])
    ]

let private images () = single (tensor [ 2; 3; 12; 12 ] (StateDictTests.drawn "images" (2 * 3 * 144)))

// Features and logits of the network with these tensors.
let private expected name normalise (state: (string * Tensor) list) =
    let network = networkOf name normalise
    let state = Map.ofList state
    let parameters, buffers = init 1UL network
    let own = Map.map (fun name (_: Tensor) -> state[Branch.stem name])
    let output, _ = network.Apply (call clean Eval) (own parameters) (own buffers) (images ())
    floats output.Features, floats output.Heads["fc"]

// --- names in other programs

let private renamed (pairs: (string * string) list) (state: (string * Tensor) list) =
    let rename (name: string) = pairs |> List.fold (fun (name: string) (a, b) -> name.Replace(a, b)) name
    state |> List.map (fun (name, x) -> rename name, x)

let private under prefix state = state |> List.map (fun (name, x) -> prefix + name, x)

let private bare (state: (string * Tensor) list) =
    state |> List.filter (fun (name, _) -> not (name.StartsWith "fc."))

let private values (shape: int list) name = name, single (StateDictTests.weight name shape)
let private counter name = name, torch.tensor 7L

let private filled (numbers: float list) (shape: int list) name =
    name, single (tensor shape (Array.ofList numbers))

// The counts of batches that PyTorch keeps beside every batch norm.
let private counted state = [
    for name, x: Tensor in state do
        name, x
        if (name: string).EndsWith "running_var" then
            name.Replace("running_var", "num_batches_tracked"), torch.tensor 3L
]

let private downsample = [ "downsample.0", "downsample.conv"; "downsample.1", "downsample.bn" ]
let private shortcut = [ "downsample", "shortcut"; "fc.", "linear." ]

let private listed index (state: (string * Tensor) list) = [
    for name, x in state do
        let at = name.LastIndexOf '.'

        if isNorm name then $"{name[.. at - 1]}.bn_list.{index}{name[at..]}", x
]

// Two batch norms in lists, as in ACL's code.
let private twoNorms network =
    let first, second = stateOf network "", stateOf network "second:"
    let plain = first |> List.filter (fun (name, _) -> not (isNorm name))
    bare plain @ listed 0 first @ listed 1 second |> renamed downsample

let private projection name = [
    values [ 16; 16 ] $"{name}.fc1.weight"
    values [ 16 ] $"{name}.fc1.bias"
    values [ 16 ] $"{name}.bn1.bn_list.0.weight"
    values [ 16 ] $"{name}.bn1.bn_list.1.running_var"
    values [ 16; 16 ] $"{name}.fc2.weight"
]

let private layers name = [
    values [ 16; 16 ] $"{name}.0.weight"
    values [ 16 ] $"{name}.1.running_mean"
    values [ 8; 16 ] $"{name}.3.weight"
]

let private normalise name = [
    filled (fst imagenet) [ 3 ] $"{name}.mean"
    filled (snd imagenet) [ 3 ] $"{name}.std"
]

// CLAE's second batch norms, and its names of shortcuts.
let private clae =
    let clean, adversarial = stateOf "resnet18" "", stateOf "resnet18" "second:"
    let shortcut = [ "downsample.0", "shortcut.0"; "downsample.1", "shortcut_bn" ]

    let second = [
        for name, x in renamed shortcut adversarial do
            let at = name.LastIndexOf '.'
            if isNorm (name.Replace("shortcut_bn", "bn")) then $"{name[.. at - 1]}_adv{name[at..]}", x
    ]

    bare (renamed shortcut clean) @ second

/// A checkpoint as a program writes it.
type private Case = {
    Program: string
    Network: string
    /// What its file holds.
    State: unit -> (string * Tensor) list
    /// The key of the state dict in its file, with more beside it.
    Key: string option
    Options: ForeignOptions -> ForeignOptions
    /// Which batch norms are right, by their salt.
    Salt: string
    Normalise: float list * float list
    HasClassifier: bool
    Says: string list
}

let private case program network state = {
    Program = program
    Network = network
    State = state
    Key = None
    Options = fun options -> { options with Normalise = Some "none" }
    Salt = ""
    Normalise = none
    HasClassifier = true
    Says = []
}

let private cases = [
    for network in [ "resnet18-imagenet"; "resnet34-imagenet"; "resnet50-imagenet" ] do
        {
            case $"torchvision and timm, {network}" network (fun () -> counted (stateOf network "")) with
                Options = id
                Normalise = imagenet
                Says = [ "ImageNet stem"; "ImageNet's" ]
        }

    let acl = {
        case "ACL" "resnet18" (fun () -> twoNorms "resnet18" @ projection "fc" @ normalise "normalize") with
            Key = Some "state_dict"
            Options = id
            Salt = "second:"
            Normalise = imagenet
            HasClassifier = false
            Says = [ "batch norm 1 of 0 to 1"; "'fc' (5 tensors)"; "normalize.mean'" ]
    }

    acl

    for chosen in [ "0"; "clean" ] do
        {
            acl with
                Program = $"ACL, batch norm {chosen}"
                Options = fun options -> { options with BatchNorm = Some chosen }
                Salt = ""
                Says = [ "batch norm 0 of 0 to 1" ]
        }

    let dynacl () =
        let slow = twoNorms "resnet18" |> List.map (fun (name, x) -> "encoder_k." + name, x * 0.5)
        under "encoder_q." (twoNorms "resnet18" @ normalise "normalize")
        @ slow
        @ under "encoder_k." (normalise "normalize")

    {
        acl with
            Program = "DynACL"
            State = dynacl
            Says = [ "encoder_q.'"; "the copy 'encoder_k' (180 tensors; --prefix encoder_k takes it)" ]
    }

    {
        acl with
            Program = "DynACL's slow encoder"
            State =
                fun () ->
                    let own = under "encoder_k." (twoNorms "resnet18" @ normalise "normalize")
                    own @ under "encoder_q." (List.map (fun (name, x) -> name, x * 0.5) (twoNorms "resnet18"))
            Options = fun options -> { options with Prefix = Some "encoder_k" }
            Says = [ "encoder_k.'" ]
    }

    for program, prefix in [ "AdvCL", ""; "A-InfoNCE", "module." ] do
        {
            acl with
                Program = program
                Key = Some "model"
                State =
                    fun () ->
                        let heads = List.collect layers [ "head_ce"; "head_proj"; "head_pred" ]
                        under prefix (twoNorms "resnet18" @ heads @ [ values [ 10; 16 ] "fc_010.weight" ])
                Options = fun options -> { options with Normalise = Some "none" }
                Normalise = none
                Says = [ "'head_proj' (3 tensors)"; "'fc_010' (1 tensor)" ]
        }

    {
        case "RoCL" "resnet18" (fun () -> under "module." (renamed shortcut (bare (stateOf "resnet18" "")))) with
            Key = Some "model"
            HasClassifier = false
            Says = [ "without a classifier" ]
    }

    {
        case "RobustBench, ResNet-18" "resnet18" (fun () ->
            renamed shortcut (counted (stateOf "resnet18" ""))) with
            Says = [ "'linear'" ]
    }

    {
        case "RobustBench, wide ResNet" "wrn-28-10" (fun () ->
            let state = stateOf "wrn-28-10" ""
            let twin = state |> List.filter (fun (name, _) -> name.StartsWith "block1.")
            under "module." (counted (state @ under "sub_" twin))) with
            Key = Some "state_dict"
    }

    {
        case "RobustBench, PreActResNet-18" "preactresnet18" (fun () ->
            renamed [ "fc.", "linear." ] (stateOf "preactresnet18" "")
            @ [
                filled [ 0.5; 0.4; 0.3 ] [ 1; 3; 1; 1 ] "mu"
                filled [ 0.2; 0.3; 0.25 ] [ 1; 3; 1; 1 ] "sigma"
            ]) with
            Options = id
            Normalise = [ 0.5; 0.4; 0.3 ], [ 0.2; 0.3; 0.25 ]
            Says = [ "'mu'"; "PreActResNet-18" ]
    }

    {
        case "solo-learn" "resnet18-pad2" (fun () ->
            let own = stateOf "resnet18-pad2" ""
            let momentum = bare own |> List.map (fun (name, x) -> "momentum_backbone." + name, x * 0.5)
            under "backbone." (bare own)
            @ renamed [ "fc.", "classifier." ] (own |> List.filter (fun (name, _) -> name.StartsWith "fc."))
            @ layers "projector"
            @ layers "momentum_projector"
            @ momentum
            @ [ values [ 16; 8 ] "queue"; counter "queue_ptr" ]) with
            Key = Some "state_dict"
            Says = [ "padding 2"; "'projector' (3 tensors)"; "'momentum_backbone'"; "the queue" ]
    }

    let claeCase = {
        case "CLAE" "resnet18" (fun () -> under "encoder." clae @ layers "projector") with
            HasClassifier = false
            Says = [ "batch norm 0 of 0 to 1" ]
    }

    claeCase

    {
        claeCase with
            Program = "CLAE, the adversarial batch norms"
            Options = fun options -> { options with Normalise = Some "none"; BatchNorm = Some "adv" }
            Salt = "second:"
            Says = [ "batch norm 1 of 0 to 1" ]
    }

    {
        case "CLAE's UEL" "resnet18-imagenet" (fun () ->
            let names = [ "downsample.0", "ds_conv1"; "downsample.1", "ds_bn1" ]
            // Its code makes these batch norms even where the others have no second one.
            under "module.net." (renamed names (stateOf "resnet18-imagenet" ""))
            @ [ values [ 4 ] "module.net.layer2.0.ds_bn1_adv.weight" ]) with
            Key = Some "net"
            Says = [ "names without" ]
    }

    {
        case "MoCo" "resnet50" (fun () ->
            under "module.encoder_q." (bare (stateOf "resnet50" "") @ layers "fc")
            @ under "module.encoder_k." (bare (stateOf "resnet50" "other:") @ layers "fc")
            @ [ values [ 8; 16 ] "module.queue"; counter "module.queue_ptr" ]) with
            Key = Some "state_dict"
            HasClassifier = false
            Says = [ "'encoder_k'"; "the queue" ]
    }

    {
        case "a layer in front in a Sequential" "small" (fun () ->
            under "1." (stateOf "small" "")
            @ [ filled [ 127.5; 0.0; 255.0 ] [ 3 ] "0.mean"; filled [ 51.0; 255.0; 25.5 ] [ 3 ] "0.std" ]) with
            Options = id
            Normalise = [ 0.5; 0.0; 1.0 ], [ 0.2; 1.0; 0.1 ]
            Says = [ "'0.mean'" ]
    }

    {
        case "MadryLab's robustness" "resnet18" (fun () ->
            under "module.model." (stateOf "resnet18" "")
            @ under "module.attacker.model." (stateOf "resnet18" "")
            @ [
                for name in [ "normalizer"; "attacker.normalize" ] do
                    filled [ 0.5; 0.4; 0.3 ] [ 3; 1; 1 ] $"module.{name}.new_mean"
                    filled [ 0.2; 0.3; 0.25 ] [ 3; 1; 1 ] $"module.{name}.new_std"
            ]) with
            Key = Some "model"
            Options = id
            Normalise = [ 0.5; 0.4; 0.3 ], [ 0.2; 0.3; 0.25 ]
            Says = [ "the copy 'attacker'" ]
    }
]

// --- files

// What stands beside a state dict in a checkpoint.
let private beside storages isLegacy = [
    "epoch", PyInt 3
    "best", PyCall(PyGlobal("numpy.core.multiarray", "scalar"), [ PyFloat 0.5 ])
    "args", PyObject(PyGlobal("argparse", "Namespace"), [], dict [ "lr", PyFloat 0.1 ])
    "optimizer",
    dict [
        "state", PyDict [ PyInt 0, dict [ "momentum_buffer", whole storages isLegacy (torch.ones 4L) ] ]
        "param_groups", PyTuple [ dict [ "lr", PyFloat 0.1 ] ]
    ]
]

let checkpoint isLegacy (key: string option) (state: (string * Tensor) list) storages =
    let state = dict [ for name, x in state -> name, whole storages isLegacy x ]

    match key with
    | Some key -> dict ((key, state) :: beside storages isLegacy)
    | None -> state

let private load (options: ForeignOptions -> ForeignOptions) network path =
    let options = options { Network = network; Normalise = None; Prefix = None; BatchNorm = None }

    Pretrained.ofOptions options cpu path

let private agrees (case: Case) path =
    use encoder = Expect.wantOk (load case.Options case.Network path) case.Program
    let features, logits = expected case.Network case.Normalise (stateOf case.Network case.Salt)
    let model = Encoder.model encoder
    close 1e-5 (floats (Encoder.features encoder (images ()))) features "features"

    if case.HasClassifier then
        close 1e-5 (floats (Network.classifier "fc" model (images ()))) logits "logits"
    else
        Expect.equal encoder.Input.Classes 0 "no classifier"

    close 1e-6 (Array.ofList encoder.Input.Mean) (Array.ofList (inputOf case.Normalise).Mean) "mean"
    close 1e-6 (Array.ofList encoder.Input.Std) (Array.ofList (inputOf case.Normalise).Std) "deviation"

    for part in case.Says do
        Expect.stringContains (List.exactlyOne encoder.Notes) part "what was understood"

let private inFile (bytes: byte[]) (look: string -> unit) =
    inFolder (fun folder ->
        let path = Path.Combine(folder, "weights.pth")
        File.WriteAllBytes(path, bytes)
        look path)

let private small () = counted (stateOf "small" "")

let private refused options network state parts =
    inFile (archive (checkpoint false None state)) (fun path ->
        let before = Autograd.liveTensors ()
        let error = wantError (load options network path) network
        says parts error network
        Expect.equal (Autograd.liveTensors ()) before "nothing left")

let private plainly (options: ForeignOptions) = { options with Normalise = Some "none" }

[<Tests>]
let tests =
    testList "Runs.ForeignWeights" [
        testList "load as what they are" [
            for case in cases do
                test (case.Program + ", as safetensors") (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "weights.safetensors")
                        StateDictTests.writePython path (Map.ofList (case.State()))
                        agrees case path))

                test (case.Program + ", of torch.save") (fun () ->
                    inFile (archive (checkpoint false case.Key (case.State()))) (agrees case))
        ]

        test "files of PyTorch before 1.6, with what stands beside the weights" (fun () ->
            let state = stateOf "small" ""

            inFile (legacy 4 (checkpoint true (Some "state_dict") state)) (fun path ->
                agrees
                    { case "before 1.6" "small" (fun () -> state) with Says = [ "the optimizer's state" ] }
                    path))

        test "views of a shared storage, strides and a parameter" (fun () ->
            let state = stateOf "small" ""
            let flat = torch.cat (ResizeArray [ for _, x in state -> x.flatten () ])

            let value storages =
                let places = List.scan (fun at (_, x: Tensor) -> at + int (x.numel ())) 0 state

                dict [
                    for (name, x), at in List.zip state (List.truncate state.Length places) do
                        let x =
                            if name = "fc.weight" then
                                // Its columns one after the other.
                                let transposed = x.t().contiguous()
                                let view = view storages false transposed 0 x.shape [| 1L; x.shape[0] |]
                                PyCall(
                                    PyGlobal("torch._utils", "_rebuild_parameter"),
                                    [ view; PyTrue; PyNone ]
                                )
                            else
                                view storages false flat at x.shape (x.stride ())

                        name, x
                ]

            inFile (archive value) (agrees (case "views" "small" (fun () -> state))))

        for dtype, tolerance in [ torch.float16, 2e-3; torch.bfloat16, 2e-2; torch.float64, 1e-6 ] do
            test $"weights in {dtype} become float32" (fun () ->
                let state = stateOf "small" "" |> List.map (fun (name, x) -> name, x.``to`` dtype)

                inFile (archive (checkpoint false None state)) (fun path ->
                    use encoder = Expect.wantOk (load plainly "small" path) "loaded"
                    let features, _ = expected "small" none (stateOf "small" "")
                    relative tolerance (floats (Encoder.features encoder (images ()))) features "features"
                    Expect.all
                        (Map.values (fst encoder.Weights))
                        (fun x -> x.dtype = torch.float32)
                        "float32"))

        for modul, name in [ "posix", "system"; "builtins", "eval"; "subprocess", "Popen"; "os.path", "join" ] do
            test $"a pickle that asks for {modul}.{name} is refused, and nothing of it runs" (fun () ->
                inFolder (fun folder ->
                    let trace = Path.Combine(folder, "trace")

                    let value storages =
                        dict [
                            "state_dict", checkpoint false None (small ()) storages
                            "x", PyCall(PyGlobal(modul, name), [ PyText $"touch {trace}" ])
                        ]

                    inFile (archive value) (fun path ->
                        says
                            [ $"'{modul}.{name}'"; "Nothing was run" ]
                            (wantError (load plainly "small" path) name)
                            name
                        Expect.isFalse (File.Exists trace) "nothing ran")))

        test "what is no state dict is named" (fun () ->
            let cases = [
                PyInt 3, "no state dict"
                PyTuple [ PyInt 1 ], "no state dict"
                PyObject(PyGlobal("models", "Net"), [], dict [ "training", PyTrue ]), "'models.Net'"
            ]

            for value, part in cases do
                inFile (archive (fun _ -> value)) (fun path ->
                    says [ part ] (wantError (load plainly "small" path) part) part))

        test "sizes that lie are refused before anything is allocated" (fun () ->
            let huge = 1L <<< 30

            let lies = [
                "beyond the storage", [| 3L; 8L |], [| 8L; 1L |], 1
                "before it", [| 3L; 8L |], [| 8L; 1L |], -1
                "one value again and again", [| 3L; 8L |], [| 0L; 0L |], 0
                "huge", [| 3L; huge |], [| huge; 1L |], 0
                "strides missing", [| 3L; 8L |], [||], 0
            ]

            for what, shape, strides, offset in lies do
                let value storages =
                    dict [
                        for name, x in stateOf "small" "" do
                            if name = "conv2.weight" then
                                name, view storages false (torch.ones 24L) offset shape strides
                            else
                                name, whole storages false x
                    ]

                inFile (archive value) (fun path ->
                    let error = wantError (load plainly "small" path) what
                    says [ "conv2.weight" ] error what))

        test
            "weights that are not finite, negative variances and integers are refused by their place"
            (fun () ->
                let replace name (f: Tensor -> Tensor) =
                    small () |> List.map (fun (n, x) -> n, (if n = name then f x else x))

                let at (i: int) (value: float) (x: Tensor) =
                    let values = floats x
                    values[i] <- value
                    single (tensor [ values.Length ] values)

                let cases = [
                    replace "bn5.running_var" (at 1 nan >> at 3 infinity),
                    "'bn5.running_var' holds 2 values that are not finite"
                    replace "bn5.running_var" (at 1 -0.5), "'bn5.running_var' holds 1 value that is negative"
                    replace "bn2.weight" (at 0 nan), "'bn2.weight' holds 1 value that is not finite"
                    // Beyond what float32 holds.
                    replace "fc.bias" (fun x -> x.``to`` (torch.float64) * 1e300), "'fc.bias' holds 3 values"
                    replace "conv1.weight" (fun x -> (x * 9.0).``to`` torch.int8),
                    "'conv1.weight' has the type Char"
                ]

                for state, part in cases do
                    refused plainly "small" state [ part ])

        test "what does not fit is told by what it is" (fun () ->
            let cases = [
                "resnet18", stateOf "resnet50" "", [ "a ResNet-50 with a 3x3 stem"; "resnet50" ]
                "resnet18",
                stateOf "resnet18-imagenet" "",
                [ "7x7 stem"; "name that network: resnet18-imagenet" ]
                "resnet18-imagenet",
                stateOf "resnet18" "",
                [ "3x3 stem"; "name that network: resnet18 or resnet18-pad2" ]
                "resnet18",
                under "module." (stateOf "wrn-34-10" ""),
                [ "a wide ResNet"; "name that network: wrn-34-10" ]
                "resnet18",
                stateOf "preactresnet18" "",
                [ "a PreActResNet-18"; "name that network: preactresnet18" ]
                "preactresnet18",
                stateOf "preactresnet18" "" |> List.filter (fun (name, _) -> not (name.StartsWith "bn.")),
                [ "without a last batch norm"; "none of the networks" ]
                "resnet50",
                stateOf "resnet50" ""
                @ [ for i in 6..22 -> values [ 8; 32; 1; 1 ] $"layer3.{i}.conv1.weight" ],
                [ "a ResNet-101"; "none of the networks" ]
                "resnet18",
                stateOf "resnet18" "" @ [ values [ 1; 2 ] "layer1.0.se.fc1.weight" ],
                [ "squeeze and excitation" ]
                "resnet18", [ values [ 4; 4 ] "blocks.0.attn.qkv.weight" ], [ "a vision transformer" ]
            ]

            for network, state, parts in cases do
                refused plainly network state parts)

        test "choices that are not there are refused with those that are" (fun () ->
            let with' prefix norm (options: ForeignOptions) = {
                options with
                    Normalise = Some "none"
                    Prefix = prefix
                    BatchNorm = norm
            }

            let two = twoNorms "resnet18"
            refused (with' None (Some "2")) "resnet18" two [ "--batch-norm"; "'2'"; "0, 1" ]
            refused (with' None (Some "adv")) "small" (small ()) [ "--batch-norm"; "one batch norm" ]
            refused (with' (Some "encoder_k") None) "small" (small ()) [
                "--prefix"
                "'encoder_k'"
                "no prefix"
            ]
            let twice = under "first." (small ()) @ under "second." (small ())
            refused plainly "small" twice [ "--prefix"; "'first' and 'second'" ])

        test "a normalisation that contradicts the file's is refused, and one that agrees is not" (fun () ->
            let state =
                small () @ [ filled [ 0.5; 0.4; 0.3 ] [ 3 ] "mu"; filled [ 0.2; 0.3; 0.25 ] [ 3 ] "sigma" ]
            let by text (options: ForeignOptions) = { options with Normalise = Some text }
            refused (by "none") "small" state [ "--normalise"; "'mu'"; "0.5,0.4,0.3/0.2,0.3,0.25" ]

            inFile (archive (checkpoint false None state)) (fun path ->
                let encoder = Expect.wantOk (load (by "0.5,0.4,0.3/0.2,0.3,0.25") "small" path) "agrees"
                use encoder = encoder
                close 1e-6 (Array.ofList encoder.Input.Mean) [| 0.5; 0.4; 0.3 |] "mean")

            refused id "small" (small ()) [ "--normalise" ])
    ]
