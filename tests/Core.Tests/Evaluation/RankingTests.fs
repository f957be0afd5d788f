/// Attacks on two encoders that were really trained, one to withstand them and one not: who breaks what.
module Tests.Evaluation.RankingTests

open System
open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Fixtures
open Support.Laws

let private threat = Threat.create Linf 0.1
let private square queries = Square.attack { Square.standard with Queries = queries }

// AutoAttack's stages; the last one with a given number of queries.
let private stages queries = [
    for name, attack in AutoAttack.standard.Stages ->
        name, (if name = "square" then square queries else attack)
]

// A committed encoder as a classifier of the embedded sample; classifier, images and head are freed after it.
let private using name count body =
    let path = Path.Combine(AppContext.BaseDirectory, "Encoders", name + ".safetensors")
    let encoder, _ = Expect.wantOk (Encoder.load path) "the encoder"
    use encoder = encoder
    use train = Expect.wantOk (FashionMnist.sample true) "training images"
    use head = LinearProbe.fit LinearProbe.quick ignore encoder train
    use test = sample false count
    body (LinearProbe.classifier encoder head) test

// The images that an attack alone leaves standing.
let private standing classifier (test: Dataset) (name, attack: Attack) =
    let ids = [| 0L .. test.Count - 1L |]

    Scope.value (fun () ->
        let victims = {
            Ids = ids
            Images = test.Batch cpu ids
            Labels = test.LabelsOf cpu ids
            Targets = None
        }

        let harm = attack.Run (Rng.create 1UL ("evaluate/" + name) ids) threat classifier victims
        let broken = harm.Success.cpu().data<bool>().ToArray()
        Array.zip ids broken |> Array.filter (snd >> not) |> Array.map fst |> Set.ofArray)

let private cascade classifier test stages =
    let cascade = { Name = "stages"; Stages = stages }
    let start = AutoAttack.start "key" (fst (RobustAccuracy.cleanly cpu classifier test))
    let finished =
        Expect.wantOk
            (AutoAttack.run cascade 1UL threat (fun _ _ -> ()) (fun _ -> Ok()) cpu classifier test start)
            "finished"
    Set.ofArray finished.Alive

// The laws that hold image by image, whatever the encoder.
let private exactly name count queries =
    using name count (fun classifier test ->
        let alone attack = standing classifier test attack
        let stages = stages queries
        let members = stages |> List.map (fun (name, attack) -> name, alone (name, attack))
        let together = cascade classifier test stages

        Expect.equal
            together
            (members |> List.map snd |> Set.intersectMany)
            "what AutoAttack leaves is what each of its attacks leaves"

        let whiteBox = members |> List.filter (fun (name, _) -> name <> "square") |> List.map snd
        let square = members |> List.find (fun (name, _) -> name = "square") |> snd
        Expect.isTrue
            (Set.isSubset (Set.intersectMany whiteBox) square)
            "queries break nothing that gradients leave standing"

        let few, many = alone ("pgd", Attack.pgd 0.25 20), alone ("pgd", Attack.pgd 0.25 100)
        Expect.isTrue (Set.isSubset many few) "from the same start more steps break no less"
        members, together.Count)

// What holds on average: an attack further down breaks as much as the one above it, within a point.
let private ordered name =
    using name 500 (fun classifier test ->
        let accuracies =
            [
                "fgsm", Attack.fgsm
                "pgd-20", Attack.pgd 0.25 20
                "pgd-100", Attack.pgd 0.25 100
                "apgd-ce", Apgd.ce Apgd.defaults
                "apgd-t", Apgd.targeted 9 Apgd.defaults
            ]
            |> List.map (fun attack -> fst attack, (standing classifier test attack).Count)

        for (weak, above), (strong, below) in List.pairwise accuracies do
            Expect.isLessThanOrEqual below (above + 5) $"{strong} beside {weak}")

[<Tests>]
let tests =
    testList "Evaluation.Ranking" [
        test "an encoder trained to withstand attacks does so, and AutoAttack is its members" (fun () ->
            let members, together = exactly "acl-ds" 16 300
            Expect.isGreaterThan together 3 "images that withstand AutoAttack"
            Expect.all (List.map snd members) (fun left -> left.Count >= together) "each alone leaves more")

        test "one that was not withstands nothing" (fun () ->
            let _, together = exactly "simclr" 16 300
            Expect.equal together 0 "images that withstand AutoAttack")

        for name in [ "acl-ds"; "simclr" ] do
            testLong (name + ": the same on more images, with all of Square's queries") (fun () ->
                balanced (fun () -> exactly name 200 5000 |> ignore))

            testLong (name + ": stronger attacks break no less") (fun () -> balanced (fun () -> ordered name))
    ]
