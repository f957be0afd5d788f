namespace AdvContrast.Cli.Commands

open System.Diagnostics
open AdvContrast.Cli
open AdvContrast.Core
open AdvContrast.Torch.Engine
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

    let run () : Result<unit, Error list> =
        let engine = TorchEngine.Current
        let torch' = engine.LibTorch
        let line (name: string) value = Terminal.line (sprintf "%-12s %s" name value)
        line "libtorch" (sprintf "%s at %s (found: %s)" torch'.Version torch'.Path torch'.Found)
        line "binding" engine.Source

        for device in engine.Devices() do
            line "device" (string device)

        line "threads" (string (torch.get_num_threads ()))
        line "autocast" (if engine.HasAutocast then "yes" else "no")
        let milliseconds = matmul ()
        line "matmul" (sprintf "512x512 in %.1f ms" milliseconds)

        if milliseconds > 20.0 then
            Terminal.line "This BLAS is slow. On Debian: apt-get install libopenblas0-pthread"

        Ok()
