namespace AdvContrast.Cli.Commands

open System.IO
open AdvContrast.Cli
open AdvContrast.Core.Foundation
open AdvContrast.Core.Runs
open Argu
open FsToolkit.ErrorHandling

[<RequireQualifiedAccess>]
module Export =

    let private save (arguments: ParseResults<ExportArguments>) = result {
        let out = arguments.GetResult ExportArguments.Out
        do! OutputFile.check ".safetensors" (arguments.Contains ExportArguments.Overwrite) out
        let! device = arguments.GetResult(ExportArguments.Device, "cpu") |> PretrainConfig.device
        let! encoder = Weights.ofRun (Some device) (arguments.GetResult ExportArguments.From)
        use encoder = encoder
        do! Encoder.save out encoder
        let size = float (FileInfo out).Length / 1024.0
        Terminal.line (sprintf "%s: the encoder alone, %.0f KiB" out size)
    }

    let run arguments : Result<unit, Error list> = save arguments |> Result.mapError List.singleton
