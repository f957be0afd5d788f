/// Batch-norm branches, heads, and what comes out of a network.
module Tests.Networks.BranchTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Tests.Networks.ModelRegistryTests

[<Tests>]
let tests =
    testList "Networks.Branch" [
        testList "branches" [
            for name, network in
                [
                    "ResNet-18 with ACL's head", withHead
                    "ResNet-50", ResNet.resNet50 CifarStem 1L colour both
                    "a wide ResNet", WideResNet.create 10 2L colour both
                    "small", small
                ] do
                for mode in [ Train; Eval ] do
                    test (sprintf "%s, %A: one branch's tensors do not reach the other" name mode) (fun () ->
                        let source = Source 4
                        let parameters, buffers = shaken source (init 4UL network)
                        let images = noise source [ 3; 3; 16; 16 ]

                        for called, other in [ clean, adv; adv, clean ] do
                            let suffix = "@" + Branch.name other
                            let changed (x: Map<string, Tensor>) =
                                x
                                |> Map.map (fun name x -> if name.EndsWith suffix then x * 3.0 + 1.0 else x)
                            let before = embedding network called mode (parameters, buffers) images
                            let after =
                                embedding network called mode (changed parameters, changed buffers) images
                            Expect.equal (bits after) (bits before) "the called branch does not notice"
                            let theirs =
                                embedding network other mode (changed parameters, changed buffers) images
                            let was = embedding network other mode (parameters, buffers) images
                            Expect.notEqual (bits theirs) (bits was) "the other branch does")

                test
                    (sprintf
                        "%s: a pass moves its own branch's statistics in train mode, nothing in eval mode"
                        name)
                    (fun () ->
                        let source = Source 5
                        let parameters, buffers = shaken source (init 5UL network)
                        let images = noise source [ 3; 3; 16; 16 ]
                        let before = hash buffers, hash parameters

                        for called in both do
                            let _, after = apply network called Eval (parameters, buffers) images
                            Expect.isTrue (obj.ReferenceEquals(after, buffers)) "eval mode"
                            let _, after = apply network called Train (parameters, buffers) images
                            Expect.equal (names after) (names buffers) "names"

                            for name in buffers.Keys do
                                let moved = bits after[name] <> bits buffers[name]
                                Expect.equal moved (Branch.ofName name = Some called) name

                        Expect.equal (hash buffers, hash parameters) before "what was given is untouched")
        ]

        test "SimCLR's head is linear, ReLU, linear" (fun () ->
            let source = Source 7
            let parameters, buffers = shaken source (init 7UL small)
            let images = noise source [ 3; 3; 12; 12 ]
            let output, _ = apply small clean Eval (parameters, buffers) images
            let layer name x =
                torch.nn.functional.linear (x, parameters[name + ".weight"], parameters[name + ".bias"])
            let expected = layer "head.2" ((layer "head.0" output.Features).relu())
            relative 1e-12 (floats output.Embedding) (floats expected) "embedding"
            Expect.equal output.Embedding.shape [| 3L; 5L |] "shape"
            Expect.equal small.EmbeddingWidth 5L "width"
            Expect.equal
                parameters["head.0.weight"].shape
                [| 12L; 12L |]
                "the hidden layer is as wide as the features")

        test "ACL's head has three layers with a batch norm each, ReLU after the first two" (fun () ->
            let source = Source 8
            let parameters, buffers = shaken source (init 8UL withHead)
            let images = noise source [ 3; 3; 12; 12 ]
            let output, _ = apply withHead adv Eval (parameters, buffers) images

            let layer i (x: Tensor) =
                let bias = parameters |> Map.tryFind (sprintf "head.fc%d.bias" i) |> Option.toObj
                let y = torch.nn.functional.linear (x, parameters[sprintf "head.fc%d.weight" i], bias)
                let y = y.unsqueeze(2L).unsqueeze(3L)
                (bn (parameters, buffers) "adv" (sprintf "head.bn%d" i) y).squeeze(3L).squeeze(2L)

            let expected = layer 3 ((layer 2 ((layer 1 output.Features).relu())).relu())
            relative 1e-9 (floats output.Embedding) (floats expected) "embedding"
            let biases = [ for i in 1..3 -> parameters.ContainsKey(sprintf "head.fc%d.bias" i) ]
            Expect.equal biases [ true; false; false ] "a bias in the first alone"
            Expect.equal withHead.EmbeddingWidth withHead.FeatureWidth "as wide as the features")

        test "an encoder gives features in eval mode and holds on to nothing" (fun () ->
            let source = Source 9
            let weights = shaken source (init 9UL withHead)
            let encode = Network.encoder adv weights withHead
            let images = (noise source [ 3; 3; 12; 12 ]).requires_grad_ true
            let before = Autograd.liveTensors ()
            let features = encode images
            Expect.equal (Autograd.liveTensors () - before) 1L "one new tensor"
            let expected = (fst (apply withHead adv Eval weights images)).Features
            Expect.equal (bits features) (bits expected) "features, not embeddings"
            let gradient = torch.autograd.grad (ResizeArray [ features.sum () ], ResizeArray [ images ])
            Expect.isGreaterThan (floats gradient[0] |> norm1) 0.0 "differentiable in the images")

        test "rows of an output are rows of all it holds" (fun () ->
            let rowsOf (x: int) = tensor [ 4; x ] (Array.init (4 * x) float)
            let output = { Features = rowsOf 2; Embedding = rowsOf 3; Heads = Map [ "logits", rowsOf 1 ] }
            let part = Output.narrow 1L 2L output
            Expect.equal (floats part.Features) [| 2.0; 3.0; 4.0; 5.0 |] "features"
            Expect.equal (floats part.Embedding) [| for i in 3..8 -> float i |] "embedding"
            Expect.equal (floats part.Heads["logits"]) [| 1.0; 2.0 |] "heads"
            Expect.hasLength (Output.tensors output) 3 "tensors")
    ]
