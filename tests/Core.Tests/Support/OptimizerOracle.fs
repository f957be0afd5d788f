/// Update rules taken for a few steps, by tensors and by plain arrays.
module Support.OptimizerOracle

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open Support.Arrays
open Support.Fixtures
open Support.Laws

let now step = { Progress.start 10 10 with Step = int64 step; StepInEpoch = step % 10; Epoch = step / 10 }

let vector values = tensor [ Array.length values ] values

/// Takes a step for each set of gradients, all in the shapes of their parameters; what these are after each.
let runShaped
    (shapes: Map<string, int list>)
    (rule: Transform)
    (start: Map<string, float[]>)
    (gradients: Map<string, float[]> list)
    =
    let tensors (values: Map<string, float[]>) : Parameters =
        values |> Map.map (fun name v -> tensor shapes[name] v)
    let parameters = tensors start

    ((parameters, rule.Init parameters, []), List.indexed gradients)
    ||> List.fold (fun (parameters, state, seen) (step, gradients) ->
        let updates, state = rule.Update (now step) (tensors gradients) parameters state
        let parameters = Transform.apply updates parameters
        parameters, state, (parameters |> Map.map (fun _ p -> floats p)) :: seen)
    |> fun (_, _, seen) -> List.rev seen

/// The same for vectors.
let run rule (start: Map<string, float[]>) gradients =
    runShaped (start |> Map.map (fun _ v -> [ v.Length ])) rule start gradients

/// One vector alone.
let runOne rule start gradients =
    run rule (Map [ "w", start ]) (gradients |> List.map (fun g -> Map [ "w", g ]))
    |> List.map (Map.find "w")

/// A start and some gradients.
let case (seed: int) =
    let source = Source seed
    let width = source.Whole(1, 4)
    let start = source.Normals width
    let gradients = List.init (source.Whole(1, 6)) (fun _ -> source.Normals width)
    source, start, gradients

/// The same steps by a rule on arrays: from (w, more) to the next w and to what the rule sees next.
let slowly rule start gradients =
    (start, List.indexed gradients)
    ||> List.mapFold (fun state (step, g) -> let w, state = rule state step g in w, (w, snd state))
    |> fst

let law name check = testProperty name (fun (seed: int) -> balanced (fun () -> check (case seed)))

let agree actual expected =
    close 1e-12 (Array.concat actual) (Array.concat expected) "parameters after each step"

let decaying = Named.create "falling" (fun (p: Progress) -> 0.5 / float (p.Step + 1L))
