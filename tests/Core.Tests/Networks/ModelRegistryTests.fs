/// Backbones against their definitions, and the zoo.
module Tests.Networks.ModelRegistryTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let both = [ clean; adv ]
let resnet stem width branches = ResNet.resNet18 stem width colour branches
let count (tensors: Map<string, Tensor>) = tensors |> Map.values |> Seq.sumBy (fun x -> x.numel ())

// --- ResNet-18 and the small net written out with libtorch's functions alone, in PyTorch's names

let conv (p: Parameters) name (stride: int64) (padding: int64) (x: Tensor) =
    torch.nn.functional.conv2d (x, p[name + ".weight"], null, [| stride; stride |], [| padding; padding |])

let bn (p: Parameters, b: Buffers) branch name (x: Tensor) =
    let at part = name + "." + part + "@" + branch
    let shaped (values: Tensor) = values.view [| 1L; -1L; 1L; 1L |]
    let centred = x - shaped b[at "running_mean"]
    centred / shaped ((b[at "running_var"] + 1e-5).sqrt()) * shaped p[at "weight"] + shaped p[at "bias"]

let scaled (input: ImageInfo) (x: Tensor) =
    let channels (values: float list) =
        (values |> List.toArray |> tensor [ 1; values.Length; 1; 1 ] |> single).``to`` torch.float64
    (x - channels input.Mean) / channels input.Std

let preActSlowly (weights: Parameters * Buffers) branch (images: Tensor) =
    let conv, bn = conv (fst weights), bn weights branch

    let block (x: Tensor) (name, stride) =
        let first = (x |> bn (name + ".bn1")).relu()
        let y = (first |> conv (name + ".conv1") stride 1L |> bn (name + ".bn2")).relu()
        let y = y |> conv (name + ".conv2") 1L 1L

        if (fst weights).ContainsKey(name + ".shortcut.0.weight") then
            y + (first |> conv (name + ".shortcut.0") stride 0L)
        else
            y + x

    let blocks = [
        for i in 1..4 do
            $"layer{i}.0", (if i = 1 then 1L else 2L)
            $"layer{i}.1", 1L
    ]
    let x = blocks |> List.fold block (scaled colour images |> conv "conv1" 1L 1L)
    (x |> bn "bn").relu().mean [| 2L; 3L |]

let resnetSlowly stem (weights: Parameters * Buffers) branch (images: Tensor) =
    let conv, bn = conv (fst weights), bn weights branch

    let block name stride (x: Tensor) =
        let y = (x |> conv (name + ".conv1") stride 1L |> bn (name + ".bn1")).relu()
        let y = y |> conv (name + ".conv2") 1L 1L |> bn (name + ".bn2")

        let skip =
            if (fst weights).ContainsKey(name + ".downsample.0.weight") then
                x |> conv (name + ".downsample.0") stride 0L |> bn (name + ".downsample.1")
            else
                x

        (y + skip).relu()

    let x = scaled colour images

    let x =
        match stem with
        | CifarStem -> (x |> conv "conv1" 1L 1L |> bn "bn1").relu()
        | WidePaddingStem -> (x |> conv "conv1" 1L 2L |> bn "bn1").relu()
        | ImageNetStem ->
            let y = (x |> conv "conv1" 2L 3L |> bn "bn1").relu()
            torch.nn.functional.max_pool2d (y, 3L, System.Nullable 2L, System.Nullable 1L)

    let strides = [ "layer1", 1L; "layer2", 2L; "layer3", 2L; "layer4", 2L ]

    let x =
        (x, strides)
        ||> List.fold (fun x (layer, stride) -> x |> block (layer + ".0") stride |> block (layer + ".1") 1L)

    x.mean [| 2L; 3L |]

let smallSlowly (weights: Parameters * Buffers) branch (images: Tensor) =
    let strides = [ 1L; 2L; 1L; 2L; 1L ]

    let x =
        ((scaled colour images, 1), strides)
        ||> List.fold (fun (x, i) stride ->
            let y =
                x
                |> conv (fst weights) (sprintf "conv%d" i) stride 1L
                |> bn weights branch (sprintf "bn%d" i)
            y.relu (), i + 1)
        |> fst

    x.mean [| 2L; 3L |]

// The names of PyTorch's ResNet-18 without its classifier.
let resnetNames branch =
    let norm name = [ name + ".weight@" + branch; name + ".bias@" + branch ]

    [
        "conv1.weight"
        yield! norm "bn1"
        for layer in 1..4 do
            for block in 0..1 do
                let name = sprintf "layer%d.%d" layer block
                name + ".conv1.weight"
                name + ".conv2.weight"
                yield! norm (name + ".bn1")
                yield! norm (name + ".bn2")

                if layer > 1 && block = 0 then
                    name + ".downsample.0.weight"
                    yield! norm (name + ".downsample.1")
    ]

