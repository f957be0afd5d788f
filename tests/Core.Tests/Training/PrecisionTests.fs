/// Training in bfloat16: as strong attacks, as good losses, no memory that grows.
module Tests.Training.PrecisionTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.SmallMethods

// What a method's adversary reaches when it computes in some precision, scored in float32.
let private reached precision (t: Trainer) =
    let adversary = t.Method.Step.Adversaries.Head

    let passes =
        adversary.Passes
        |> List.map (fun pass -> {
            pass with
                Learn = true
                Keep = false
                Call = { pass.Call with Mixed = false }
        })

    let step = { t.Method.Step with Passes = passes; Loss = adversary.Objective; Measures = fun _ -> [] }

    let state = inScope (Trainer.start t)
    let machine = { t.Machine with Precision = precision }
    let method = { t.Method with Step = step }

    [ 0L .. 4L ]
    |> List.averageBy (fun step ->
        let state = { state with Progress = { state.Progress with Step = step } }
        let batch = Trainer.nextBatch t state.Progress
        (TrainStep.run machine method (fun name -> name = "conv1.weight") state batch).Loss)

let private precisions = [ Precision.Plain; Precision.Float32; Precision.BFloat16 ]

// Tensors that live after each step.
let private living count precision (method: Method) =
    trying method (fun t ->
        let t = { t with Machine = { t.Machine with Precision = precision }; Epochs = 1000 }

        Trainer.events t (fun () -> Trainer.start t)
        |> Seq.truncate count
        |> Seq.map (fun step ->
            Expect.isOk step "a step"
            Autograd.liveTensors ())
        |> List.ofSeq)

let private flat count () =
    for method in [ Acl.dualStream; Clae.method ] do
        for precision in precisions do
            let living = living count precision method
            // The first step brings the branches' statistics and the optimiser's state into being.
            Expect.allEqual (List.skip 1 living) living[1] (sprintf "%s, %O" method.Name precision)

// With convolutions of many channels on few pixels, which attacks in bfloat16 compute in their own way.
let private ofResNet precision seed data =
    let c = {
        sizes with
            Network = Some "resnet18"
            Width = Some 16
            Batch = Some 32
            Epochs = Some 25
            Seed = seed
    }

    Expect.wantOk
        (TrainingSetup.training c (updating (adam 1e-3) Acl.dualStream) precision cpu data Map.empty)
        "a training"

// The mean loss of the last 50 of 200 steps.
let private late precision seed =
    use data = middles 256
    let t = ofResNet precision seed data

    Trainer.events t (fun () -> Trainer.start t)
    |> Seq.map (fun step -> (Expect.wantOk step "a step").Loss)
    |> Seq.truncate 200
    |> Seq.skip 150
    |> Seq.average

// Whether bfloat16 reaches what float32 does, to 1 %.
let private isAsStrong t =
    let full, low = reached Precision.Float32 t, reached Precision.BFloat16 t
    Expect.notEqual low full "the precision matters"
    close (0.01 * abs full) [| low |] [| full |] "objective"

// The step of a method, which fails where a loss sees or gives a tensor of fewer bits than float32.
let private inFloat32 (method: Method) =
    let check (what: string) (x: Tensor) =
        Expect.isTrue
            (not (x.is_floating_point ()) || x.element_size () >= 4L)
            (sprintf "%s: %s is %O" method.Name what x.dtype)

    let seen (scene: LossContext) = {
        scene with
            Output =
                fun pass view ->
                    let output = scene.Output pass view
                    Output.tensors output |> Seq.iter (check (sprintf "output of '%s' for '%s'" pass view))
                    output
    }

    let watched what (loss: Loss) : Loss =
        fun scene ->
            let value = loss (seen scene)
            check what value
            value

    let step = method.Step
    let adversaries =
        step.Adversaries |> List.map (fun a -> { a with Objective = watched "objective" a.Objective })
    let measures scene = step.Measures(seen scene)

    {
        method with
            Step = {
                step with
                    Loss = watched "loss" step.Loss
                    Adversaries = adversaries
                    Measures = measures
            }
            Memory = { method.Memory with After = fun scene -> method.Memory.After(seen scene) }
    }

[<Tests>]
let tests =
    testList "Training.Precision" [
        testList "in bfloat16 every loss, objective and memory of a method computes in float32" [
            for method in MethodRegistry.methods @ MethodRegistry.asPublished do
                test method.Name (fun () ->
                    trying (inFloat32 (small method)) (fun t ->
                        let t = { t with Machine = { t.Machine with Precision = Precision.BFloat16 } }
                        let isMixed = t.Method.Step.Passes |> List.exists _.Call.Mixed
                        Expect.isTrue isMixed "a pass in bfloat16"
                        let event =
                            Trainer.events t (fun () -> Trainer.start t)
                            |> Seq.head
                            |> fun e -> Expect.wantOk e "a step"
                        Expect.isTrue (System.Double.IsFinite event.Loss) "a loss"))
        ]

        for method in [ Acl.dualStream; Acl.adversarialToStandard; Clae.method ] do
            test
                (method.Name + ": an attack in bfloat16 reaches what it reaches in float32, to 1 %")
                (fun () -> trying method isAsStrong)

        test "and so it does on a ResNet" (fun () ->
            use data = middles 256
            isAsStrong (ofResNet Precision.Float32 1UL data))

        testCase "50 steps leave no more tensors than two" (flat 50)

        testLong "1,000 steps leave no more tensors than two" (flat 1000)

        testLong "200 steps in bfloat16 end where float32 does, within two standard deviations" (fun () ->
            let full = [| for seed in 1UL .. 3UL -> late Precision.Float32 seed |]
            let low = late Precision.BFloat16 1UL
            let deviation = sqrt (variance full * 3.0 / 2.0)
            Expect.isGreaterThan deviation 0.0 "seeds differ"
            Expect.isLessThan (abs (low - mean full)) (2.0 * deviation) (sprintf "%g of %A" low full))
    ]
