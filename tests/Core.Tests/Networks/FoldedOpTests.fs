/// Batch norms merged into weights, other layouts: the same functions by other operations.
module Tests.Networks.FoldedOpTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Tests.Networks.ModelRegistryTests

let private heads: (string * Named<Network -> Network>) list = [
    "no head", Head.none
    "linear", Head.linear 5L
    "MLP", Head.mlp 5L
    "ACL's", Head.acl both
    "shared norm", Head.shared 5L
    "expander", Head.expander both 2 6L 5L true
    "predictor", Head.both (Head.expander both 1 6L 5L false) (Head.predictor both 4L)
    "pre-feature and classifier", Head.both (Head.prefeature both 6L) (Head.classifier "logits" None)
]

let private networks = [
    for architecture in ModelRegistry.architectures do
        architecture.Name, (Head.acl both).Run(architecture.Build 2L colour both)
    for name, head in heads do
        "small, " + name, head.Run(SmallNet.create 3L colour both)
]

let private folded (network: Network) branch (parameters, buffers) prepare : Tensor -> Output =
    network.Fold { Branch = branch; Parameters = parameters; Buffers = buffers; Prepare = prepare }

let private agree tolerance (actual: Output) (expected: Output) =
    let size (x: Tensor) = max 1.0 (floats x |> Array.map abs |> Array.max)

    for a, e in Seq.zip (Output.tensors actual) (Output.tensors expected) do
        Expect.equal a.shape e.shape "shape"
        close (tolerance * size e) (floats a) (floats e) "output"

let private singles (parameters: Parameters, buffers: Buffers) =
    Map.map (fun _ -> single) parameters, Map.map (fun _ -> single) buffers

// Of a step in float64 whose attack is computed as the method writes it, and by all that makes it fast.
let private bothWays (method: Method) =
    let machine, method, state, batch = doubled method
    let run precision = TrainStep.run { machine with Precision = precision } method everything state batch
    state, run Precision.Plain, run Precision.Float32

