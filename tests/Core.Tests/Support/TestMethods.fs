/// Methods of the tests' own, and a step of theirs on a few images.
module Support.TestMethods

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open Support.Arrays
open Support.Fixtures
open Support.Laws

let everything (_: string) = true

/// A network's parameter, or running statistic, by its name.
let weight name (parameters: Parameters, _: Buffers) = parameters[name]
let statistic name (_: Parameters, buffers: Buffers) = buffers[name]

// Methods whose steps are small: those that train networks are proved elsewhere, one by one.
let methods =
    [
        SimClr.method
        Acl.standard
        Acl.adversarialToAdversarial
        Acl.adversarialToStandard
        Acl.dualStream
    ]
    |> List.map (fun m -> m.Name, m)

/// The first images of the sample, cut to 16 by 16 so that a step takes little.
let images n (ids: int64[]) : Batch =
    use data = sample true n
    let batch = batchOf data ids
    {
        batch with
            Images =
                batch.Images |> Map.map (fun _ x -> x.narrow(2L, 6L, 16L).narrow(3L, 6L, 16L).contiguous())
    }

let firstSix () = images 6 [| 0L .. 5L |]

/// The bytes of an outcome: all of it.
let print (o: TrainStep.Outcome) =
    o.Loss, o.Measures, hash o.Gradients, hash o.Buffers, TensorTree.hash o.Memory

let moved (before: Buffers) (after: Buffers) =
    before.Keys
    |> Seq.filter (fun name -> bits before[name] <> bits after[name])
    |> Seq.map Branch.ofName
    |> Seq.distinct
    |> List.ofSeq

// A method of the test's own: views as they are, and a loss of what the passes gave.
let own views passes loss : Method = {
    SimClr.method with
        Branches = [ clean; adv ]
        Head = Named.create "none" id
        Step = Step.create (Step.views views) passes "" loss
}

let withAdversary makes passes objective (method: Method) =
    let adversary = {
        Makes = makes
        Threat = Threat.create Linf 0.1
        Ascent = GradientAttack.pgd 0.3 4
        Passes = passes
        Objective = objective
        Leaks = false
    }

    { method with Step = { method.Step with Adversaries = method.Step.Adversaries @ [ adversary ] } }

let measuring (measures: LossContext -> (string * float) list) (method: Method) = {
    method with
        Step = { method.Step with Measures = measures }
}

let plainViews = [ "v1", View.identity; "v2", View.identity ]
let embedding = LossContext.embedding
let square pass view : Loss = fun scene -> (embedding pass view scene).square().mean()

// Runs a method of the test's own with the small net, and gives what it started from as well.
let runTiny (method: Method) =
    let machine = machine (tinyNet grey method)
    let state = fresh machine method
    state, TrainStep.run machine method everything state (firstSix ())

// A step's loss in float64 on a small double net, as a function of the state.
let doubled (method: Method) =
    let source = Source 8
    let network = tinyNet grey method
    let machine = machine network
    let begun = fresh machine method
    let state = { begun with Online = shaken source begun.Online }
    let method = method |> measuring (fun scene -> [ "loss", number (method.Step.Loss scene) ])
    let batch = {
        firstSix () with
            Images = Map [ "image", noise source [ 4; 1; 12; 12 ] ]
            Ids = [| 3L; 1L; 4L; 9L |]
    }
    machine, method, state, batch
