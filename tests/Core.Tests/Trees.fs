/// Named values that outlive a step.
module Trees

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open Arrays
open Laws

// A tree of a few leaves of all kinds, some of them in folders.
let private make (seed: int) : Tree =
    let source = Source seed

    Map [
        for i in 0 .. source.Whole(0, 6) do
            let name = sprintf "%s%d" (if source.Whole(0, 1) = 0 then "" else "deep/er/") i

            name,
            match source.Whole(0, 3) with
            | 0 -> Real(source.Normal())
            | 1 -> Whole(int64 (source.Whole(-5, 5)))
            | 2 -> Value(single (tensor [ 2; 3 ] (source.Normals 6)))
            | _ -> Value(tensor [ 4 ] (source.Normals 4))
    ]

[<Tests>]
let tests =
    testList "Trees" [
        testProperty "what is put under a name stands there and nowhere else" (fun (seed: int) ->
            balanced (fun () ->
                let tree = make seed
                let under = Tree.under "name" tree
                Expect.equal (Tree.hash (Tree.within "name" under)) (Tree.hash tree) "within undoes under"
                Expect.isTrue (Map.isEmpty (Tree.within "nam" under)) "a part of the name is another name"
                Expect.isTrue (Map.isEmpty (Tree.within "other" under)) "nothing elsewhere"
                Expect.equal under.Count tree.Count "nothing is lost"))

        testProperty "joining has a neutral element and is associative" (fun (a: int) (b: int) (c: int) ->
            balanced (fun () ->
                let a, b, c = make a, make b, make c
                let hash = Tree.hash
                Expect.equal (hash (Tree.join a Map.empty)) (hash a) "nothing on the right"
                Expect.equal (hash (Tree.join Map.empty a)) (hash a) "nothing on the left"
                Expect.equal
                    (hash (Tree.join (Tree.join a b) c))
                    (hash (Tree.join a (Tree.join b c)))
                    "grouping"
                let under = Tree.under "x"
                Expect.equal (hash (under (Tree.join a b))) (hash (Tree.join (under a) (under b))) "folders"))

        test "where both have a name the second one's value stands" (fun () ->
            let joined = Tree.join (Map [ "a", Whole 1L; "b", Whole 1L ]) (Map [ "b", Whole 2L ])
            Expect.equal (Tree.hash joined) (Tree.hash (Map [ "a", Whole 1L; "b", Whole 2L ])) "values")

        testProperty "a copy is equal and shares nothing" (fun (seed: int) ->
            balanced (fun () ->
                let tree = make seed
                let before = Tree.hash tree
                let copy = Tree.copy tree
                Expect.equal (Tree.hash copy) before "equal"

                for x in Tree.tensors copy do
                    x.fill_ (7.0.ToScalar()) |> ignore

                Expect.equal (Tree.hash tree) before "the original is untouched"))

        test "a copy is attached to no gradient" (fun () ->
            let leaf = (torch.ones [| 2L |]).requires_grad_ true
            let copy = Tree.copy (Map [ "x", Value(leaf * 2.0) ])
            Expect.all (Tree.tensors copy) (fun x -> not x.requires_grad) "copies")

        test "the empty tree has the hash of nothing" (fun () ->
            Expect.equal
                (Tree.hash Map.empty)
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                "SHA-256 of no bytes")

        test "the hash tells names, types, shapes, values and kinds apart" (fun () ->
            let values = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 |]
            let other = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 7.0 |]

            let hashes =
                [
                    Map [ "x", Value values ]
                    Map [ "y", Value values ]
                    Map [ "x", Value(single values) ]
                    Map [ "x", Value(values.reshape [| 3L; 2L |]) ]
                    Map [ "x", Value other ]
                    Map [ "x", Value(values.t ()) ]
                    Map [ "x", Real 1.0 ]
                    Map [ "x", Real 1.0000000000000002 ]
                    Map [ "x", Whole 2L ]
                    Map [ "x", Whole 2L; "y", Whole 2L ]
                ]
                |> List.map Tree.hash

            Expect.equal (List.distinct hashes) hashes "hashes")

        test "the hash looks at values, not at how they lie in memory" (fun () ->
            let values = tensor [ 2; 3 ] [| 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 |]
            let turned = values.t().contiguous().t()
            Expect.isFalse (turned.is_contiguous ()) "lies column by column"
            Expect.equal
                (Tree.hash (Map [ "x", Value turned ]))
                (Tree.hash (Map [ "x", Value values ]))
                "hash"
            Expect.equal (Tree.bytes turned) (Tree.bytes values) "bytes, row-major")

        test "tensors are told from numbers" (fun () ->
            let x = torch.ones [| 1L |]
            let tree: Tree = Map [ "a", Real 1.0; "b", Value x; "c", Whole 1L ]
            Expect.equal (List.ofSeq (Map.keys (Tree.toTensors tree))) [ "b" ] "names"
            Expect.isTrue (obj.ReferenceEquals(Seq.exactlyOne (Tree.tensors tree), x)) "the tensor itself"
            Expect.equal
                (Tree.hash (Tree.ofTensors (Map [ "b", x ])))
                (Tree.hash (Map [ "b", Value x ]))
                "as a tree")
    ]