[<Tests>]
let tests =
    testList "Networks.FoldedOp" [
        testList "a folded network is the network in eval mode" [
            for name, network in networks do
                test name (fun () ->
                    let source = Source 11
                    let weights = shaken source (init 3UL network)
                    let images = noise source [ 2; 3; 21; 18 ]

                    for branch in both do
                        let expected, _ = apply network branch Eval weights images
                        folded network branch weights id images |> agree 1e-12 <| expected
                        let weights, images = singles weights, single images
                        let expected, _ = apply network branch Eval weights images
                        folded network branch weights id images |> agree 1e-5 <| expected

                        folded network branch weights Network.channelsLast (Network.channelsLast images)
                        |> agree 1e-5
                        <| expected)
        ]

        test "a folded network has the same gradient in the images, and leaves them as they are" (fun () ->
            let source = Source 12
            let weights = shaken source (init 3UL withHead)
            let images = (noise source [ 2; 3; 16; 16 ]).requires_grad_ true
            let before = bits images
            let run = folded withHead adv weights id

            let gradient (output: Output) =
                (torch.autograd.grad (
                    ResizeArray [ output.Embedding.square().sum() ],
                    ResizeArray [ images ]
                ))[0]

            let expected = gradient (fst (apply withHead adv Eval weights images))

            // Twice: nothing that works in place may change the weights, or what comes in.
            for _ in 1..2 do
                relative 1e-10 (floats (gradient (run images))) (floats expected) "gradient"

            Expect.equal (bits images) before "images")

        testList "a sum changes nothing that a gradient needs" [
            let conv = Layer.conv "c" 3L 3L 3L 1L 1L
            let norm = Layer.batchNorm both "n" 3L

            for name, main in
                [
                    "a convolution", [ conv ]
                    "a normalisation", [ norm ]
                    "both", [ conv; norm ]
                    "a sum", [ Layer.sum conv Layer.identity ]
                    "ReLU", [ conv; Layer.relu ]
                    "another function", [ conv; Layer.pure' "sigmoid" _.sigmoid() ]
                    "nothing", [ Layer.identity ]
                ] do
                test (name + " at its end") (fun () ->
                    let source = Source 16
                    let layer = Layer.residual (Layer.sequence main) Layer.identity
                    let parameters, buffers = shaken source (layer.Init(Rng.create 3UL "start" [| 0L |]))
                    let images = (noise source [ 2; 3; 5; 4 ] - 0.5).detach().requires_grad_ true
                    let before = bits images

                    let looked (run: Tensor -> Tensor) =
                        let y = run images
                        let value = ResizeArray [ y.square().sum() ]
                        let gradients = torch.autograd.grad (value, ResizeArray [ images ])
                        floats y, floats gradients[0]

                    let call = Call.create adv Eval
                    let value, gradient = looked (fun x -> fst (layer.Run call parameters (x, buffers)))

                    let folded, foldedGradient =
                        looked (
                            Layer.fold
                                { Branch = adv; Parameters = parameters; Buffers = buffers; Prepare = id }
                                layer
                        )

                    close 1e-12 folded value "value"
                    close 1e-12 foldedGradient gradient "gradient"
                    Expect.equal (bits images) before "images")
        ]

        testList "however many images go through at a time, value and gradient are the same" [
            for channels in [ 512L; 640L; 1024L; 2048L; 4096L ] do
                test (sprintf "%d channels" channels) (fun () ->
                    let source = Source 15
                    let layers = [
                        Layer.conv "c" 3L 4L 3L 2L 1L
                        Layer.batchNorm both "n" 4L
                        Layer.relu
                        Layer.conv "d" 4L 2L 3L 1L 1L
                    ]
                    let together = Layer.sequence layers
                    let parameters, buffers = shaken source (together.Init(Rng.create 3UL "start" [| 0L |]))
                    let images = (noise source [ 7; 3; 16; 16 ]).requires_grad_ true

                    let run layer =
                        let fixed' = {
                            Branch = adv
                            Parameters = parameters
                            Buffers = buffers
                            Prepare = id
                        }
                        let y = Layer.fold fixed' layer images
                        let value = ResizeArray [ y.square().sum() ]
                        y, (torch.autograd.grad (value, ResizeArray [ images ]))[0]

                    let expected, expectedGradient = run together
                    let actual, gradient = run (Layer.inSlices channels layers)
                    Expect.equal actual.shape expected.shape "shape"
                    close 1e-12 (floats actual) (floats expected) "value"
                    close 1e-12 (floats gradient) (floats expectedGradient) "gradient")
        ]

        test "folding makes weights of its own once, and a pass makes its outcome alone" (fun () ->
            let weights = shaken (Source 13) (init 3UL withHead)
            let before = hash (fst weights), hash (snd weights)
            let images = noise (Source 13) [ 2; 3; 16; 16 ]
            let run = folded withHead clean weights id
            let count = Autograd.liveTensors ()

            Scope.value (fun () ->
                let output = run images
                // The normalisation's constants, and what the ReLUs in place hand on.
                Expect.isLessThan
                    (Autograd.liveTensors () - count)
                    (int64 (Seq.length (Output.tensors output)) + 20L)
                    "what stands between two layers is freed")

            Expect.equal (Autograd.liveTensors ()) count "none left"
            Expect.equal (hash (fst weights), hash (snd weights)) before "the weights given")

        test "layouts do not change what a network in train mode gives" (fun () ->
            let source = Source 14
            let weights = singles (shaken source (init 4UL withHead))
            let images = single (noise source [ 4; 3; 16; 16 ])
            let expected, statistics = apply withHead adv Train weights images
            let actual, moved = apply withHead adv Train weights (Network.channelsLast images)
            agree 1e-5 actual expected

            for name in statistics.Keys do
                relative 1e-5 (floats moved[name]) (floats statistics[name]) name)

        testList "a step is the same as its method writes it" [
            for name, method in methods @ [ "clae", Clae.method ] do
                test name (fun () ->
                    let _, plain, fast = bothWays method
                    close 1e-10 [| fast.Loss |] [| plain.Loss |] "loss"

                    for name in plain.Gradients.Keys do
                        relative 1e-9 (floats fast.Gradients[name]) (floats plain.Gradients[name]) name

                    for name in plain.Buffers.Keys do
                        relative 1e-10 (floats fast.Buffers[name]) (floats plain.Buffers[name]) name)
        ]

        test "CLAE's attack moves the adversarial statistics twice, its training once more" (fun () ->
            let state, _, fast = bothWays Clae.method
            let machine, method, _, batch = doubled Clae.method
            let still = { method with Step = { method.Step with Adversaries = []; Passes = [] } }
            let pass = Pass.train "p" [ "v1" ] adv
            let first = { pass with Call = { pass.Call with Momentum = 0.01 } }
            let loss: Loss = fun scene -> (LossContext.embedding "p" "v1" scene).sum()
            let once = {
                still with
                    Step = { still.Step with Passes = [ first ]; Loss = loss; Measures = fun _ -> [] }
            }
            let mean (buffers: Buffers) = floats buffers["bn1.running_mean@adv"]
            let start = mean (snd state.Online)
            let step = minus (mean (TrainStep.run machine once everything state batch).Buffers) start
            // r + m (s - r), then (1 - m) of that step more, and what training adds is of the same size.
            let actual = minus (mean fast.Buffers) start
            Expect.isGreaterThan (norm1 actual) (2.5 * norm1 step) "more than twice"
            Expect.isLessThan (norm1 actual) (3.5 * norm1 step) "about three times")

        test "a folded pass moves no statistics, even where it keeps them" (fun () ->
            let attack = { Pass.eval "a" [ "a1" ] adv with Keep = true }
            let state, outcome =
                own plainViews [ Pass.train "p" [ "v1" ] clean ] (square "p" "v1")
                |> withAdversary [ "a1", "v1" ] [ attack ] (square "a" "a1")
                |> runTiny
            Expect.equal (moved (snd state.Online) outcome.Buffers) [ Some clean ] "the clean pass's alone")
    ]
