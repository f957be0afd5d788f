module Engine

open System
open System.Runtime.InteropServices
open System.Runtime.Intrinsics.X86
open Expecto
open AdvContrast.Torch.Engine
open TorchSharp
open Values

let private engine = TorchEngine.Current

// openblas_get_corename
type private BlasKernels = delegate of unit -> nativeint

let private needSystem () = if engine.Source <> "system" then skiptest "only with TorchSource=system"

let tests =
    testList "Engine" [
        inScope "it says what libtorch it stands on" (fun () ->
            Expect.isNotEmpty engine.LibTorch.Version "a version"
            Expect.contains [ "system"; "nuget" ] engine.Source "a source"
            Expect.equal engine.LiveTensors torch.Tensor.TotalCount "the count of tensors")

        inScope "autocast lasts as long as its scope, on its thread" (fun () ->
            needSystem ()
            let x, w = torch.ones (2, 2), torch.ones (2, 2)

            do
                use _ = engine.Autocast(DeviceType.CPU, torch.bfloat16)
                Expect.equal (x.mm(w).dtype) torch.bfloat16 "products"
                Expect.equal ((x + w).dtype) torch.float32 "sums"
                let mutable there = torch.bfloat16

                let thread =
                    Threading.Thread(fun () ->
                        use scope = torch.NewDisposeScope()
                        there <- x.mm(w).dtype)

                thread.Start()
                thread.Join()
                Expect.equal there torch.float32 "another thread"

            Expect.equal (x.mm(w).dtype) torch.float32 "afterwards")

        inScope "after a step under autocast the new weights are used" (fun () ->
            needSystem ()
            let x = torch.ones (1, 1)
            use w = torch.ones(1, 1).requires_grad_()

            let product () =
                use _ = engine.Autocast(DeviceType.CPU, torch.bfloat16)
                number (x.mm w)

            Expect.equal (product ()) 1.0 "first"
            (use _ = torch.no_grad () in w.fill_ (scalar 3.0) |> ignore)
            Expect.equal (product ()) 3.0 "then")

        inScope "memory that is kept serves the next tensor" (fun () ->
            needSystem ()

            if engine.KeepMemory() then
                let pages = 64L * 1024L * 1024L
                let resident () = engine.Memory(torch.CPU).Allocated
                let large = torch.ones (pages / 4L)
                let held = resident ()
                large.Dispose()
                Expect.isGreaterThan (resident ()) (held - pages / 4L) "still with the process"
                // Of half the size, since something small may have been put where the large one was.
                use _ = torch.ones (pages / 8L)
                Expect.isLessThan (resident ()) (held + pages / 4L) "and used again")

        inScope "OpenBLAS multiplies by AVX-512 where the processor has it" (fun () ->
            needSystem ()
            let mutable blas = 0n

            if not (Avx512F.IsSupported && NativeLibrary.TryLoad("libopenblas.so.0", &blas)) then
                skiptest "no AVX-512 or no OpenBLAS"

            let kernels =
                Marshal.GetDelegateForFunctionPointer<BlasKernels>(
                    NativeLibrary.GetExport(blas, "openblas_get_corename")
                )

            let name = Marshal.PtrToStringUTF8(kernels.Invoke())
            Expect.contains [ "SkylakeX"; "Cooperlake"; "Sapphirerapids" ] name "kernels")

        inScope "a null reference is an exception, also on a thread that has multiplied tiles" (fun () ->
            needSystem ()
            let x = torch.ones ([| 1L; 64L; 8L; 8L |], dtype = torch.bfloat16)
            let w = torch.ones ([| 64L; 64L; 3L; 3L |], dtype = torch.bfloat16)
            torch.nn.functional.conv2d(x, w, null, [| 1L; 1L |], [| 1L; 1L |]).Dispose()
            let nothing: string = null
            Expect.throwsT<NullReferenceException> (fun () -> nothing.Length |> ignore) "caught")

        inScope "without autocast it says so" (fun () ->
            if not engine.HasAutocast then
                Expect.throwsT<NotSupportedException>
                    (fun () -> engine.Autocast(DeviceType.CPU, torch.bfloat16).Dispose())
                    "not supported")

        inScope "memory formats keep the values and give a handle of their own" (fun () ->
            let x = torch.rand ([| 2L; 3L; 4L; 4L |])

            for format in [ MemoryFormat.ChannelsLast; MemoryFormat.Contiguous ] do
                let y = engine.ToMemoryFormat(x, format)
                Expect.isTrue (y.Equals x) "values"
                y.Dispose()
                Expect.isFalse x.IsInvalid "of its own"

            if engine.Source = "system" then
                let y = engine.ToMemoryFormat(x, MemoryFormat.ChannelsLast)
                Expect.equal (List.ofArray (y.stride ())) [ 48L; 1L; 12L; 3L ] "channels last"
                let back = engine.ToMemoryFormat(y, MemoryFormat.Contiguous)
                Expect.isTrue (back.is_contiguous ()) "and back"

            x.requires_grad_ () |> ignore
            let y = engine.ToMemoryFormat(x, MemoryFormat.ChannelsLast)
            near (torch.autograd.grad([| y.sum () |], [| x |])[0]) (List.replicate 96 1.0) "differentiable")

        testList "a map with an adjoint" [
            let x () = torch.tensor([| 1.0; 2.0; 3.0 |]).requires_grad_ true
            let twice (x: torch.Tensor) = x * 2.0
            let gradient (y: torch.Tensor) x = (torch.autograd.grad ([| y.square().sum() |], [| x |]))[0]

            inScope "has the map's values and the adjoint's gradient" (fun () ->
                needSystem ()
                let x = x ()
                // Not its adjoint, so that one sees whose gradient it is.
                let y = engine.WithAdjoint(x, twice, (fun g -> g * 5.0))
                near y [ 2.0; 4.0; 6.0 ] "values"
                near (gradient y x) [ 20.0; 40.0; 60.0 ] "gradient"
                near x [ 1.0; 2.0; 3.0 ] "what came in")

            inScope "has the map's gradient where the adjoint is its own" (fun () ->
                let x = x ()
                near (gradient (engine.WithAdjoint(x, twice, twice)) x) [ 8.0; 16.0; 24.0 ] "gradient")

            inScope "may be worked on in place, and be one of several ways" (fun () ->
                let x = x ()
                let y = engine.WithAdjoint(x, twice, twice).add_(x).relu_()
                near (gradient y x) [ 18.0; 36.0; 54.0 ] "gradient")

            inScope "has gradients of its gradient" (fun () ->
                let x = x ()
                let y = engine.WithAdjoint(x * x, twice, twice)
                let first = (torch.autograd.grad ([| y.sum () |], [| x |], create_graph = true))[0]
                near first [ 4.0; 8.0; 12.0 ] "gradient"
                near (torch.autograd.grad([| first.sum () |], [| x |])[0]) [ 4.0; 4.0; 4.0 ] "its gradient")

            inScope "is the map alone where no gradient is wanted" (fun () ->
                let never _ = failtest "asked for a gradient"
                let x = x ()
                Expect.isFalse (engine.WithAdjoint(x.detach (), twice, never).requires_grad) "x wants none"
                use _ = torch.no_grad ()
                Expect.isFalse (engine.WithAdjoint(x, twice, never).requires_grad) "none is recorded")

            inScope "tells what its adjoint could not do" (fun () ->
                needSystem ()
                let x = x ()
                let words = String('é', 2000)
                let y = engine.WithAdjoint(x, twice, (fun _ -> raise (InvalidOperationException words)))

                let told =
                    try
                        gradient y x |> ignore
                        ""
                    with e ->
                        e.Message

                Expect.stringContains
                    told
                    (String('é', 400))
                    "the exception's message, as much as there is room for"
                near (gradient (engine.WithAdjoint(x, twice, twice)) x) [ 8.0; 16.0; 24.0 ] "gradient")

            inScope "frees all when its graph goes" (fun () ->
                needSystem ()
                let held = ref (WeakReference null)

                let look () =
                    use _ = torch.NewDisposeScope()
                    let own = obj ()
                    held.Value <- WeakReference own
                    let adjoint (g: torch.Tensor) = if isNull own then g else g * 2.0
                    let x = x ()
                    gradient (engine.WithAdjoint(x, twice, adjoint)) x |> ignore

                let before = torch.Tensor.TotalCount
                look ()
                Expect.equal torch.Tensor.TotalCount before "tensors"

                // Whatever keeps it may be an address that a frame has forgotten: a few tries.
                let rec isGone tries =
                    GC.Collect()
                    GC.WaitForPendingFinalizers()
                    not held.Value.IsAlive || (tries > 0 && isGone (tries - 1))

                Expect.isTrue (isGone 5) "the adjoint")
        ]

        inScope "devices and their memory" (fun () ->
            let cpu = engine.Devices()[0]
            Expect.equal cpu.Device.``type`` DeviceType.CPU "the CPU comes first"
            Expect.isGreaterThan cpu.Threads 0 "threads"
            let memory = engine.Memory torch.CPU
            Expect.isGreaterThan memory.Allocated 0L "resident"
            Expect.isGreaterThanOrEqual memory.Peak memory.Allocated "at most"
            engine.EmptyCache())

        inScope "deterministic mode" (fun () ->
            needSystem ()
            let before = engine.Deterministic
            engine.Deterministic <- true
            Expect.isTrue engine.Deterministic "on"
            engine.Deterministic <- before
            Expect.equal engine.Deterministic before "as before")
    ]
