/// Every method in small: a few images of 16 by 16, a narrow net, heads of few channels, and the stages before
/// it run in the same way for a few steps.
module Support.SmallMethods

open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws

/// The first images of the sample, the middle of each.
let middles (count: int) : Dataset =
    use whole = sample true count
    let bytes =
        Scope.value (fun () -> TensorTree.bytes (whole.Images.narrow(2L, 6L, 16L).narrow(3L, 6L, 16L)))
    let labels = wholes whole.Labels |> Array.map byte
    Dataset.ofBytes "sample" bytes [| int64 count; 1L; 16L; 16L |] labels 10 whole.Mean whole.Std

/// The same in three channels, which differ.
let coloured (count: int) : Dataset =
    use grey = middles count
    let bytes =
        Scope.value (fun () ->
            TensorTree.bytes (
                torch.cat ([| grey.Images; grey.Images.flip 2L; grey.Images.bitwise_not () |], 1L)
            ))
    let labels = wholes grey.Labels |> Array.map byte
    let three value = List.replicate 3 value
    Dataset.ofBytes "sample" bytes [| int64 count; 3L; 16L; 16L |] labels 10 (three 0.3) (three 0.35)

/// What is small about it.
let sizes = {
    PretrainConfig.defaults with
        Network = Some "small"
        Width = Some 4
        Batch = Some 8
        Epochs = Some 10
        Precision = "float32"
        Seed = 5UL
}

// The method without what its paper or its code adds to the name.
let private plain (m: Method) = m.Name.Replace("clae-", "").Replace(":as-published", "")

/// A method's head with fewer channels, where it has thousands of them; its layers are the same.
let narrowHead (m: Method) =
    match plain m with
    | "byol" -> Head.both (Head.expander m.Branches 1 32L 16L false) (Head.predictor m.Branches 32L)
    | "simsiam" -> Head.both (Head.expander m.Branches 2 32L 32L true) (Head.predictor m.Branches 8L)
    | "barlow-twins"
    | "vicreg" -> Head.expander m.Branches 2 32L 32L false
    | "robust-emp-ssl"
    | "cf-amc-ssl" -> Head.both (Head.prefeature m.Branches 32L) (Head.expander m.Branches 1 32L 16L false)
    | _ -> m.Head

/// The method with fewer crops, keys and channels, averages that follow within a few steps, and coresets that
/// are chosen at once.
let narrow (m: Method) =
    let averages = m.Averages |> List.map (fun a -> { a with Decay = Schedule.constant 0.8 })
    let m = { m with Head = narrowHead m; Averages = averages }

    match m.Name with
    | "robust-emp-ssl" -> { m with Step = (ManyCrops.attackedCrops 4 false).Step }
    | "robust-emp-ssl:as-published" -> { m with Step = (ManyCrops.attackedCrops 4 true).Step }
    | "cf-amc-ssl"
    | "cf-amc-ssl:as-published" -> { m with Step = (ManyCrops.free 4 (Schedule.constant 0.3)).Step }
    | "moco-v2"
    | "clae-moco-v2" -> { m with Memory = (MoCo.create 64).Memory }
    | "acl-rcs" -> { m with Sampling = Chosen(Rcs.coreset m.Step 1 1 0.5) }
    | _ -> m

/// The same, by Adam.
let small (m: Method) = narrow m |> updating (adam 1e-2)

/// A state's tensors as the current scope's.
let inScope (state: State) =
    let copy = State.toTree state |> TensorTree.copy |> State.ofTree
    State.dispose state
    copy

let private steps t from = Trainer.events t from |> Seq.map (fun e -> Expect.wantOk e "a step")

/// Makes some steps from a state, and gives the state after them, which is the caller's.
let advance count t from : State =
    steps t from
    |> Seq.indexed
    |> Seq.pick (fun (i, event) -> if i = count - 1 then Some(event.Snapshot()) else None)

/// The hash of the state, and the loss, after each of some steps.
let trace count t from = [
    for event in Seq.truncate count (steps t from) do
        let state = event.Snapshot()
        TensorTree.hash (State.toTree state), event.Loss
        State.dispose state
]

// --- the stages before a method

let private toTraining data made (m: Method) =
    Expect.wantOk (TrainingSetup.training sizes m Precision.Float32 cpu data made) m.Name

let private fitted data made m =
    let t = toTraining data made (small m)
    let state = inScope (advance 4 t (fun () -> Trainer.start t))

    Trained {
        Network = t.Machine.Network
        Branch = snd t.Method.Deploy
        Weights = State.deployed (fst t.Method.Deploy) state
    }

let private bring (data: Dataset) made stage =
    let artifact =
        match stage with
        | Stage.External _ -> fitted data made SimClr.method
        | Stage.Train(_, m) -> fitted data made m
        | Stage.Compute(_, work) ->
            work.Run {
                Count = int data.Count
                Device = cpu
                Images = data.Batch cpu
                Classes = data.LabelsOf cpu
                Seed = sizes.Seed
                Made = made
                Report = ignore
            }

    Map.add (Stage.name stage) artifact made

/// Hands the training of a method on some images to the body, after its stages; all of it belongs to the current scope.
let tryingOn (data: Dataset) (m: Method) (body: Trainer -> 'a) : 'a =
    body (toTraining data (List.fold (bring data) Map.empty m.Before) m)

/// The same on the first images of the sample.
let tryingAsIs count (m: Method) (body: Trainer -> 'a) : 'a =
    use data = middles count
    tryingOn data m body

/// The same of a method in small, on 24 images.
let trying m look = tryingAsIs 24 (small m) look

/// A test of a method in small.
let trial (m: Method) what look = test (m.Name + ": " + what) (fun () -> trying m look)
