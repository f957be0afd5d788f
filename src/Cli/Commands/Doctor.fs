namespace AdvContrast.Cli.Commands

open System.Diagnostics
open AdvContrast.Cli
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Engine
open Argu
open FsToolkit.ErrorHandling
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

    // The convolutions of usual networks, checked in both precisions.
    let private kernels () =
        let branch = Branch "clean"

        [
            for name, shape in [ "small", [| 1L; 1L; 28L; 28L |]; "resnet18", [| 1L; 3L; 32L; 32L |] ] do
                let channels = shape[1]
                let constant value = List.replicate (int channels) value
                let input = { Channels = channels; Mean = constant 0.0; Std = constant 1.0; Classes = 10 }

                match ModelRegistry.find name None with
                | Ok build ->
                    for isLow in [ false; true ] do
                        yield! KernelCheck.casesOf (build input [ branch ]) branch isLow true shape
                | Error _ -> ()
        ]
        |> KernelCheck.check
        |> Result.map (
            List.choose (fun (case, verdict) ->
                match verdict with
                | KernelVerdict.Sound -> None
                | KernelVerdict.Replaced problem -> Some(KernelCheck.describe case, problem))
        )

    let run (arguments: ParseResults<DoctorArguments>) : Result<unit, Error list> = result {
        let file = arguments.TryGetResult DoctorArguments.Json
        do! Json.check (arguments.Contains DoctorArguments.Overwrite) file |> Result.mapError List.singleton
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

        let! replaced = kernels () |> Result.mapError List.singleton

        if replaced.IsEmpty then
            line "kernels" "the convolutions of small and resnet18 agree with float64 and repeat"

        for case, problem in replaced do
            line "kernels" (sprintf "%s: %s; a product of matrices is used instead" case problem)

        let json = {|
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
            replacedKernels = [ for case, problem in replaced -> {| case = case; problem = problem |} ]
        |}

        do! Json.write file json |> Result.mapError List.singleton
    }
