namespace AdvContrast.Cli.Commands

open System.Diagnostics
open System.IO
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Torch.Engine
open Argu
open TorchSharp

[<RequireQualifiedAccess>]
module Doctor =

    // The median time of a 512x512 matrix product, in milliseconds: a reference BLAS takes tens of them.
    let private matmul () =
        Scope.value (fun () ->
            let x = torch.ones ([| 512L; 512L |], torch.float32)

            let time () =
                let watch = Stopwatch.StartNew()
                Scope.value (fun () -> x.matmul x |> ignore)
                watch.Elapsed.TotalMilliseconds

            time () |> ignore
            (Array.init 7 (fun _ -> time ()) |> Array.sort)[3])

    // Debian's builds of OpenBLAS differ by their folders.
    let private blasHasThreads () =
        let maps = "/proc/self/maps"
        File.Exists maps && File.ReadLines maps |> Seq.exists _.Contains("/openblas-pthread/")

    let run (arguments: ParseResults<DoctorArguments>) : Result<unit, Error list> =
        let engine = TorchEngine.Current
        let found = engine.LibTorch
        let line (name: string) value = Terminal.line (sprintf "%-10s %s" name value)
        line "libtorch" (sprintf "%s at %s (found: %s)" found.Version found.Path found.Found)
        line "binding" (sprintf "%s, autocast %s" engine.Source (if engine.HasAutocast then "yes" else "no"))

        for device in engine.Devices() do
            let memory = float device.Memory / 1e9
            let bfloat16 = if device.HasFastBfloat16 then "computes in bfloat16" else "no bfloat16 arithmetic"
            line "device" (sprintf "%O: %s, %.1f GB, %s" device.Device device.Name memory bfloat16)

        let processors = System.Environment.ProcessorCount
        line "threads" (sprintf "%d, for %d processors" (torch.get_num_threads ()) processors)
        let milliseconds = matmul ()
        line "matmul" (sprintf "512x512 in %.1f ms" milliseconds)

        if milliseconds > 20.0 then
            Terminal.line "This BLAS is slow. On Debian: apt-get install libopenblas0-openmp"

        if blasHasThreads () then
            Terminal.line "The threads of this BLAS wait for libtorch's. On Debian: apt-get install"
            Terminal.line "libopenblas0-openmp libopenblas0-pthread-"

        {|
            libtorch = found
            binding = engine.Source
            autocast = engine.HasAutocast
            devices = [
                for d in engine.Devices() ->
                    {|
                        device = string d.Device
                        name = d.Name
                        bytes = d.Memory
                        bfloat16 = d.HasFastBfloat16
                    |}
            ]
            threads = torch.get_num_threads ()
            matmulMilliseconds = milliseconds
        |}
        |> Json.write (arguments.TryGetResult DoctorArguments.Json)
        |> Result.mapError List.singleton
