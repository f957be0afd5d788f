/// Nearest training images that vote.
module Tests.Evaluation.KnnTests

open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private classes = 3

let private law name (check: Source -> unit) =
    testPropertyN 30 name (fun (seed: int) -> balanced (fun () -> check (Source seed)))

// Features and labels of m training images, and features of n others.
let private drawn (source: Source) m n =
    let rows count = Array.init count (fun _ -> source.Normals 4)
    rows m, Array.init m (fun _ -> source.Whole(0, classes - 1)), rows n

let private labelled (labels: int[]) = torch.tensor (labels |> Array.map int64)

let private votes knn (bank: float[][]) labels (features: float[][]) =
    rows (Knn.votes knn classes (matrix bank) (labelled labels) (matrix features))

// The same by sorting.
let private slowly (knn: Knn) (bank: float[][]) (labels: int[]) (features: float[][]) =
    features
    |> Array.map (fun feature ->
        let voters =
            Array.map2 (fun row label -> cosine feature row, label) bank labels
            |> Array.sortDescending
            |> Array.truncate knn.Neighbours

        Array.init classes (fun k ->
            voters
            |> Array.sumBy (fun (alike, label) ->
                if label = k then exp ((alike - fst voters[0]) / knn.Temperature) else 0.0)))

[<Tests>]
let tests =
    testList "Evaluation.Knn" [
        law "votes are those of a sorted list" (fun source ->
            let bank, labels, features = drawn source 12 5

            for neighbours in [ 1; 4; 12 ] do
                let knn = { Neighbours = neighbours; Temperature = source.Uniform(0.05, 1.0) }
                let expected = slowly knn bank labels features
                relative 1e-9 (Array.concat (votes knn bank labels features)) (Array.concat expected) "votes")

        law "neither the order of the training images nor lengths matter" (fun source ->
            let bank, labels, features = drawn source 12 5
            let knn = { Neighbours = 5; Temperature = 0.1 }
            let longer = Array.map (times 7.0)

            close
                1e-9
                (Array.concat (votes knn (longer (Array.rev bank)) (Array.rev labels) (longer features)))
                (Array.concat (votes knn bank labels features))
                "votes")

        test "a training image alone is of its own class, at any temperature" (fun () ->
            let bank, labels, _ = drawn (Source 2) 12 0
            let guess temperature =
                votes { Neighbours = 12; Temperature = temperature } bank labels bank
                |> Array.map (fun votes -> Array.findIndex ((=) (Array.max votes)) votes)
            Expect.equal (guess 1e-6) labels "its own")

        test "votes are differentiable in the features" (fun () ->
            let bank, labels, features = drawn (Source 4) 12 1
            let knn = { Neighbours = 12; Temperature = 0.5 }
            // The share of the first class: what does not depend on the unit.
            let share (x: Tensor) =
                let votes = Knn.votes knn classes (matrix bank) (labelled labels) x
                votes.narrow(1L, 0L, 1L).sum() / votes.sum ()

            let x = (matrix features).requires_grad_ true
            let gradients = torch.autograd.grad (ResizeArray [ share x ], ResizeArray [ x ])
            let expected = slopes 1e-5 (fun values -> number (share (matrix [| values |]))) features[0]
            relative 1e-6 (floats (Seq.head gradients)) expected "gradient")

        test "more voters than images, or none, are refused" (fun () ->
            let bank, labels, features = drawn (Source 3) 6 2

            for neighbours in [ 0; 7 ] do
                refuses
                    [ "1 to 6"; string neighbours ]
                    (fun () ->
                        votes { Knn.usual with Neighbours = neighbours } bank labels features |> ignore)
                    "neighbours")

        test "what is asked for is read, and told with its temperature" (fun () ->
            let read text = Expect.wantOk (Knn.parse text) text |> Knn.text
            Expect.equal (read "200") "knn-200:0.1" "usual"
            Expect.equal (read "20:0.07") "knn-20:0.07" "both"

            for text in [ ""; "0"; "-1"; "many"; "5:0"; "5:-1"; "5:0,5"; "5:nan"; "5:1:1" ] do
                says [ "--knn"; "'" + text + "'"; "200:0.5" ] (wantError (Knn.parse text) text) text)

        test "an evaluation counts right votes of all training images" (fun () ->
            inFolder (fun folder ->
                writeFashion folder 60
                use encoder = pixels 784

                let asked: Evaluation = {
                    Evaluation.defaults with
                        Dataset = Some "fashion-mnist"
                        Data = Some folder
                        Attacks = [ "fgsm" ]
                        Images = Some 30
                        Knn = Some "5:0.2"
                }

                let run asked = Evaluation.run (fun _ _ -> ()) CancellationToken.None encoder asked
                let before = Autograd.liveTensors ()
                let measured = Expect.wantOk (run asked) "measured"
                Expect.equal (Autograd.liveTensors ()) before "nothing left"
                let names = measured.Accuracies |> List.map _.Name
                Expect.equal names [ "clean"; "knn-5:0.2"; "fgsm" ] "names"
                let voted = measured.Accuracies[1]

                use train = Expect.wantOk (DatasetRegistry.load "fashion-mnist" (Some folder) true) "train"
                use all = Expect.wantOk (DatasetRegistry.load "fashion-mnist" (Some folder) false) "test"
                use test = Dataset.sample 1UL 30 all
                let features (set: Dataset) count =
                    (set.Batch cpu [| 0L .. count - 1L |]).reshape [| count; 784L |]
                let votes =
                    Knn.votes
                        { Neighbours = 5; Temperature = 0.2 }
                        10
                        (features train train.Count)
                        train.Labels
                        (features test 30L)
                let right = (votes.argmax 1L).eq(test.Labels.narrow (0L, 0L, 30L))
                Expect.equal (voted.Correct, voted.Total) (int (number (right.sum ())), 30) "right votes"
                Expect.equal voted.Threat None "untouched"

                match run { asked with Knn = Some "61" } with
                | Error [ error ] -> says [ "--knn"; "60 training images" ] error "too many"
                | other -> failtestf "one error was expected: %A" other))
    ]
