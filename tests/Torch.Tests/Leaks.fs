module Leaks

open System
open Expecto
open AdvContrast.Torch.Engine
open TorchSharp
open Values

type private F = torch.nn.functional

/// A small network's training step with an attack, all in scopes.
let private step (weight: torch.Tensor) (kernel: torch.Tensor) (generator: torch.Generator) =
    use scope = torch.NewDisposeScope()
    let x = torch.rand([| 4L; 3L; 8L; 8L |], generator = generator).requires_grad_()
    let labels = torch.tensor [| 0L; 1L; 2L; 3L |]

    let loss (x: torch.Tensor) =
        torch.WrappedTensorDisposeScope(fun () ->
            let features = F.relu(F.conv2d (x, kernel, padding = [| 1L; 1L |])).mean([| 2L; 3L |])
            F.cross_entropy (features.matmul (weight), labels))

    let gradient = torch.autograd.grad([| loss x |], [| x |])[0]

    let moved =
        use _ = torch.no_grad ()
        (x + 0.1 * gradient.sign ()).clamp(scalar 0.0, scalar 1.0)

    (loss (moved.detach ())).backward()
    use _ = torch.no_grad ()

    for parameter in [ weight; kernel ] do
        use gradient = parameter.grad
        parameter.sub_ (gradient * 0.01) |> ignore
        parameter.grad <- null

    let struct (values, _) = moved.max (1L)
    values.sum().item<float32>() |> ignore

    try
        weight.mm (weight) |> ignore
    with :? Runtime.InteropServices.ExternalException ->
        ()

let private resident () = TorchEngine.Current.Memory(torch.CPU).Allocated

let tests =
    testList "Leaks" [
        testCase "10,000 steps leave no tensor and little memory behind" (fun () ->
            use generator = new torch.Generator(1UL)
            use weight = torch.randn(5, 5, generator = generator).requires_grad_()
            use kernel = torch.randn([| 5L; 3L; 3L; 3L |], generator = generator).requires_grad_()
            for _ in 1..500 do
                step weight kernel generator
            let tensors, memory = settled (), resident ()
            for _ in 1..10000 do
                step weight kernel generator
            Expect.equal torch.Tensor.TotalCount tensors "live tensors"
            Expect.isLessThan (resident () - memory) (64L <<< 20) "growth in bytes")

        testCase "tensors outside scopes are left to their finalisers" (fun () ->
            let before = settled ()

            let litter () =
                for _ in 1..1000 do
                    torch.zeros 4 |> ignore

            let thread = Threading.Thread litter
            thread.Start()
            thread.Join()

            Expect.isLessThan (settled () - before) 10L "nearly all are gone"
            Expect.isGreaterThanOrEqual torch.Tensor.PeakCount (before + 10L) "the peak is remembered")

        testCase "arguments outlive the call that alone holds them" (fun () ->
            use scope = torch.NewDisposeScope()

            for _ in 1..200 do
                let x = torch.ones(64, 64).DetachFromDisposeScope()
                let y = torch.cat([| x.DetachFromDisposeScope(); torch.zeros (64, 64) |]).sum()
                if y.item<float32>() <> 4096.0f then failtest "freed too early"
                GC.Collect(0))
    ]
