module Threads

open System.Threading
open Expecto
open TorchSharp
open Values

/// What a function gives on a thread of its own.
let private elsewhere (f: unit -> 't) =
    let mutable result = Unchecked.defaultof<'t>
    let thread = Thread(fun () -> result <- f ())
    thread.Start()
    thread.Join()
    result

let tests =
    testList "Threads" [
        inScope "scopes are a thread's own" (fun () ->
            let held = torch.CurrentDisposeScope.DisposablesCount
            use x = elsewhere (fun () -> torch.zeros 1)
            Expect.isTrue (elsewhere (fun () -> isNull torch.CurrentDisposeScope)) "none is open there"
            Expect.equal torch.CurrentDisposeScope.DisposablesCount held "nothing came here"
            Expect.isFalse x.IsInvalid "and it lives")

        inScope "grad mode is a thread's own" (fun () ->
            use _ = torch.no_grad ()
            Expect.isTrue (elsewhere torch.is_grad_enabled) "on elsewhere"
            Expect.isFalse (torch.is_grad_enabled ()) "off here")

        inScope "many threads at once" (fun () ->
            let before = settled ()
            let wrong = ref 0

            let work (seed: int) () =
                use scope = torch.NewDisposeScope()
                use generator = new torch.Generator(uint64 seed)
                let x = torch.rand(16, 16, generator = generator).requires_grad_()

                for _ in 1..50 do
                    use step = torch.NewDisposeScope()
                    let gradient = torch.autograd.grad([| (x * x).sum() |], [| x |])[0]
                    if not (gradient.allclose (2.0 * x)) then Interlocked.Increment wrong |> ignore

            let threads = [ for seed in 1..8 -> Thread(work seed) ]
            for thread in threads do
                thread.Start()
            for thread in threads do
                thread.Join()
            Expect.equal wrong.Value 0 "every gradient is right"
            Expect.equal torch.Tensor.TotalCount before "and every tensor is gone")

        testCase "libtorch's threads may be set" (fun () ->
            let before = torch.get_num_threads ()
            torch.set_num_threads 1
            Expect.equal (torch.get_num_threads ()) 1 "one"
            torch.set_num_threads before
            Expect.isGreaterThan (torch.get_num_interop_threads ()) 0 "between operators")

        testCase "libtorch takes all processors where nobody has said how many" (fun () ->
            let said = System.Environment.GetEnvironmentVariable "OMP_NUM_THREADS"
            let isOurs = AdvContrast.Torch.Engine.TorchEngine.Current.Source = "system"
            if isOurs && System.String.IsNullOrEmpty said then
                Expect.equal (torch.get_num_threads ()) System.Environment.ProcessorCount "threads")
    ]
