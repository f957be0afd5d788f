/// Ways to convolve that are not libtorch's, against libtorch's.
module Convolutions

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Testing.Property
open AdvContrast.Torch.Engine
open Arrays
open Fixtures
open Laws

// The output and the gradients of its square in all that goes in.
let private looked (conv: Tensor -> Tensor -> Tensor -> Tensor) (inputs: Tensor list) =
    let leaves = inputs |> List.map (fun x -> x.detach().requires_grad_ true)
    let y = conv leaves[0] leaves[1] leaves[2]
    let gradients = torch.autograd.grad ([| y.square().sum() |], Array.ofList leaves)
    y :: List.ofSeq gradients

let private plain (stride: int64) (x: Tensor) (weight: Tensor) bias =
    let padding = weight.shape[3] / 2L
    torch.nn.functional.conv2d (x, weight, bias, [| stride; stride |], [| padding; padding |])

let private agree tolerance actual expected =
    for name, a: Tensor, e: Tensor in List.zip3 [ "output"; "images"; "weight"; "bias" ] actual expected do
        Expect.equal a.shape e.shape name
        let most = floats e |> Array.map abs |> Array.max
        close (tolerance * max 1.0 most) (floats a) (floats e) name

// Images [n; c; h; w], a weight [o; c; k; k], a bias.
let private given (source: Source) n c o k h w = [
    noise source [ n; c; h; w ] - 0.5
    noise source [ o; c; k; k ] - 0.5
    noise source [ o ]
]

let private lowered: Tensor list -> Tensor list = List.map _.``to``(torch.bfloat16)
let private full: Tensor list -> Tensor list = List.map _.``to``(torch.float64)
let private low (shape: int64 list) = torch.zeros (Array.ofList shape, dtype = torch.bfloat16)

// How each convolves by a stride, by weights of which sizes, and whether images of any width.
let private ways = [
    "side by side", (fun stride x weight bias -> Montage.conv2d x weight bias stride), [ 1; 3; 5; 7 ], false
    "one product", (fun stride x weight bias -> Im2col.conv2d x weight bias stride), [ 1; 3; 5; 7 ], true
    "pixel by pixel", (fun stride x weight bias -> Pointwise.conv2d x weight bias stride), [ 1 ], true
]

let private fewer x weight bias = Winograd.conv2d x (Winograd.weight weight) bias

