/// What this program does as a child of its tests.
module Tasks

open System
open System.IO
open System.Runtime.InteropServices
open System.Threading
open AdvContrast.Engine
open TorchSharp

let private sum () =
    use ones = torch.ones 3L
    use sum = ones.sum ()
    sum.ToSingle()

let private computes () =
    printfn "sum %g" (sum ())
    printfn "version %s" LibTorch.Version
    printfn "folder %s" LibTorch.Folder

    // The path of a mapped file is in column 73.
    let mapped = File.ReadLines "/proc/self/maps" |> Seq.filter _.Contains(".so") |> Seq.map _.Substring(73)

    for file in Seq.distinct mapped do
        printfn "mapped %s" file

let private load () =
    LibTorch.Load()
    computes ()

// The module initializer of Engine has run, and nothing else of it.
let private useTorch () =
    printfn "expected %s" LibTorch.ExpectedVersion
    computes ()

// As a program does that uses TorchSharp alone at first.
let private loadLate () =
    let own = Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libtorch_cpu.so")
    NativeLibrary.Load own |> ignore
    load ()

// Whether TorchSharp's library loads as it is.
let private loadOriginal () =
    for library in [ "c10"; "torch_cpu"; "torch" ] do
        NativeLibrary.Load(Natives.Find library) |> ignore

    let loads, _ = NativeLibrary.TryLoad(Natives.Find "LibTorchSharp")
    printfn "loads %b" loads

let private minorFaults () =
    let stat = File.ReadAllText "/proc/self/stat"
    int64 (stat[stat.LastIndexOf ')' + 2 ..].Split(' ')[7])

let private fill () =
    use tensor = torch.empty (16L, 1024L, 1024L)
    use filled = tensor.fill_ 1.0f
    ignore filled

let private allocate () =
    LibTorch.Load()
    // The smallest of several rounds: a small block that lands in the memory of a freed tensor makes the next tensor
    // take new pages, until there is a block for each.
    let faults () =
        let before = minorFaults ()

        for _ in 1..5 do
            fill ()

        minorFaults () - before

    List.init 10 (fun _ -> faults ()) |> List.min |> printfn "faults %d"

// The runtime turns the signal of a null reference into an exception on the thread's own stack for signals, which must
// have room for the processor's registers; tiles (AMX) have 8 KiB of them.
let private catchAfterProducts () =
    LibTorch.Load()
    let mutable caught = 0

    let work () =
        for _ in 1..20 do
            use a = torch.ones (256L, 256L, torch.bfloat16)
            use product = a.matmul a
            let text: string = if product.shape[0] = 0L then "" else null

            try
                printfn "%d" text.Length
            with :? NullReferenceException ->
                Interlocked.Increment &caught |> ignore

    let threads = Array.init 4 (fun _ -> Thread work)
    threads |> Array.iter _.Start()
    threads |> Array.iter _.Join()
    printfn "caught %d" caught

let run (task: string) =
    try
        match task with
        | "load" -> load ()
        | "use-torch" -> useTorch ()
        | "load-late" -> loadLate ()
        | "load-original" -> loadOriginal ()
        | "allocate" -> allocate ()
        | "catch-after-products" -> catchAfterProducts ()
        | _ -> invalidArg (nameof task) task

        0
    with :? LibTorchException as e ->
        printfn "refused %s" e.Message
        3
