// A method of one's own from the library's parts, trained: an attacked view as inferior positive of two clean
// ones, over hard negatives.
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"

open System.Threading
open AdvContrast.Core

let clean, adv = Branch "clean", Branch "adv"

let loss (pass: string) : Loss =
    fun scene ->
        [ for pass, view in [ pass, "a"; "clean", "v1"; "clean", "v2" ] -> Scene.embedding pass view scene ]
        |> ManyViews.asymmetric
            0.5
            { Pull = 0.3; Weight = 1.0 }
            (Similarity.cosine 0.5)
            (Hard(HardNegatives.create 1.0 0.1))

let still = Pass.eval "clean" [ "v1"; "v2" ] clean
let attack = Acl.attack [ ("a", "v1") ] [ Pass.eval "moved" [ "a" ] adv; still ] (loss "moved")
let passes = [ Pass.train "clean" [ "v1"; "v2" ] clean; Pass.train "adv" [ "a" ] adv ]
let step = Step.create (SimClr.twoViews (Acl.views 1.0)) passes "IP + HN of (a, x1, x2)" (loss "adv")


let method = { Acl.dualStream with Name = "inferior-hard"; Step = { step with Adversaries = [ attack ] } }

let sizes = { Configuration.defaults with Network = Some "small"; Images = Some 1000; Epochs = Some 2 }
let configuration = { sizes with Batch = Some 250; Optimizer = Some "adam"; Threat = Some "linf:0.1" }
let report (event: Event) = printfn "step %d: loss %.3f" event.At.Step event.Loss

match Workbench.train None report CancellationToken.None configuration method with
| Ok encoder -> using encoder (fun _ -> printfn "%s" (Card.text method))
| Error errors -> errors |> List.iter (Error.message >> eprintfn "%s")
