/// Functions to climb, and ascents to climb them with.
module Support.Objectives

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open Support.Arrays
open Support.Fixtures
open Support.Laws

let perSample (x: Tensor) = x.reshape([| x.shape[0]; -1L |]).sum(1L)

// One linear function a sample, and a bumpy one.
let linear (w: Tensor) : Objective = fun x -> perSample (x * w)
let bumpy (w: Tensor) : Objective = fun x -> perSample ((x * w * 7.0).sin() + x * 0.3)

[<NoEquality; NoComparison>]
type LossContext = { Threat: Threat; Ascent: GradientAttack; Origin: Tensor; Slopes: Tensor; Draw: Rng }

let starts = [ AtInput; Uniform true; Uniform false; Sphere; Gaussian 0.2 ]

let scene (seed: int) (count: int) =
    let source = Source seed
    let shape = [ 1 + count % 4; source.Whole(1, 2); 2; source.Whole(1, 3) ]
    let size = List.reduce (*) shape
    let pixels = source.Uniforms(size, -0.2, 1.2) |> Array.map (fun v -> min 1.0 (max 0.0 v))

    {
        Threat = Threat.create (source.Among [ Linf; L2; L1 ]) (source.Uniform(0.01, 0.8))
        Ascent = {
            GradientAttack.pgd (source.Uniform(0.05, 0.7)) (source.Whole(0, 6)) with
                Start = source.Among starts
                Keep = if source.Whole(0, 1) = 0 then Last else Best
        }
        Origin = tensor shape pixels
        Slopes = tensor shape (source.Normals size)
        Draw =
            Rng.create (uint64 (abs (int64 seed))) "attack" (Array.init shape[0] (fun i -> int64 (3 * i + 1)))
    }

let law name check =
    testProperty name (fun (seed: int) (PositiveInt count) -> balanced (fun () -> check (scene seed count)))

let ascend s = GradientAttackLoop.ascend s.Draw s.Threat s.Ascent
let start s = GradientAttackLoop.start s.Threat s.Ascent s.Draw s.Origin
let moved s x = Array.map2 minus (rows x) (rows s.Origin)

// Goes up from a given point by the template's parts, and gives the last point.
let climb threat ascent objective origin x0 =
    let look x =
        let value, gradient = GradientAttackLoop.look true objective x
        value, Option.get gradient

    let first = GradientAttackLoop.first origin x0 (look x0)

    let last =
        (first, [ 2 .. ascent.Steps ])
        ||> List.fold (fun now _ ->
            let x, memory = GradientAttackLoop.next threat ascent now
            GradientAttackLoop.advance now x memory (look x))

    fst (GradientAttackLoop.next threat ascent last)
