namespace AdvContrast.Cli.Commands

open System.Diagnostics
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Engine
open Argu
open TorchSharp

[<RequireQualifiedAccess>]
module Doctor =

    // The median time of a 512x512 matrix product, in milliseconds.
    let private matmul () =
        Scope.value (fun () ->
            let x = torch.ones ([| 512L; 512L |], torch.float32)

            let time () =
                let watch = Stopwatch.StartNew()
                Scope.value (fun () -> x.matmul x |> ignore)
                watch.Elapsed.TotalMilliseconds

            time () |> ignore
            (Array.init 7 (fun _ -> time ()) |> Array.sort)[3])

    let run (arguments: ParseResults<DoctorArguments>) : Result<unit, Error list> =
        LibTorch.Load()
        let line (name: string) value = Terminal.line (sprintf "%-10s %s" name value)
        line "libtorch" (sprintf "%s at %s" LibTorch.Version LibTorch.Folder)
        line "TorchSharp" (sprintf "built for libtorch %s" LibTorch.ExpectedVersion)

        for device in Hardware.Devices() do
            let memory = float device.Memory / 1e9
            let bfloat16 = if device.HasFastBfloat16 then "computes in bfloat16" else "no bfloat16 arithmetic"
            line "device" (sprintf "%O: %s, %.1f GB, %s" device.Device device.Name memory bfloat16)

        let processors = System.Environment.ProcessorCount
        line "threads" (sprintf "%d, for %d processors" (torch.get_num_threads ()) processors)
        let milliseconds = matmul ()
        line "matmul" (sprintf "512x512 in %.1f ms" milliseconds)

        {|
            libtorch = LibTorch.Version
            folder = LibTorch.Folder
            devices = [
                for d in Hardware.Devices() ->
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
