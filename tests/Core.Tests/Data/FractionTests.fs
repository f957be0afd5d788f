/// Label fractions and splits: the same for a seed, of every class alike, the smaller within the larger.
module Tests.Data.FractionTests

open Expecto
open FsCheck
open AdvContrast.Core.Data
open AdvContrast.Testing
open Support.Arrays
open Support.Laws

// A data set whose images tell their rows, with labels drawn unevenly from four classes.
let private uneven (seed: int) n =
    let source = Source seed
    let labels = Array.init n (fun i -> if i < 4 then byte i else byte (min 3 (source.Whole(0, 6))))
    let pixels = Array.init (2 * n) (fun i -> byte (if i % 2 = 0 then i / 2 % 256 else i / 512))
    Dataset.ofBytes "uneven" pixels [| int64 n; 1L; 1L; 2L |] labels 4 [ 0.5 ] [ 0.5 ]

[<Tests>]
let tests =
    testList "Data.Fraction" [
        testPropertyN
            60
            "of every class there is the nearest whole number, at least one"
            (fun (seed: int) (PositiveInt n) (PositiveInt part) ->
                balanced (fun () ->
                    use set = uneven seed (20 + n % 300)
                    let share = float (1 + part % 100) / 100.0
                    let rows, rest = Dataset.fractionRows 7UL share set
                    let labels = wholes set.Labels
                    let all = Array.append rows rest
                    Expect.equal (Array.sort all) [| 0L .. set.Count - 1L |] "each row once"
                    Expect.equal (Array.sort rows) rows "in order"

                    for label, own in Array.indexed labels |> Array.groupBy snd do
                        let taken =
                            rows |> Array.filter (fun row -> labels[int row] = label) |> Array.length
                        let expected = max 1 (int (round (share * float own.Length)))
                        Expect.equal taken expected (sprintf "class %d" label)))

        testPropertyN
            60
            "a smaller share lies within a larger one"
            (fun (seed: uint64) (PositiveInt a) (PositiveInt b) ->
                balanced (fun () ->
                    use set = uneven 3 200
                    let few, many = min (a % 101) (b % 101), max (a % 101) (b % 101)
                    let rows percent =
                        Dataset.fractionRows seed (float percent / 100.0) set |> fst |> Set.ofArray
                    Expect.isTrue (Set.isSubset (rows few) (rows many)) "within"))

        test "the seed alone decides" (fun () ->
            use set = uneven 4 300
            let rows seed = fst (Dataset.fractionRows seed 0.1 set)
            Expect.equal (rows 1UL) (rows 1UL) "the same"
            Expect.notEqual (rows 1UL) (rows 2UL) "another"
            // Rows of a share that is fixed for good: other machines and later versions must draw the same.
            Expect.equal (rows 1UL |> Array.truncate 6) [| 4L; 10L; 11L; 54L; 59L; 63L |] "as ever")

        test "a split is the share and the rest, as data sets of their own" (fun () ->
            use set = uneven 5 100
            let part, rest = Dataset.split 9UL 0.25 set
            use part = part
            use rest = rest
            use again = Dataset.fraction 9UL 0.25 set
            Expect.equal (bits part.Images) (bits again.Images) "a fraction is the first part of the split"
            let images (d: Dataset) = rows d.Images |> List.ofArray
            Expect.equal
                (List.sort (images part @ images rest))
                (List.sort (images set))
                "nothing lost, nothing twice"
            let labelOf = List.zip (images set) (wholes set.Labels |> List.ofArray) |> Map.ofList
            Expect.equal
                (images part |> List.map (fun x -> labelOf[x]))
                (wholes part.Labels |> List.ofArray)
                "labels")

        test "images without labels are one class" (fun () ->
            let images =
                TorchSharp.torch.zeros ([| 40L; 1L; 1L; 1L |], System.Nullable TorchSharp.torch.uint8)
            use set = Dataset.create "bare" images None 10 [ 0.5 ] [ 0.5 ]
            Expect.hasLength (fst (Dataset.fractionRows 1UL 0.1 set)) 4 "a tenth")

        test "nothing and everything are shares too, and what is no share is refused" (fun () ->
            use set = uneven 6 50
            Expect.isEmpty (fst (Dataset.fractionRows 1UL 0.0 set)) "nothing"
            Expect.isEmpty (snd (Dataset.fractionRows 1UL 1.0 set)) "everything"

            for share in [ -0.1; 1.1; nan ] do
                refuses
                    [ "share"; "0 to 1" ]
                    (fun () -> Dataset.fractionRows 1UL share set |> ignore)
                    "share")
    ]
