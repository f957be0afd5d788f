/// Layers against loops over plain arrays.
module Tests.Networks.LayerTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private draw seed = Rng.create seed "init" [||]
let private double (tensors: Map<string, Tensor>) = tensors |> Map.map (fun _ x -> x.``to`` torch.float64)

/// The output of a layer with its own first weights, in float64, and the weights.
let private run call (layer: Layer) (x: Tensor) =
    let parameters, buffers = layer.Init(draw 1UL)
    let parameters = double parameters
    fst (layer.Run call parameters (x, double buffers)), parameters

// A convolution as nested loops: x [n; c; h; w] and weights [o; c; k; k].
let private slowConv (x: Tensor) (weight: Tensor) stride padding =
    let size (t: Tensor) (axis: int) = int (t.shape[axis])
    let n, c, h, w = size x 0, size x 1, size x 2, size x 3
    let o, k = size weight 0, size weight 2
    let xs, ws = floats x, floats weight
    let pixel i ch row col =
        if row < 0 || col < 0 || row >= h || col >= w then 0.0 else xs[((i * c + ch) * h + row) * w + col]
    let along length = (length + 2 * padding - k) / stride + 1

    [|
        for i in 0 .. n - 1 do
            for out in 0 .. o - 1 do
                for row in 0 .. along h - 1 do
                    for col in 0 .. along w - 1 do
                        let mutable sum = 0.0

                        for ch in 0 .. c - 1 do
                            for a in 0 .. k - 1 do
                                for b in 0 .. k - 1 do
                                    let p =
                                        pixel i ch (row * stride + a - padding) (col * stride + b - padding)
                                    sum <- sum + p * ws[((out * c + ch) * k + a) * k + b]

                        sum
    |]

// The values of each channel of [n; c; ...], and its place in the row-major order.
let private channels (x: Tensor) =
    let n, c = int x.shape[0], int x.shape[1]
    let area = int (x.numel ()) / (n * c)
    let values = floats x
    let place i ch p = (i * c + ch) * area + p
    Array.init c (fun ch -> [|
        for i in 0 .. n - 1 do
            for p in 0 .. area - 1 do
                place i ch p, values[place i ch p]
    |])

// Batch norm of one branch in train mode: what comes out, and the statistics afterwards.
let private slowNorm train weight bias runningMean runningVar (x: Tensor) =
    let result = Array.zeroCreate (int (x.numel ()))

    let statistics =
        channels x
        |> Array.mapi (fun ch places ->
            let values = Array.map snd places
            let m, v = mean values, variance values
            let n = float values.Length
            let useMean, useVar = if train then m, v else Array.get runningMean ch, Array.get runningVar ch

            for at, value in places do
                result[at] <-
                    (value - useMean) / sqrt (useVar + 1e-5) * Array.get weight ch + Array.get bias ch

            0.9 * Array.get runningMean ch + 0.1 * m, 0.9 * Array.get runningVar ch + 0.1 * v * n / (n - 1.0))

    result, Array.map fst statistics, Array.map snd statistics

let private norm = Layer.batchNorm [ clean; adv ] "bn" 3L

let private normCase (seed: int) spatial =
    let source = Source seed
    let shape = [ source.Whole(2, 5); 3 ] @ (if spatial then [ source.Whole(1, 3); 2 ] else [])
    let x = tensor shape (source.Normals(List.reduce (*) shape)) * 2.0 + 1.0
    let parameters, buffers = shaken source (norm.Init(draw 1UL))
    x, parameters, buffers

