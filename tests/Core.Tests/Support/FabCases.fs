/// What the laws of the fast adaptive boundary attack run over.
module Support.FabCases

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Attacks
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support.HyperplaneOracle
open Support

let brisk = { Fab.untargeted with Steps = 12 }
let forms = [ brisk; { brisk with Targets = Some 9 } ]
let again how : Fab = { how with Restarts = 3 }

// Runs are long: fewer cases than elsewhere.
let law name check =
    testPropertyN 15 name (fun (seed: int) (PositiveInt count) ->
        balanced (fun () -> check (scene seed count)))

let model (source: Source) classes pixels : Oracles.Linear = {
    Weights = source.Rows(classes, pixels)
    Offsets = source.Normals classes
}

// Images of a linear model with the labels that it gives them.
let plain (source: Source) (model: Oracles.Linear) shape =
    let images = noise source shape
    let y = rows images |> Array.map (model.Logits >> Oracles.argmax)
    victims (Array.init y.Length int64) images y, y

let drawOf (victims: AttackBatch) = Rng.create 1UL "a" victims.Ids

// Two pixels, three classes, curved borders.
let pair (source: Source) : Classifier =
    let w1, w2 = matrix (source.Rows(4, 2)) * 2.0, matrix (source.Rows(3, 4))
    let shift = tensor [ 4 ] (source.Normals 4)

    fun x ->
        Scope.tensor (fun () ->
            torch.nn.functional.linear (
                torch.nn.functional.linear(x.reshape [| x.shape[0]; -1L |], w1, shift).tanh(),
                w2
            ))

let cells = 100

// All points of a grid over the box of two pixels.
let grid =
    let at i = float i / float cells
    [|
        for i in 0..cells do
            for j in 0..cells do
                [| at i; at j |]
    |]
