/// Convolutions and linear maps against libtorch's own in float64.
module Tests.Networks.ConvolutionTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

// The output and the gradients of its square in all inputs.
let private outcomes (conv: Tensor -> Tensor -> Tensor -> Tensor) (inputs: Tensor list) =
    let leaves = inputs |> List.map (fun x -> x.detach().requires_grad_ true)
    let y = conv leaves[0] leaves[1] leaves[2]
    let gradients = torch.autograd.grad ([| y.square().sum() |], Array.ofList leaves)
    y :: List.ofSeq gradients

let private libtorch (stride: int64) (padding: int64) (x: Tensor) (weight: Tensor) bias =
    torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |])

let private ours stride padding x weight bias = Convolution.conv2d stride padding weight bias x

// Relative to the largest value.
let private agree tolerance actual expected =
    for name, a: Tensor, e: Tensor in List.zip3 [ "output"; "images"; "weight"; "bias" ] actual expected do
        Expect.equal a.shape e.shape name
        let most = floats e |> Array.map abs |> Array.max
        close (tolerance * max 1.0 most) (floats a) (floats e) name

// Images [n; c; h; w], a weight [o; c; k; k], a bias, in float64.
let private given (source: Source) n c o k h w = [
    noise source [ n; c; h; w ] - 0.5
    noise source [ o; c; k; k ] - 0.5
    noise source [ o ]
]

let private full: Tensor list -> Tensor list = List.map _.``to``(torch.float64)

let private inLayout isLast (inputs: Tensor list) =
    if isLast then inputs |> List.map Network.channelsLast else inputs

[<Tests>]
let tests =
    testList "Networks.Convolution" [
        testPropertyN 60 "the sums are libtorch's, gradients too" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let stride, size = int64 (source.Whole(1, 3)), source.Among [ 1; 3; 5 ]
                let padding = int64 (size / 2)
                let whole most = source.Whole(1, most)
                let inputs = given source (whole 5) (whole 4) (whole 4) size (whole 9) (whole 9)
                agree
                    1e-12
                    (outcomes (ours stride padding) inputs)
                    (outcomes (libtorch stride padding) inputs)))

        // libtorch 2.10 leaves parts of these gradients unwritten.
        test "of images of one pixel the gradient in the weight is 0 but for the tap that meets it" (fun () ->
            for size, channels in [ 3, 4; 3, 64; 5, 16; 7, 3 ] do
                let source = Source size
                let inputs = given source 8 channels 8 size 1 1
                let padding = int64 (size / 2)
                let exact = outcomes (libtorch 2L padding) inputs

                for dtype, tolerance in [ torch.float32, 1e-5; torch.bfloat16, 0.02 ] do
                    for isLast in [ false; true ] do
                        let inputs = inputs |> List.map _.``to``(dtype) |> inLayout isLast
                        let actual = outcomes (ours 2L padding) inputs
                        agree tolerance (full actual) exact
                        let gradient = actual[2].sum([| 0L; 1L |]).``to`` torch.float64
                        Expect.equal
                            (floats (gradient.ne(0.0.ToScalar()).sum()))
                            [| 1.0 |]
                            "taps that have a gradient")

        // Shapes for which libtorch 2.10's own 1 x 1 kernels are wrong or end the process on some processors.
        testList "1 x 1 convolutions agree with float64" [
            for c, o, side, stride in
                [ 256, 512, 8, 2L; 512, 512, 4, 1L; 64, 1024, 4, 1L; 256, 1024, 4, 1L; 3, 600, 5, 2L ] do
                for dtype, tolerance in [ torch.float32, 1e-5; torch.bfloat16, 0.02 ] do
                    for isLast in [ false; true ] do
                        test
                            (sprintf
                                "%d -> %d, %dx%d, stride %d, %O, channels last %b"
                                c
                                o
                                side
                                side
                                stride
                                dtype
                                isLast)
                            (fun () ->
                                let inputs =
                                    given (Source 1) 4 c o 1 side side
                                    |> List.map _.``to``(dtype)
                                    |> inLayout isLast

                                agree
                                    tolerance
                                    (outcomes (ours stride 0L) inputs)
                                    (outcomes (libtorch stride 0L) (full inputs)))
        ]

        testList "images of one or two channels stay in float32, and their gradients repeat" [
            for channels in [ 1; 2 ] do
                test (sprintf "%d" channels) (fun () ->
                    let inputs = given (Source 2) 16 channels 64 3 28 28 |> List.map _.``to``(torch.float32)
                    let lowered x (weight: Tensor) bias = ours 1L 1L x (Convolution.lower weight) bias
                    let once, again = outcomes lowered inputs, outcomes lowered inputs
                    Expect.equal once[0].dtype torch.float32 "dtype"

                    for a, b in List.zip once again do
                        Expect.isTrue (a.Equals b) "the same bits"

                    agree 1e-5 once (outcomes (libtorch 1L 1L) (full inputs)))
        ]

        test "in bfloat16 the gradients in images of three channels repeat and agree with float64" (fun () ->
            let inputs =
                given (Source 3) 16 3 64 3 32 32 |> List.map _.``to``(torch.float32) |> inLayout true

            let lowered x (weight: Tensor) (bias: Tensor) =
                ours 1L 1L x (Convolution.lower weight) (Convolution.lower bias)

            let once, again = outcomes lowered inputs, outcomes lowered inputs
            Expect.equal once[0].dtype torch.bfloat16 "dtype"

            for a, b in List.zip once again do
                Expect.isTrue (a.Equals b) "the same bits"

            agree 0.02 once (outcomes (libtorch 1L 1L) (full inputs)))

        test "a linear map computes in the number format of its weight" (fun () ->
            let x, weight, bias =
                noise (Source 4) [ 5; 7 ], noise (Source 5) [ 3; 7 ], noise (Source 6) [ 3 ]
            let expected = x.matmul (weight.t ()) + bias
            close 1e-12 (floats (Convolution.linear weight bias x)) (floats expected) "float64"
            let low = Convolution.linear (Convolution.lower weight) (Convolution.lower bias) x
            Expect.equal low.dtype torch.bfloat16 "bfloat16"
            close 0.05 (floats low) (floats expected) "to rounding")
    ]
