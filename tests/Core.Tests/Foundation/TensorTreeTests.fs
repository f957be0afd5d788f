/// Named values that outlive a step.
module Tests.Foundation.TensorTreeTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open Support.Arrays
open Support.Laws

// A tree of a few leaves of all kinds, some of them in folders.
let private make (seed: int) : TensorTree =
    let source = Source seed

    Map [
        for i in 0 .. source.Whole(0, 6) do
            let name = sprintf "%s%d" (if source.Whole(0, 1) = 0 then "" else "deep/er/") i

            name,
            match source.Whole(0, 3) with
            | 0 -> Leaf.Float(source.Normal())
            | 1 -> Leaf.Int(int64 (source.Whole(-5, 5)))
            | 2 -> Leaf.Tensor(single (tensor [ 2; 3 ] (source.Normals 6)))
            | _ -> Leaf.Tensor(tensor [ 4 ] (source.Normals 4))
    ]

[<Tests>]
let tests =
    testList "Foundation.TensorTree" [
        testProperty "what is put under a name stands there and nowhere else" (fun (seed: int) ->
            balanced (fun () ->
                let tree = make seed
                let under = TensorTree.under "name" tree
                Expect.equal
                    (TensorTree.hash (TensorTree.within "name" under))
                    (TensorTree.hash tree)
                    "within undoes under"
                Expect.isTrue
                    (Map.isEmpty (TensorTree.within "nam" under))
                    "a part of the name is another name"
                Expect.isTrue (Map.isEmpty (TensorTree.within "other" under)) "nothing elsewhere"
                Expect.equal under.Count tree.Count "nothing is lost"))

        testProperty "joining has a neutral element and is associative" (fun (a: int) (b: int) (c: int) ->
            balanced (fun () ->
                let a, b, c = make a, make b, make c
                let hash = TensorTree.hash
                Expect.equal (hash (TensorTree.join a Map.empty)) (hash a) "nothing on the right"
                Expect.equal (hash (TensorTree.join Map.empty a)) (hash a) "nothing on the left"
                Expect.equal
                    (hash (TensorTree.join (TensorTree.join a b) c))
                    (hash (TensorTree.join a (TensorTree.join b c)))
                    "grouping"
                let under = TensorTree.under "x"
                Expect.equal
                    (hash (under (TensorTree.join a b)))
                    (hash (TensorTree.join (under a) (under b)))
                    "folders"))

        test "where both have a name the second one's value stands" (fun () ->
            let joined =
                TensorTree.join (Map [ "a", Leaf.Int 1L; "b", Leaf.Int 1L ]) (Map [ "b", Leaf.Int 2L ])
            Expect.equal
                (TensorTree.hash joined)
                (TensorTree.hash (Map [ "a", Leaf.Int 1L; "b", Leaf.Int 2L ]))
                "values")

        testProperty "a copy is equal and shares nothing" (fun (seed: int) ->
            balanced (fun () ->
                let tree = make seed
                let before = TensorTree.hash tree
                let copy = TensorTree.copy tree
                Expect.equal (TensorTree.hash copy) before "equal"

                for x in TensorTree.tensors copy do
                    x.fill_ (7.0.ToScalar()) |> ignore

                Expect.equal (TensorTree.hash tree) before "the original is untouched"))

        test "a copy is attached to no gradient" (fun () ->
            let leaf = (torch.ones [| 2L |]).requires_grad_ true
            let copy = TensorTree.copy (Map [ "x", Leaf.Tensor(leaf * 2.0) ])
            Expect.all (TensorTree.tensors copy) (fun x -> not x.requires_grad) "copies")

        test "the empty tree has the hash of nothing" (fun () ->
            Expect.equal
                (TensorTree.hash Map.empty)
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                "SHA-256 of no bytes")

        test "the hash tells names, types, shapes, values and kinds apart" (fun () ->
            let values = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 |]
            let other = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 7.0 |]

            let hashes =
                [
                    Map [ "x", Leaf.Tensor values ]
                    Map [ "y", Leaf.Tensor values ]
                    Map [ "x", Leaf.Tensor(single values) ]
                    Map [ "x", Leaf.Tensor(values.reshape [| 3L; 2L |]) ]
                    Map [ "x", Leaf.Tensor other ]
                    Map [ "x", Leaf.Tensor(values.t ()) ]
                    Map [ "x", Leaf.Float 1.0 ]
                    Map [ "x", Leaf.Float 1.0000000000000002 ]
                    Map [ "x", Leaf.Int 2L ]
                    Map [ "x", Leaf.Int 2L; "y", Leaf.Int 2L ]
                ]
                |> List.map TensorTree.hash

            Expect.equal (List.distinct hashes) hashes "hashes")

        test "the hash is of values, not of their layout in memory" (fun () ->
            let values = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 |]
            let turned = values.t().contiguous().t()
            Expect.isFalse (turned.is_contiguous ()) "lies column by column"
            Expect.equal
                (TensorTree.hash (Map [ "x", Leaf.Tensor turned ]))
                (TensorTree.hash (Map [ "x", Leaf.Tensor values ]))
                "hash"
            Expect.equal (TensorTree.bytes turned) (TensorTree.bytes values) "bytes, row-major")

        test "tensors are told from numbers" (fun () ->
            let x = torch.ones [| 1L |]
            let tree: TensorTree = Map [ "a", Leaf.Float 1.0; "b", Leaf.Tensor x; "c", Leaf.Int 1L ]
            Expect.equal (List.ofSeq (Map.keys (TensorTree.toTensors tree))) [ "b" ] "names"
            Expect.isTrue
                (obj.ReferenceEquals(Seq.exactlyOne (TensorTree.tensors tree), x))
                "the tensor itself"
            Expect.equal
                (TensorTree.hash (TensorTree.ofTensors (Map [ "b", x ])))
                (TensorTree.hash (Map [ "b", Leaf.Tensor x ]))
                "as a tree")
    ]
