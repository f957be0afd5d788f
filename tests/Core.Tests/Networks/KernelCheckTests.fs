/// The check of convolution kernels, on kernels that are wrong on purpose; and that networks' gradients are right.
module Tests.Networks.KernelCheckTests

open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.SmallMethods

let private case = {
    Channels = 5L
    Height = 9L
    Width = 7L
    Outputs = 6L
    Size = 3L
    Stride = 2L
    Padding = 1L
    DType = "float32"
    ChannelsLast = true
}

let private direct weight x = Convolution.direct case.Stride case.Padding weight null x

// A value whose gradient alone is off.
let private straightThrough (value: Tensor) (gradient: Tensor) =
    value.detach () + gradient - gradient.detach ()

let private broken: (string * string * (Tensor -> Tensor -> Tensor)) list = [
    "values", "output off by", (fun weight x -> direct weight x * 1.1)
    "the gradient in the images",
    "gradient in the images off by",
    (fun weight x -> straightThrough (direct weight x) (direct weight (x * 1.1 - 0.1 * x.detach ())))
    "the gradient in the weight",
    "gradient in the weight off by",
    (fun weight x -> straightThrough (direct weight x) (direct (weight * 1.1 - 0.1 * weight.detach ()) x))
    "a value that is not a number", "output off by", (fun weight x -> direct weight x * nan)
    "a gradient that is not written",
    "off by",
    (fun weight x -> direct weight x + torch.empty_like(weight).sum().detach())
]

// The images' gradient of the sum of a network's features, folded or not, in a number format and layout.
let private gradient (network: Network) weights dtype isLast isFolded (images: Tensor) =
    let parameters, buffers = weights
    let cast (x: Tensor) = x.``to`` (dtype: torch.ScalarType)
    let laidOut (x: Tensor) = if isLast then Network.channelsLast x else x.alias ()
    let parameters, buffers = Map.map (fun _ -> cast) parameters, Map.map (fun _ -> cast) buffers

    let network = if isFolded then Network.folded clean parameters buffers network else network

    let leaf = (laidOut (cast images)).detach().requires_grad_ true
    let output, _ = network.Apply (call clean Eval) parameters buffers leaf
    (torch.autograd.grad ([| output.Features.sum () |], [| leaf |]))[0]

let private agreesWithFloat64 (name: string) width input side (most, agreeing) () =
    balanced (fun () ->
        let build = Expect.wantOk (ModelRegistry.find name width) "a network"
        let network = build input [ clean ]
        let weights = init 1UL network
        let images = noise (Source 1) [ 8; int input.Channels; side; side ]
        let exact = gradient network weights torch.float64 false false images
        let single = gradient network weights torch.float32 true true images
        // Of each image. Where rounding moves an input of a ReLU across zero, the gradient jumps; that meets some images
        // of deep and wide networks, in every layout, while a wrong kernel meets all.
        let errors = [
            for i in 0L .. images.shape[0] - 1L do
                let e, a = exact[i], single[i].``to`` torch.float64
                let turned = a.sign().ne(e.sign ()).``to``(torch.float64).mean().item<float>()
                (a - e).abs().max().item<float>() / e.abs().max().item<float>(), turned
        ]

        let agrees (error, turned) = error <= most && turned <= 1e-4
        let disagreeing = errors |> List.filter (agrees >> not) |> List.length
        Expect.isLessThanOrEqual disagreeing (8 - agreeing) (sprintf "%s, of 8 images: %A" name errors)
        Expect.isLessThan (errors |> List.map fst |> List.max) 0.05 "largest error")

// The hash of the state, and the loss, after each of some steps.
let private traceOf count precision isColour (method: Method) =
    use data = if isColour then coloured 24 else middles 24

    tryingOn data (small method) (fun t ->
        let t = { t with Machine = { t.Machine with Precision = precision }; Epochs = 1000 }
        trace count t (fun () -> Trainer.start t))

let private repeats count precision isColour (method: Method) =
    let run () = Scope.value (fun () -> traceOf count precision isColour method)

    Expect.equal (run ()) (run ()) (sprintf "%s, %O, colour %b" method.Name precision isColour)

let private precisions = [ Precision.Plain; Precision.Float32; Precision.BFloat16 ]

