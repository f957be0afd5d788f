/// Random numbers: the generator itself, and that a sample's numbers depend on its place alone.
module Tests.Foundation.RngTests

open System
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Testing
open Support.Arrays
open Support.Laws

// Salmon et al. 2011's generator, from the paper, on lists and with wide multiplications.
let private philox (counter: uint32 list) (key: uint32 list) =
    let wide (a: uint32) (b: uint64) = uint64 a * b
    let high (p: uint64) = uint32 (p >>> 32)
    let low (p: uint64) = uint32 (p &&& 0xFFFFFFFFUL)

    let round (c: uint32 list) (k: uint32 list) =
        let p0, p1 = wide c[0] 0xD2511F53UL, wide c[2] 0xCD9E8D57UL
        [ high p1 ^^^ c[1] ^^^ k[0]; low p1; high p0 ^^^ c[3] ^^^ k[1]; low p0 ]

    let bump (k: uint32 list) = [ k[0] + 0x9E3779B9u; k[1] + 0xBB67AE85u ]
    ((counter, key), [ 1..10 ]) ||> List.fold (fun (c, k) _ -> round c k, bump k) |> fst

let private words (counter: uint32 list) (key: uint32 list) =
    let join low high = (uint64 high <<< 32) ||| uint64 low
    Rng.words (join key[0] key[1]) (int64 (join counter[0] counter[1])) (int64 (join counter[2] counter[3]))
    |> List.ofArray

let private place = Rng.create 7UL "test" [||]
let private many n = { place with Ids = Array.init n int64 }

