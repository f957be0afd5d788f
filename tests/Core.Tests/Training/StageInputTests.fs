/// What a step is made from: networks of earlier stages, their images and labels, views of views.
module Tests.Training.StageInputTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestMethods
open Support

// A network of another width and another branch than those of the method.
let private teacher: Lazy<Network> = lazy (SmallNet.create 3L grey [ Branch "theirs"; Branch "others" ])

let private taught pass =
    own plainViews [ Pass.train "p" [ "v1" ] clean; pass ] (square "p" "v1")
    |> measuring (fun scene -> [ for v in floats (scene.Output pass.Name "v2").Features -> "f", v ])

let private run pass =
    let method = taught pass
    let weights = shaken (Source 3) (init 99UL teacher.Value)
    let weights = Map.map (fun _ -> single) (fst weights), Map.map (fun _ -> single) (snd weights)
    let model: Model = { Network = teacher.Value; Branch = Branch "theirs"; Weights = weights }
    let machine = { machine (tinyNet grey method) with Frozen = Map [ "teacher", model ] }
    let before = hash (fst weights), hash (snd weights)
    let outcome = TrainStep.run machine method everything (fresh machine method) (firstSix ())
    Expect.equal (hash (fst weights), hash (snd weights)) before "the frozen network stays"
    model, outcome, outcome.Measures |> List.map snd |> Array.ofList

let private view name source (view: View) = { Name = name; Source = source; Make = fun _ -> view }

// The pixels of each view of a method whose views are these.
let private pixels views batch =
    let mutable seen = Map.empty
    let names = views |> List.map (fun (v: ViewSpec) -> v.Name)
    let method = own plainViews [ Pass.train "p" names clean ] (square "p" names.Head)
    let method =
        { method with Step = { method.Step with Views = views } }
        |> measuring (fun scene ->
            seen <- Map [ for name in names -> name, floats (scene.Output "p" name).Features ]
            [])
    let machine = machine (glass 256)
    TrainStep.run machine method everything (fresh machine method) batch |> ignore
    seen

[<Tests>]
let tests =
    testList "Training.StageInput" [
        test "a frozen network looks by its own branch, whatever the pass names" (fun () ->
            let pass = Pass.eval "t" [ "v2" ] clean |> Pass.by (Frozen "teacher")
            let model, _, features = run pass
            let x = (firstSix ()).Images["image"]
            let by branch mode =
                let call = Call.create branch mode
                floats (fst (model.Network.Apply call (fst model.Weights) (snd model.Weights) x)).Features
            Expect.equal features.Length (6 * 12) "features of its own width"
            close 1e-6 features (by (Branch "theirs") Eval) "its branch, in eval mode"
            Expect.isGreaterThan (normInf (minus features (by (Branch "others") Eval))) 1e-3 "not another")

        test "a frozen network in train mode takes its batch's statistics and keeps none" (fun () ->
            let pass = Pass.train "t" [ "v2" ] clean |> Pass.by (Frozen "teacher")
            let model, outcome, features = run pass
            let x = (firstSix ()).Images["image"]
            let call = Call.create (Branch "theirs") Train
            let output, _ = model.Network.Apply call (fst model.Weights) (snd model.Weights) x
            close 1e-6 features (floats output.Features) "features"
            Expect.isFalse
                (outcome.Buffers.Keys |> Seq.exists (fun name -> name.Contains "theirs"))
                "no statistics of it")

        test "a view may be of a view above it" (fun () ->
            let batch = firstSix ()
            let crop, high = Crop.padded 4L, Frequency.highPass 3.0
            let views = [ view "org" "image" crop; view "h" "org" high; view "hh" "h" high ]
            let seen = pixels views batch
            let place name = Rng.create 5UL ("view/" + name) batch.Ids
            let x = batch.Images["image"]
            let org = crop.Run (place "org") x
            close 1e-6 seen["org"] (floats org) "of the image"
            let h = high.Run (place "h") org
            close 1e-6 seen["h"] (floats h) "of the view"
            close 1e-6 seen["hh"] (floats (high.Run (place "hh") h)) "of the view of a view"
            Expect.isGreaterThan
                (normInf (minus seen["h"] (floats (high.Run (place "h") x))))
                0.01
                "not of the image")

        test "every view of a view has draws of its own" (fun () ->
            let crop = Crop.randomResized 0.3
            let seen = pixels [ view "a" "image" crop; view "b" "image" crop ] (firstSix ())
            Expect.isGreaterThan (normInf (minus seen["a"] seen["b"])) 0.05 "two views of an image")

        test "a view goes before images of its name" (fun () ->
            let batch = firstSix ()
            let black = batch.Images["image"] * 0.0
            let batch = { batch with Images = Map.add "org" black batch.Images }
            let v = view "v" "org" View.identity
            let both, stage = pixels [ view "org" "image" View.identity; v ] batch, pixels [ v ] batch
            close 1e-7 both["v"] (floats batch.Images["image"]) "the view"
            close 1e-7 stage["v"] (floats black) "the images")

        test "a data set of one image cannot be trained on" (fun () ->
            use data = SmallMethods.middles 1
            let c = { SmallMethods.sizes with Batch = Some 2 }
            let training = TrainingSetup.training c SimClr.method Precision.Float32 cpu data Map.empty
            says [ "compares images"; "'sample' has 1" ] (wantError training "one image") "sentence")

        test "a loss sees the labels of earlier stages" (fun () ->
            let mutable seen = [||]
            let loss: Loss =
                fun scene ->
                    seen <- wholes (scene.Labels "pseudo-3")
                    square "p" "v1" scene
            let method = own plainViews [ Pass.train "p" [ "v1" ] clean ] loss |> updating (adam 1e-3)
            use data = SmallMethods.middles 12
            let clusters: Tensor = torch.tensor [| for i in 0L .. 11L -> 100L + i |]

            let t: Trainer = {
                Machine = machine (glass 256)
                Method = method
                Dataset = data
                Labels = Map [ "pseudo-3", clusters ]
                Images = Map [ "made", data.Images ]
                Batch = 4
                Epochs = 1
            }

            let batch = Trainer.nextBatch t (Progress.start 3 1)
            Expect.equal (Seq.toList batch.Labels.Keys) [ "class"; "pseudo-3" ] "labels"
            Expect.equal
                (bits batch.Images["made"])
                (bits batch.Images["image"])
                "images as bytes, in [0, 1]"
            TrainStep.run t.Machine method everything (fresh t.Machine method) batch |> ignore
            Expect.equal seen (batch.Ids |> Array.map (fun id -> 100L + id)) "of the same rows")
    ]
