// Pre-trains a small robust encoder on the embedded images, then attacks it: dotnet fsi samples/pretrain.fsx
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"

open System.Threading
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation

let configuration = {
    PretrainConfig.defaults with
        Method = "acl-ds"
        Network = Some "small"
        Images = Some 1000
        Epochs = Some 2
        Batch = Some 250
        Optimizer = Some "adam"
        Threat = Some "linf:0.1"
}

let evaluation = { Evaluation.defaults with Attacks = [ "fgsm"; "pgd-20:0.125" ] }
let report (event: Event) = printfn "step %d: loss %.3f" event.At.Step event.Loss

let outcome =
    Workbench.pretrain None report CancellationToken.None configuration
    |> Result.bind (fun encoder ->
        use encoder = encoder
        Workbench.evaluate (fun _ _ -> ()) CancellationToken.None encoder evaluation)

match outcome with
| Ok measured ->
    for accuracy in measured.Accuracies do
        printfn "%-12s %.1f %%" accuracy.Name (100.0 * accuracy.Fraction)
| Error errors -> errors |> List.iter (Error.message >> eprintfn "%s")
