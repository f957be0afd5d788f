// A user-defined method: an adversarial view as inferior positive of two clean ones, with hard negatives.
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"

open System.Threading
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Losses
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs

let clean, adv = Branch "clean", Branch "adv"

let loss (pass: string) : Loss =
    fun scene ->
        let embedding (pass, view) = LossContext.embedding pass view scene
        let negatives = Hard(HardNegatives.create 1.0 0.1)

        List.map embedding [ pass, "a"; "clean", "v1"; "clean", "v2" ]
        |> AdvClLoss.asymmetric 0.5 { Pull = 0.3; Weight = 1.0 } (Similarity.cosine 0.5) negatives

let still = Pass.eval "clean" [ "v1"; "v2" ] clean
let attack = Acl.attack [ ("a", "v1") ] [ Pass.eval "moved" [ "a" ] adv; still ] (loss "moved")
let passes = [ Pass.train "clean" [ "v1"; "v2" ] clean; Pass.train "adv" [ "a" ] adv ]
let step = Step.create (SimClr.twoViews (Acl.views 1.0)) passes "IP + HN of (a, x1, x2)" (loss "adv")

let method = { Acl.dualStream with Name = "inferior-hard"; Step = { step with Adversaries = [ attack ] } }

let sizes = { PretrainConfig.defaults with Network = Some "small"; Images = Some 1000; Epochs = Some 2 }
let configuration = { sizes with Batch = Some 250; Optimizer = Some "adam"; Threat = Some "linf:0.1" }
let report (event: Event) = printfn "step %d: loss %.3f" event.At.Step event.Loss

match Workbench.train None report CancellationToken.None configuration method with
| Ok encoder -> using encoder (fun _ -> printfn "%s" (MethodCard.text method))
| Error errors -> errors |> List.iter (Error.message >> eprintfn "%s")