[<Tests>]
let tests =
    testList "Foundation.Rng" [
        // The known answers that come with Random123, for ten rounds.
        test "is Philox4x32-10" (fun () ->
            let all word = List.replicate 4 word, List.replicate 2 word

            for (counter, key), expected in
                [
                    all 0u, [ 0x6627e8d5u; 0xe169c58du; 0xbc57ac4cu; 0x9b00dbd8u ]
                    all 0xffffffffu, [ 0x408f276du; 0x41c83b0eu; 0xa20bc7c6u; 0x6d5451fdu ]
                    ([ 0x243f6a88u; 0x85a308d3u; 0x13198a2eu; 0x03707344u ], [ 0xa4093822u; 0x299f31d0u ]),
                    [ 0xd16cfe09u; 0x94fdccebu; 0x5001e420u; 0x24126ea1u ]
                ] do
                Expect.equal (words counter key) expected "its words"
                Expect.equal (philox counter key) expected "the reference's words")

        testProperty
            "equals the paper's rounds at every counter"
            (fun (a: uint32, b: uint32, c: uint32) (d: uint32, e: uint32, f: uint32) ->
                words [ a; b; c; d ] [ e; f ] = philox [ a; b; c; d ] [ e; f ])

        testPropertyN
            30
            "uniform numbers are the words' upper 24 bits"
            (fun (PositiveInt width) (seed: uint64) (NonNegativeInt id) ->
                balanced (fun () ->
                    let draw = { place with Seed = seed; Ids = [| int64 id |] }
                    let word i = (Rng.words (Rng.key draw) (int64 id) (int64 (i / 4)))[i % 4]
                    let expected = Array.init width (fun i -> float (word i >>> 8) / 16777216.0)
                    let actual = Rng.uniform [ int64 width ] draw
                    Expect.equal (floats actual) expected "numbers"
                    Expect.equal actual.shape [| 1L; int64 width |] "shape"
                    Expect.equal actual.dtype torch.float32 "type"))

        testPropertyN
            50
            "a sample's row depends on its id alone"
            (fun (ids: NonNegativeInt list) (PositiveInt width) ->
                balanced (fun () ->
                    let ids = ids |> List.map (fun (NonNegativeInt id) -> int64 id) |> Array.ofList
                    let draw = { place with Ids = ids }
                    let shape = [ int64 width; 2L ]

                    for make in [ Rng.uniform; Rng.normal ] do
                        let together = rows (make shape draw)
                        let alone =
                            ids |> Array.collect (fun id -> rows (make shape { place with Ids = [| id |] }))
                        Expect.equal together alone "rows of the batch, rows alone"

                    let numbers = ids |> Array.collect (fun id -> Rng.numbers { place with Ids = [| id |] })
                    Expect.equal (Rng.numbers draw) numbers "numbers of the batch, numbers alone"))

        test "a number a sample is the first of its row" (fun () ->
            Expect.equal
                (Rng.numbers (many 9))
                (floats ((Rng.uniform [ 3L ] (many 9)).narrow(1L, 0L, 1L)))
                "numbers")

        test "another seed, purpose, epoch, step or sample meets other numbers" (fun () ->
            let places = [
                for seed in [ 0UL; 1UL; 1UL <<< 32; UInt64.MaxValue ] do
                    for purpose in [ ""; "a"; "b"; "a/b"; "ab"; "ba" ] do
                        for epoch in [ 0; 1; 2 ] do
                            for step in [ 0L; 1L; 2L; 1L <<< 40 ] do
                                {
                                    Seed = seed
                                    Purpose = purpose
                                    Epoch = epoch
                                    Step = step
                                    Ids = [| 0L; 1L; 1L <<< 40 |]
                                }
            ]

            Expect.equal
                (places |> List.map Rng.key |> List.distinct |> List.length)
                places.Length
                "keys differ"
            let rows = places |> List.collect (fun draw -> rows (Rng.uniform [ 2L ] draw) |> List.ofArray)
            Expect.equal (List.distinct rows |> List.length) rows.Length "rows differ")

        test "a narrower purpose is a purpose of its own" (fun () ->
            Expect.equal (Rng.sub "b" (Rng.sub "a" place)).Purpose "test/a/b" "its name"
            Expect.notEqual (Rng.key (Rng.sub "a" place)) (Rng.key place) "its key")

        test "streams that differ in one field alone are not correlated" (fun () ->
            let stream draw = floats (Rng.uniform [ 4L ] { draw with Ids = Array.init 5000 int64 })
            let first = stream place

            for name, other in
                [
                    "seed", { place with Seed = place.Seed + 1UL }
                    "purpose", { place with Purpose = "tesu" }
                    "epoch", { place with Epoch = 1 }
                    "step", { place with Step = 1L }
                ] do
                let product = Array.map2 (fun a b -> (a - 0.5) * (b - 0.5) * 12.0) first (stream other)
                within -0.03 0.03 [| mean product |] (sprintf "correlation over another %s" name))

        test "uniform numbers lie evenly in [0, 1)" (fun () ->
            let values = floats (Rng.uniform [ 10L ] (many 20000))
            within 0.0 (1.0 - 1.0 / 16777216.0) values "range"
            close 0.003 [| mean values; variance values |] [| 0.5; 1.0 / 12.0 |] "mean and variance"
            Expect.isLessThan (distanceFromUniform values) (1.63 / sqrt 200000.0) "distribution"
            let next = Array.pairwise values |> Array.map (fun (a, b) -> (a - 0.5) * (b - 0.5) * 12.0)
            within -0.01 0.01 [| mean next |] "correlation of neighbours")

        test "normal numbers have the normal moments" (fun () ->
            let values = floats (Rng.normal [ 10L ] (many 20000))
            let moment k = values |> Array.averageBy (fun v -> v ** k)
            close
                0.02
                [| moment 1.0; moment 2.0; moment 3.0; moment 4.0 / 3.0 |]
                [| 0.0; 1.0; 0.0; 1.0 |]
                "moments"
            let beyond = values |> Array.filter (fun v -> abs v > 1.959964) |> Array.length
            close 0.003 [| float beyond / float values.Length |] [| 0.05 |] "share beyond 1.96"
            let pairs = values |> Array.chunkBySize 2 |> Array.averageBy (fun p -> p[0] * p[1])
            within -0.01 0.01 [| pairs |] "correlation of the two numbers of a pair")

        testProperty "a permutation holds every number once" (fun (NonNegativeInt n) (seed: uint64) ->
            let order = Rng.permutation n { place with Seed = seed }
            Array.sort order = Array.init n id && Rng.permutation n { many 3 with Seed = seed } = order)

        test "all permutations come up equally often" (fun () ->
            let counts =
                Array.init 6000 (fun i -> Rng.permutation 3 { place with Step = int64 i })
                |> Array.countBy id
                |> Array.map snd

            Expect.equal counts.Length 6 "orders of three"
            let chi = counts |> Array.sumBy (fun c -> (float c - 1000.0) ** 2.0 / 1000.0)
            // The 99.9th percentile of chi-squared with five degrees of freedom.
            Expect.isLessThan chi 20.5 "evenness")

        testPropertyN
            50
            "the first copy meets what the sample alone meets, and no two copies the same"
            (fun (PositiveInt k) (ids: NonNegativeInt list) ->
                let ids =
                    ids |> List.map (fun (NonNegativeInt id) -> int64 id) |> List.distinct |> Array.ofList
                let copies = Rng.copies k { place with Ids = ids }
                Expect.equal (Array.truncate ids.Length copies.Ids) ids "the first copy"
                Expect.hasLength copies.Ids (k * ids.Length) "copies"
                Expect.equal (Array.distinct copies.Ids) copies.Ids "ids differ"
                Expect.equal (Rng.key copies) (Rng.key place) "the place stays")

        test "ids up to 2^48 - 1 keep their copies apart" (fun () ->
            let ids = [| 0L; 1L; (1L <<< 48) - 1L |]
            let copies = (Rng.copies 1000 { place with Ids = ids }).Ids
            Expect.equal (Array.distinct copies).Length 3000 "copies")

        test "a stream of its own belongs to no sample" (fun () ->
            Expect.equal (Rng.alone (many 5)) (Rng.alone place) "whatever the ids")
    ]