let tests =
    testList "Convolutions" [
        testList "the sums are libtorch's, gradients too" [
            for name, conv, sizes, anyWidth in ways do
                testPropertyN 40 name (fun (seed: int) ->
                    balanced (fun () ->
                        let source = Source seed
                        let stride, k = source.Whole(1, 3), source.Among sizes
                        let h, w = source.Whole(1, 9), source.Whole(1, 9)
                        let w = if anyWidth then w else stride * (1 + w / stride)
                        let few = source.Whole(1, 3)
                        let inputs = given source (source.Whole(1, 40)) few (source.Whole(1, 3)) k h w
                        let stride = int64 stride
                        agree 1e-12 (looked (conv stride) inputs) (looked (plain stride) inputs)))

            testPropertyN 40 "fewer products" (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let whole most = source.Whole(1, most)
                    let inputs = given source (whole 5) (whole 4) (whole 4) 3 (whole 9) (whole 9)
                    agree 1e-12 (looked fewer inputs) (looked (plain 1L) inputs)))

            testPropertyN 60 "the adjoint is the gradient in the images" (fun (seed: int) ->
                balanced (fun () ->
                    let source = Source seed
                    let whole most = source.Whole(1, most)
                    let stride, k = int64 (whole 3), source.Among [ 1; 3; 5; 7 ]
                    let inputs = given source (whole 4) (whole 4) (whole 4) k (whole 9) (whole 9)
                    let x = inputs[0].detach().requires_grad_ true
                    let y = plain stride x inputs[1] null
                    let gradient = noise source (y.shape |> Array.map int |> List.ofArray)
                    let expected = (torch.autograd.grad ([| y |], [| x |], [| gradient |]))[0]
                    let ready = Adjoint.weight inputs[1] stride
                    let actual = Adjoint.conv2d gradient ready (int64 k) stride x.shape[2] x.shape[3]
                    Expect.equal actual.shape x.shape "shape"
                    close 1e-12 (floats actual) (floats expected) "gradient"))
        ]

        testList "in bfloat16 they are libtorch's in full precision, to rounding" [
            for name, conv, sizes, _ in ways do
                for w, stride in [ 4L, 1L; 8L, 1L; 8L, 2L; 16L, 2L ] do
                    test (sprintf "%s, %dx%d, stride %d" name w w stride) (fun () ->
                        let k = sizes |> List.filter ((>=) 3) |> List.max
                        let inputs = given (Source 1) 70 16 32 k (int w) (int w) |> lowered
                        agree 0.01 (looked (conv stride) inputs) (looked (plain stride) (full inputs)))

            test "fewer products" (fun () ->
                let inputs = given (Source 1) 20 128 130 3 4 3 |> lowered
                agree 0.01 (looked fewer inputs) (looked (plain 1L) (full inputs)))
        ]

        test "fewer products have their channels last, and may have no bias" (fun () ->
            let inputs = given (Source 2) 3 4 5 3 4 4
            let y = fewer inputs[0] inputs[1] null
            Expect.isTrue (y.permute(0L, 2L, 3L, 1L).is_contiguous()) "channels last"
            close 1e-12 (floats y) (floats (plain 1L inputs[0] inputs[1] null)) "no bias")

        test "which way is taken: small maps in bfloat16" (fun () ->
            let hasTiles = TorchEngine.Current.Devices() |> Seq.exists _.HasAmx
            let withTiles way = if hasTiles then way else Convolving.Direct

            let thereAndBack =
                if TorchEngine.Current.LibTorch.Version.StartsWith "1." then
                    withTiles Convolving.ThereAndBack
                else
                    Convolving.Direct

            let learning (weight: Tensor) = weight.requires_grad_ ()
            let few, many = low [ 4L; 3L; 3L; 3L ], low [ 128L; 128L; 3L; 3L ]
            let images side = low [ 2L; 128L; side; side ]

            for name, x, weight, stride, padding, expected in
                [
                    "4x4", images 4L, few, 1L, 1L, withTiles Convolving.SideBySide
                    "8x8 into 4x4", images 8L, few, 2L, 1L, withTiles Convolving.OneProduct
                    "8x8", images 8L, many, 1L, 1L, thereAndBack
                    "8x8, few channels", images 8L, few, 1L, 1L, Convolving.Direct
                    "8x8, 16 channels", images 8L, low [ 16L; 16L; 3L; 3L ], 1L, 1L, thereAndBack
                    "8x8, 15 come in", images 8L, low [ 16L; 15L; 3L; 3L ], 1L, 1L, Convolving.Direct
                    "8x8, 15 go out", images 8L, low [ 15L; 16L; 3L; 3L ], 1L, 1L, Convolving.Direct
                    "8x8, learning",
                    images 8L,
                    learning (few.clone ()),
                    1L,
                    1L,
                    withTiles Convolving.SideBySide
                    "16x16 into 8x8", images 16L, many, 2L, 1L, thereAndBack
                    "16x16 into 8x8, 63 come in",
                    images 16L,
                    low [ 64L; 63L; 3L; 3L ],
                    2L,
                    1L,
                    Convolving.Direct
                    "16x16 into 8x8, 64", images 16L, low [ 64L; 64L; 3L; 3L ], 2L, 1L, thereAndBack
                    "16x16, learning", images 16L, learning (many.clone ()), 1L, 1L, Convolving.Direct
                    "16x16 into 8x8, learning",
                    images 16L,
                    learning (few.clone ()),
                    2L,
                    1L,
                    withTiles Convolving.SideBySide
                    "17 wide", low [ 2L; 3L; 17L; 17L ], learning (few.clone ()), 2L, 1L, Convolving.Direct
                    "many channels", images 4L, many, 1L, 1L, Convolving.FewerProducts
                    "2x4", low [ 2L; 128L; 2L; 4L ], many, 1L, 1L, Convolving.FewerProducts
                    "1x4", low [ 2L; 128L; 1L; 4L ], many, 1L, 1L, withTiles Convolving.SideBySide
                    "5x4", low [ 2L; 128L; 5L; 4L ], many, 1L, 1L, withTiles Convolving.SideBySide
                    "many channels, strided", images 4L, many, 2L, 1L, withTiles Convolving.OneProduct
                    "many channels, learning",
                    images 4L,
                    learning (many.clone ()),
                    1L,
                    1L,
                    withTiles Convolving.SideBySide
                    "127 come in",
                    images 4L,
                    low [ 128L; 127L; 3L; 3L ],
                    1L,
                    1L,
                    withTiles Convolving.SideBySide
                    "127 go out",
                    images 4L,
                    low [ 127L; 128L; 3L; 3L ],
                    1L,
                    1L,
                    withTiles Convolving.SideBySide
                    "weights in float32",
                    images 4L,
                    many.``to`` torch.float32,
                    1L,
                    1L,
                    withTiles Convolving.SideBySide
                    "5x5", images 4L, low [ 128L; 128L; 5L; 5L ], 1L, 2L, withTiles Convolving.SideBySide
                    "1x1", images 4L, low [ 128L; 128L; 1L; 1L ], 1L, 0L, Convolving.Direct
                    "1x1, strided", images 4L, low [ 4L; 3L; 1L; 1L ], 2L, 0L, withTiles Convolving.ByPixels
                    "an even size", images 4L, low [ 4L; 128L; 2L; 2L ], 1L, 1L, Convolving.Direct
                    "no zeros around", images 4L, many, 1L, 0L, Convolving.Direct
                    "float32", (images 4L).``to`` torch.float32, many, 1L, 1L, Convolving.Direct
                ] do
                Expect.equal (Convolution.way x weight stride padding) expected name)

        testList "whichever is taken, it is the convolution, and its gradient in the images, to rounding" [
            for channels, side, k, stride in
                [
                    128, 4, 3, 1L
                    128, 5, 3, 1L
                    128, 8, 3, 1L
                    128, 8, 3, 2L
                    16, 4, 3, 1L
                    16, 4, 3, 2L
                    32, 9, 3, 1L
                    32, 11, 3, 2L
                    16, 12, 5, 2L
                    16, 9, 1, 2L
                ] do
                test
                    (sprintf "%d channels, %dx%d by %dx%d, stride %d" channels side side k k stride)
                    (fun () ->
                        let inputs = given (Source 3) 3 channels channels k side side |> lowered
                        let weight, bias = inputs[1], inputs[2]
                        let conv = Convolution.create stride (int64 (k / 2)) weight bias

                        let looked (conv: Tensor -> Tensor) (x: Tensor) =
                            let x = x.detach().requires_grad_ true
                            let y = conv x
                            [ y; (torch.autograd.grad ([| y.square().sum() |], [| x |]))[0] ]

                        let expected =
                            full inputs |> fun x -> looked (fun images -> plain stride images x[1] x[2]) x[0]

                        for name, a, e in List.zip3 [ "output"; "gradient" ] (looked conv inputs[0]) expected do
                            let most = floats e |> Array.map abs |> Array.max
                            close (0.01 * most) (floats a) (floats e) name)
        ]
    ]