[<Tests>]
let tests =
    testList "Networks.Layer" [
        testPropertyN 40 "a convolution equals nested loops" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let c, o = source.Whole(1, 3), source.Whole(1, 3)
                let k = source.Among [ 1; 3; 7 ]
                let stride, padding = source.Whole(1, 2), source.Whole(0, k / 2)
                let x = noise source [ source.Whole(1, 3); c; source.Whole(7, 9); source.Whole(7, 9) ]
                let layer = Layer.conv "c" (int64 c) (int64 o) (int64 k) (int64 stride) (int64 padding)
                let y, parameters = run (call clean Eval) layer x
                close 1e-10 (floats y) (slowConv x parameters["c.weight"] stride padding) "output"))

        testPropertyN 40 "a linear layer equals its sums" (fun (seed: int) (bias: bool) ->
            balanced (fun () ->
                let source = Source seed
                let into, out = source.Whole(1, 5), source.Whole(1, 5)
                let x = source.Rows(3, into)
                let y, parameters =
                    run (call clean Eval) (Layer.linear "l" bias (int64 into) (int64 out)) (matrix x)
                Expect.equal (parameters.ContainsKey "l.bias") bias "bias"
                let weight = rows parameters["l.weight"]
                let offset = if bias then floats parameters["l.bias"] else Array.zeroCreate out
                let expected =
                    x |> Array.collect (fun row -> Array.map2 (fun w b -> dot w row + b) weight offset)
                close 1e-12 (floats y) expected "output"))

        testPropertyN
            40
            "batch norm in train mode equals its formula, and so do the statistics it gives"
            (fun (seed: int) (spatial: bool) ->
                balanced (fun () ->
                    let x, parameters, buffers = normCase seed spatial

                    for branch in [ "clean"; "adv" ] do
                        let part (from: Map<string, Tensor>) name = floats from["bn." + name + "@" + branch]
                        let y, after = norm.Run (call (Branch branch) Train) parameters (x, buffers)

                        let expected, mean, var =
                            slowNorm
                                true
                                (part parameters "weight")
                                (part parameters "bias")
                                (part buffers "running_mean")
                                (part buffers "running_var")
                                x

                        close 1e-9 (floats y) expected "output"
                        close 1e-9 (part after "running_mean") mean "running mean"
                        close 1e-9 (part after "running_var") var "running variance"))

        testPropertyN
            40
            "batch norm in eval mode uses the running statistics and gives them back"
            (fun (seed: int) (spatial: bool) ->
                balanced (fun () ->
                    let x, parameters, buffers = normCase seed spatial

                    for branch in [ "clean"; "adv" ] do
                        let part (from: Map<string, Tensor>) name = floats from["bn." + name + "@" + branch]
                        let y, after = norm.Run (call (Branch branch) Eval) parameters (x, buffers)

                        let expected, _, _ =
                            slowNorm
                                false
                                (part parameters "weight")
                                (part parameters "bias")
                                (part buffers "running_mean")
                                (part buffers "running_var")
                                x

                        close 1e-9 (floats y) expected "output"
                        Expect.isTrue (obj.ReferenceEquals(after, buffers)) "the same buffers"))

        test "train mode moves the called branch's statistics only, and not in place" (fun () ->
            let x, parameters, buffers = normCase 1 true
            let before = hash buffers
            let _, after = norm.Run (call adv Train) parameters (x, buffers)
            Expect.equal (hash buffers) before "the buffers given"
            Expect.equal (Seq.toList after.Keys) (Seq.toList buffers.Keys) "names"

            for name in buffers.Keys do
                let same = obj.ReferenceEquals(after[name], buffers[name])
                Expect.equal same (name.EndsWith "@clean") name
                Expect.equal (bits after[name] = bits buffers[name]) (name.EndsWith "@clean") name)

        test "a fresh batch norm is the identity of eval mode" (fun () ->
            let x = noise (Source 1) [ 2; 3; 2; 2 ]
            let y, _ = run (call clean Eval) norm x
            close 1e-5 (floats y) (floats x) "output")

        test "residual is main plus shortcut, then ReLU" (fun () ->
            let x = noise (Source 1) [ 2; 2; 3; 3 ] - 0.5
            let main, shortcut = Layer.conv "main" 2L 4L 3L 1L 1L, Layer.conv "short" 2L 4L 1L 1L 0L
            let y, parameters = run (call clean Eval) (Layer.residual main shortcut) x
            let sum =
                plus (slowConv x parameters["main.weight"] 1 1) (slowConv x parameters["short.weight"] 1 0)
            close 1e-10 (floats y) (Array.map (max 0.0) sum) "output"
            Expect.exists sum (fun v -> v < 0.0) "something to cut off")

        test "a residual threads the buffers through both ways" (fun () ->
            let part name = Layer.batchNorm [ clean ] name 3L
            let layer = Layer.residual (part "a") (part "b")
            let parameters, buffers = layer.Init(draw 1UL)
            let x = single (noise (Source 1) [ 4; 3; 2; 2 ])
            let _, after = layer.Run (call clean Train) parameters (x, buffers)
            Expect.all buffers.Keys (fun name -> bits after[name] <> bits buffers[name]) "all moved")

        test "a sequence runs its layers in order and holds all their tensors" (fun () ->
            let x = noise (Source 1) [ 2; 2; 4; 4 ] - 0.5
            let first, second = Layer.conv "a" 2L 3L 3L 1L 1L, Layer.conv "b" 3L 2L 1L 1L 0L
            let y, parameters = run (call clean Eval) (Layer.sequence [ first; Layer.relu; second ]) x
            let middle = tensor [ 2; 3; 4; 4 ] (slowConv x parameters["a.weight"] 1 1 |> Array.map (max 0.0))
            close 1e-10 (floats y) (slowConv middle parameters["b.weight"] 1 0) "output"
            Expect.equal (Seq.toList parameters.Keys) [ "a.weight"; "b.weight" ] "names")

        test "pooling takes means and maxima" (fun () ->
            let x = tensor [ 1; 2; 2; 2 ] [| 1.0; 2.0; 3.0; 4.0; -1.0; 5.0; 0.0; 8.0 |]
            Expect.equal (floats (fst (run (call clean Eval) Layer.globalPool x))) [| 2.5; 3.0 |] "means"
            let y, _ = run (call clean Eval) (Layer.maxPool 2L 2L 0L) x
            Expect.equal (floats y) [| 4.0; 8.0 |] "maxima")

        test "normalising takes each channel's mean away and divides by its deviation" (fun () ->
            let x = noise (Source 1) [ 2; 3; 2; 2 ]
            let y, _ = run (call clean Eval) (Layer.normalise colour.Mean colour.Std) x
            let expected = Array.zeroCreate 24

            for ch, places in Array.indexed (channels x) do
                for at, value in places do
                    expected[at] <- (value - colour.Mean[ch]) / colour.Std[ch]

            // The constants are kept in single precision.
            close 1e-5 (floats y) expected "output")

        test "identity gives the same values under a name of its own" (fun () ->
            let x = noise (Source 1) [ 2; 2 ]
            let y, _ = run (call clean Eval) Layer.identity x
            Expect.equal (bits y) (bits x) "values"
            Expect.isFalse (obj.ReferenceEquals(y, x)) "never the argument itself")

        test "a convolution starts normal with variance 2 over fan-out" (fun () ->
            let parameters, _ = (Layer.conv "c" 64L 32L 3L 1L 1L).Init(draw 1UL)
            let values = floats parameters["c.weight"]
            let expected = 2.0 / (32.0 * 9.0)
            Expect.isLessThan (abs (variance values / expected - 1.0)) 0.05 "variance"
            Expect.isLessThan (abs (mean values)) 0.002 "mean"
            let fourth = values |> Array.averageBy (fun v -> v ** 4.0)
            Expect.isLessThan
                (abs (fourth / (3.0 * expected * expected) - 1.0))
                0.1
                "the normal's fourth moment")

        test "a linear layer starts uniform within 1 over the root of fan-in" (fun () ->
            let parameters, _ = (Layer.linear "l" true 400L 50L).Init(draw 1UL)
            let values = floats parameters["l.weight"] |> Array.map (fun v -> (v * 20.0 + 1.0) / 2.0)
            Expect.isLessThan (distanceFromUniform values) (1.63 / sqrt 20000.0) "weights"
            within -0.05 0.05 (floats parameters["l.bias"]) "bias"
            Expect.isGreaterThan
                (floats parameters["l.bias"] |> Array.map abs |> Array.max)
                0.04
                "bias, up to the border")

        testProperty "first weights are a function of seed and name" (fun (seed: uint64) ->
            balanced (fun () ->
                let weights name seed =
                    fst ((Layer.conv name 2L 2L 3L 1L 1L).Init(draw seed)) |> Map.values |> Seq.head
                Expect.equal (bits (weights "a" seed)) (bits (weights "a" seed)) "the same again"
                Expect.notEqual (bits (weights "a" seed)) (bits (weights "b" seed)) "another name"
                Expect.notEqual (bits (weights "a" seed)) (bits (weights "a" (seed + 1UL))) "another seed"))
    ]
