/// Images side by side in one convolution, against one image after another.
module Montages

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

let private beside (stride: int64) x weight bias = Montage.conv2d x weight bias stride

let private agree tolerance actual expected =
    for name, a: Tensor, e: Tensor in List.zip3 [ "output"; "images"; "weight"; "bias" ] actual expected do
        Expect.equal a.shape e.shape name
        let most = floats e |> Array.map abs |> Array.max
        close (tolerance * max 1.0 most) (floats a) (floats e) name

let private given (source: Source) n c o k h w = [
    noise source [ n; c; h; w ] - 0.5
    noise source [ o; c; k; k ] - 0.5
    noise source [ o ]
]

let tests =
    testList "Montages" [
        testPropertyN 40 "side by side they give what each gives alone, gradients too" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let stride, k = source.Whole(1, 3), source.Among [ 1; 3; 5; 7 ]
                let h, w = source.Whole(1, 9), stride * source.Whole(1, 5)
                let inputs =
                    given source (source.Whole(1, 40)) (source.Whole(1, 3)) (source.Whole(1, 3)) k h w
                let stride = int64 stride
                agree 1e-12 (looked (beside stride) inputs) (looked (plain stride) inputs)))

        testList "in bfloat16 they give the same as one after another in full precision, to rounding" [
            for w, stride in [ 4L, 1L; 8L, 1L; 8L, 2L; 16L, 2L ] do
                test (sprintf "%dx%d, stride %d" w w stride) (fun () ->
                    let lowered =
                        given (Source 1) 70 16 32 3 (int w) (int w) |> List.map _.``to``(torch.bfloat16)
                    let expected = lowered |> List.map _.``to``(torch.float64) |> looked (plain stride)
                    agree 0.01 (looked (beside stride) lowered) expected)
        ]

        test "they pay in bfloat16 where tiles are multiplied, for small maps" (fun () ->
            let tiles = TorchEngine.Current.Devices() |> Seq.exists _.HasAmx
            let low (shape: int64 list) = torch.zeros (Array.ofList shape, dtype = torch.bfloat16)
            let weight = low [ 4L; 3L; 3L; 3L ]
            let learning = low([ 4L; 3L; 3L; 3L ]).requires_grad_()
            let four, eight = low [ 2L; 3L; 4L; 4L ], low [ 2L; 3L; 8L; 8L ]
            Expect.equal (Montage.pays four weight 1L) tiles "4x4"
            Expect.equal (Montage.pays eight weight 2L) tiles "into 4x4"
            Expect.equal (Montage.pays eight learning 1L) tiles "8x8, learning"
            Expect.isFalse (Montage.pays eight weight 1L) "8x8"
            Expect.isFalse (Montage.pays four weight 3L) "a stride that does not fit"
            Expect.isFalse (Montage.pays four (low [ 4L; 3L; 1L; 1L ]) 1L) "1x1"
            Expect.isFalse (Montage.pays four (low [ 4L; 3L; 2L; 2L ]) 1L) "an even size"
            Expect.isFalse (Montage.pays (four.``to`` torch.float32) weight 1L) "float32")
    ]