let names (tensors: Map<string, 'a>) = tensors |> Map.keys |> Set.ofSeq

let apply (network: Network) branch mode (weights: Parameters * Buffers) images =
    network.Apply (call branch mode) (fst weights) (snd weights) images

let embedding network branch mode weights images = (fst (apply network branch mode weights images)).Embedding

// The networks whose branches and modes are tested: with batch norms in backbone, shortcuts and head.
let withHead = (Head.acl both).Run(resnet CifarStem 2L both)
let small = (Head.mlp 5L).Run(SmallNet.create 3L colour both)

[<Tests>]
let tests =
    testList "Networks.ModelRegistry" [
        test "ResNet-18 has PyTorch's parameters" (fun () ->
            let parameters, buffers = init 1UL (resnet CifarStem 64L [ clean ])
            Expect.equal (count parameters) 11168832L "CIFAR stem, without classifier"
            Expect.equal (names parameters) (Set.ofList (resnetNames "clean")) "names"
            Expect.equal (count buffers) (2L * 4800L) "mean and variance of every channel"
            let parameters, _ = init 1UL (resnet ImageNetStem 64L [ clean ])
            Expect.equal (count parameters) 11176512L "ImageNet stem, without classifier")

        test "every batch norm has all branches, the shortcuts' and the head's among them" (fun () ->
            let parameters, buffers = init 1UL withHead
            let ofBranch branch =
                parameters.Keys |> Seq.filter (fun name -> name.EndsWith("@" + branch)) |> Seq.length
            Expect.equal (ofBranch "adv") (ofBranch "clean") "as many"
            Expect.equal (ofBranch "adv") (2 * (20 + 3)) "twenty in the backbone, three in the head"
            Expect.isTrue (parameters.ContainsKey "layer1.0.bn1.weight@adv") "a block's"
            Expect.isTrue (parameters.ContainsKey "layer2.0.downsample.1.weight@adv") "a shortcut's"
            Expect.isTrue (parameters.ContainsKey "layer2.0.downsample.0.weight") "convolutions are shared"
            let norms =
                names parameters
                |> Set.filter (fun n -> n.Contains "@")
                |> Set.map (fun n -> n.Substring(0, n.LastIndexOf '.'))
            Expect.equal
                (names buffers |> Set.map (fun n -> n.Substring(0, n.LastIndexOf '.')))
                norms
                "buffers go with them")

        test "a wide ResNet has as many layers as its name says, each with all branches" (fun () ->
            for depth, blocks in [ 10, 1; 16, 2; 28, 4 ] do
                let network = WideResNet.create depth 2L colour both
                let parameters, _ = init 1UL network
                let convolutions = names parameters |> Set.filter (fun n -> n.Contains "conv")
                // The stem, two a block, and a shortcut for each of the three groups.
                Expect.hasLength convolutions (1 + 2 * 3 * blocks + 3) (string depth)
                Expect.equal
                    parameters["conv1.weight"].shape
                    [| 16L; 3L; 3L; 3L |]
                    "the stem's width is fixed"
                let norms = names parameters |> Set.filter (fun n -> n.EndsWith "weight@adv")
                Expect.hasLength norms (2 * 3 * blocks + 1) "batch norms"
                Expect.equal network.FeatureWidth 8L "features"

            for depth in [ 4; 9; 12; 30 ] do
                refuses
                    [ "depth"; "6n + 4"; string depth ]
                    (fun () -> WideResNet.create depth 2L colour both |> ignore)
                    "depth")

        test "names tell their branch" (fun () ->
            Expect.equal (Branch.ofName (Branch.suffix adv "bn1.weight")) (Some adv) "with one"
            Expect.equal (Branch.ofName "conv1.weight") None "without"
            Expect.equal (Branch.name clean) "clean" "its name")

        testList "equals its definition" [
            for name, network, slowly in
                [
                    "ResNet-18, CIFAR stem", resnet CifarStem 2L both, resnetSlowly CifarStem
                    "ResNet-18, padding 2", resnet WidePaddingStem 2L both, resnetSlowly WidePaddingStem
                    "PreActResNet-18", PreActResNet.preActResNet18 2L colour both, preActSlowly
                    "ResNet-18, ImageNet stem", resnet ImageNetStem 2L both, resnetSlowly ImageNetStem
                    "small", SmallNet.create 3L colour both, smallSlowly
                ] do
                test name (fun () ->
                    let source = Source 3
                    let weights = shaken source (init 3UL network)
                    let images = noise source [ 2; 3; 21; 18 ]

                    for branch in both do
                        let output, _ = apply network branch Eval weights images
                        let expected = slowly weights (Branch.name branch) images
                        relative 1e-9 (floats output.Features) (floats expected) (Branch.name branch)
                        Expect.equal output.Features.shape [| 2L; network.FeatureWidth |] "shape"
                        Expect.equal
                            (bits output.Embedding)
                            (bits output.Features)
                            "no head: the embedding is the features")
        ]

        test "features have the width they say, whatever the image's size" (fun () ->
            for network, width in
                [
                    resnet CifarStem 3L [ clean ], 24L
                    resnet ImageNetStem 3L [ clean ], 24L
                    SmallNet.create 3L colour [ clean ], 12L
                ] do
                Expect.equal network.FeatureWidth width "width"
                let weights = init 1UL network

                for size in [ 28; 33 ] do
                    let images = single (noise (Source 1) [ 2; 3; size; size ])
                    let output, _ = apply network clean Eval weights images
                    Expect.equal output.Features.shape [| 2L; width |] "features"
                    Expect.isTrue (Map.isEmpty output.Heads) "no other heads")

        test "images of another rank are refused" (fun () ->
            let weights = init 1UL small
            refuses
                [ "images"; "[n; c; h; w]"; "[3; 8; 8]" ]
                (fun () -> embedding small clean Eval weights (torch.zeros [| 3L; 8L; 8L |]) |> ignore)
                "rank")

        test "in eval mode a row does not depend on its batch" (fun () ->
            let source = Source 6
            let weights = shaken source (init 6UL withHead)
            let images = noise source [ 5; 3; 16; 16 ]
            let together = rows (embedding withHead adv Eval weights images)

            for i in 0..4 do
                let alone = embedding withHead adv Eval weights (images.narrow (0L, int64 i, 1L))
                relative 1e-12 (floats alone) together[i] "row")

        testPropertyN
            5
            "first weights are a function of the seed, whatever the branches and the head"
            (fun (seed: uint64) ->
                balanced (fun () ->
                    let backbone branches = SmallNet.create 3L colour branches
                    let weights network seed = init seed network |> fst
                    let one, two = weights (backbone [ clean ]) seed, weights (backbone both) seed
                    let headed = weights small seed
                    Expect.equal (hash (weights (backbone both) seed)) (hash two) "the same again"
                    Expect.notEqual (hash (weights (backbone both) (seed + 1UL))) (hash two) "another seed"

                    for name in one.Keys do
                        Expect.equal (bits two[name]) (bits one[name]) "with another branch"
                        Expect.equal (bits headed[name]) (bits one[name]) "with a head"

                    let convolutions =
                        one
                        |> Map.filter (fun name _ -> name.StartsWith "conv")
                        |> Map.values
                        |> Seq.map bits
                    Expect.equal (Seq.distinct convolutions |> Seq.length) 5 "no two layers alike"))

        testList "zoo" [
            test "every network is found by name, whatever its case, and has the width asked for" (fun () ->
                for a in ModelRegistry.architectures do
                    let build width =
                        Expect.wantOk (ModelRegistry.find (a.Name.ToUpperInvariant()) width) a.Name
                    let network = build (Some 2L) colour [ clean ]
                    Expect.equal
                        (network.FeatureWidth, network.Text)
                        ((a.Build 2L colour [ clean ]).FeatureWidth, (a.Build 2L colour [ clean ]).Text)
                        a.Name
                    let usual = build None colour [ clean ]
                    Expect.equal
                        usual.FeatureWidth
                        (a.Build a.Width colour [ clean ]).FeatureWidth
                        "its usual width")

            test "published sizes are the usual ones" (fun () ->
                for name, features in
                    [
                        "resnet18", 512L
                        "resnet34", 512L
                        "resnet34-imagenet", 512L
                        "resnet50", 2048L
                        "resnet50-imagenet", 2048L
                        "wrn-28-10", 640L
                        "wrn-34-10", 640L
                    ] do
                    let network = (Expect.wantOk (ModelRegistry.find name None) name) colour [ clean ]
                    Expect.equal network.FeatureWidth features name)

            test "a wrong name is met with the nearest" (fun () ->
                let error = wantError (ModelRegistry.find "resnet-18" None) "unknown"
                says [ "network"; "'resnet-18'"; "'resnet18'"; "small" ] error "sentence"
                Expect.equal (Error.exitCode error) 3 "an unknown name")

            test "a width has bounds" (fun () ->
                for width in [ 0L; -3L; 1025L ] do
                    says
                        [ "--width" ]
                        (wantError (ModelRegistry.find "small" (Some width)) "width")
                        (string width)

                for width in [ 1L; 1024L ] do
                    Expect.isOk (ModelRegistry.find "small" (Some width)) (string width))
        ]
    ]
