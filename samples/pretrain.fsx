// Pre-trains a small robust encoder on the embedded images, then attacks it: dotnet fsi samples/pretrain.fsx
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Torch.dll"
#r "AdvContrast.Core.dll"
#r "FsToolkit.ErrorHandling.dll"

open System.Threading
open AdvContrast.Core
open FsToolkit.ErrorHandling

let configuration = {
    Configuration.defaults with
        Method = "acl-ds"
        Network = Some "small"
        Images = Some 1000
        Epochs = Some 2
        Batch = Some 250
        Optimizer = Some "adam"
        Threat = Some "linf:0.1"
}

let outcome = result {
    let report (event: Event) = printfn "step %d: loss %.3f" event.At.Step event.Loss
    use! encoder = Workbench.pretrain None report CancellationToken.None configuration
    use! train = Catalogue.load "sample" None true |> Result.mapError List.singleton
    use! test = Catalogue.load "sample" None false |> Result.mapError List.singleton
    use head = Workbench.probe LinearProbe.quick encoder train
    let attacks = [ "FGSM", Attack.fgsm; "PGD-20", Attack.pgd 0.125 20 ]

    for measured in Workbench.evaluate attacks 1UL (Threat.create Linf 0.1) (fun _ _ -> ()) encoder head test do
        printfn "%-6s %.1f %%" measured.Name (100.0 * measured.Fraction)
}

outcome |> Result.mapError (List.iter (Error.message >> eprintfn "%s")) |> ignore