[<Tests>]
let tests =
    testList "Networks.KernelCheck" [
        testList "a kernel is found that is wrong in" [
            for name, sentence, conv in broken do
                test name (fun () ->
                    balanced (fun () ->
                        let problem = KernelCheck.problemOf conv case
                        Expect.stringContains (Option.defaultValue "" problem) sentence "what is wrong"))

            test "its bits from call to call" (fun () ->
                let mutable calls = 0.0

                let restless weight x =
                    calls <- calls + 1.0
                    direct weight x * (1.0 + 1e-6 * calls)

                let problem = KernelCheck.problemOf restless case
                Expect.equal problem (Some "output differs from call to call") "what is wrong")
        ]

        test "a sound kernel has no problem, in either precision and layout" (fun () ->
            for dtype in [ "float32"; "bfloat16" ] do
                for isLast in [ false; true ] do
                    let case = { case with DType = dtype; ChannelsLast = isLast; Channels = 16L }
                    Expect.isNone (KernelCheck.problemOf direct case) (KernelCheck.describe case))

        testPropertyN 40 "the product of matrices is the convolution, gradients too" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let whole (low, high) = source.Whole(low, high)
                let size, stride = source.Among [ 1; 2; 3; 5; 7 ], whole (1, 3)

                let case = {
                    case with
                        Channels = int64 (whole (1, 4))
                        Outputs = int64 (whole (1, 4))
                        Height = int64 (whole (7, 12))
                        Width = int64 (whole (7, 12))
                        Size = int64 size
                        Stride = int64 stride
                        Padding = int64 (whole (0, size / 2))
                        DType = "float64"
                }

                let conv weight x = Convolution.byMatrix case.Stride case.Padding weight null x
                Expect.isNone (KernelCheck.problemOf conv case) (KernelCheck.describe case)))

        test "a replaced case is computed as a product of matrices, others are not" (fun () ->
            let case = { case with Channels = 11L; Outputs = 13L; ChannelsLast = false }
            let x = (noise (Source 7) [ 3; 11; 9; 7 ]).``to`` torch.float32
            let weight = (noise (Source 8) [ 13; 11; 3; 3 ]).``to`` torch.float32
            let conv () = Convolution.conv2d 2L 1L weight null x
            Expect.isTrue ((conv ()).Equals(Convolution.direct 2L 1L weight null x)) "before"
            Expect.equal (Convolution.casesOf (conv >> ignore)) [ case ] "the case that libtorch gets"
            Convolution.replace case
            Expect.isTrue ((conv ()).Equals(Convolution.byMatrix 2L 1L weight null x)) "after"
            let narrower = weight.narrow (0L, 0L, 12L)
            Expect.isTrue
                ((Convolution.conv2d 2L 1L narrower null x).Equals(Convolution.direct 2L 1L narrower null x))
                "another case")

        test "1 x 1 convolutions never reach libtorch's convolution kernels" (fun () ->
            let network = Expect.wantOk (ModelRegistry.find "resnet50" (Some 4L)) "a network"
            let cases = KernelCheck.casesOf (network colour [ clean ]) clean true true [| 1L; 3L; 32L; 32L |]
            Expect.isNonEmpty cases "its other convolutions do"
            Expect.all cases (fun case -> case.Size > 1L) "sizes"
            Expect.all
                cases
                (fun case -> case.DType = "bfloat16" && case.ChannelsLast)
                "precision and layout")

        test "verdicts are kept, and lines of another form are skipped" (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "deep", "kernels.txt")
                let verdicts =
                    Map [ "a", KernelVerdict.Sound; "b", KernelVerdict.Replaced "output off by 0.1" ]
                Expect.isEmpty (KernelCheck.load path) "none yet"
                KernelCheck.save path verdicts
                Expect.equal (KernelCheck.load path) verdicts "the same"
                File.AppendAllText(path, "no tab\na\tb\tc\n")
                Expect.equal (KernelCheck.load path) verdicts "as before"))

        testList "folded, channels-last, float32 gradients in the images equal float64's" [
            for name, width, input, side in
                [
                    "small", None, grey, 28
                    "small", None, colour, 32
                    "resnet18", None, colour, 32
                    "resnet34", Some 16L, colour, 32
                    "resnet50", Some 32L, colour, 32
                    "resnet18-imagenet", None, colour, 64
                    "resnet34-imagenet", Some 16L, colour, 64
                    "resnet50-imagenet", Some 32L, colour, 64
                    "wrn-28-10", Some 32L, colour, 32
                    "wrn-34-10", Some 32L, colour, 32
                ] do
                testCase
                    (sprintf "%s, %d channels" name input.Channels)
                    (agreesWithFloat64 name width input side (1e-3, 6))
        ]

        testLong "and so they do at the published widths" (fun () ->
            for architecture in ModelRegistry.architectures do
                let side = if architecture.Name.EndsWith "imagenet" then 64 else 32
                // Without a turned ReLU float32 is within 1e-5 at every width; two images are enough to show it.
                agreesWithFloat64 architecture.Name None colour side (1e-5, 2) ())

        testList "one seed gives the same weights and losses twice, to the bit, in bfloat16" [
            for method in MethodRegistry.methods do
                for isColour in [ false; true ] do
                    test (sprintf "%s, colour %b" method.Name isColour) (fun () ->
                        repeats 2 Precision.BFloat16 isColour method)
        ]

        testLong "and so it does over 20 steps in every precision" (fun () ->
            for method in MethodRegistry.methods do
                for isColour in [ false; true ] do
                    for precision in precisions do
                        repeats 20 precision isColour method)
    ]
