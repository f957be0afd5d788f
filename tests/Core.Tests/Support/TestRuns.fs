/// Runs by the verbs, on a few images.
module Support.TestRuns

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Runs
open Support.Fixtures

/// A short run of a method on 24 images, in steps of 8.
let brief method = {
    PretrainConfig.defaults with
        Method = method
        Images = Some 24
        Network = Some "small"
        Width = Some 2
        Epochs = Some 3
        Batch = Some 8
        Precision = "float32"
        Seed = 11UL
}

let forever = CancellationToken.None

let told result = result |> Result.mapError (List.map Error.message)

/// The encoder's weights by their hashes; it is freed.
let weightsOf (encoder: Encoder) =
    use encoder = encoder
    hash (fst encoder.Weights), hash (snd encoder.Weights)

/// Trains to the end; the weights.
let pretrained folder watch c =
    Expect.wantOk (told (Workbench.pretrain folder watch forever c)) "trained" |> weightsOf

let interruption outcome =
    match outcome with
    | Error [ Error.Interrupted ] -> ()
    | other -> failtestf "an interruption was expected: %A" (other |> Result.map ignore)

/// The one error of a run that is refused.
let refusal outcome =
    match outcome with
    | Error [ error ] -> error
    | other -> failtestf "one error was expected: %A" (other |> Result.map ignore)

let path (parts: string list) = Path.Combine(Array.ofList parts)

/// What lies in a folder and below it.
let files folder =
    Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
    |> Array.map (fun file -> Path.GetRelativePath(folder, file).Replace('\\', '/'))
    |> Array.sort
    |> List.ofArray
