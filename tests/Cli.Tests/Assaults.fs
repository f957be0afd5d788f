/// Adversarial images from the command line: made, kept, shown, and tried on other runs.
module Assaults

open System.Buffers.Binary
open System.IO
open Expecto
open AdvContrast.Testing
open User

let private second (folder: Folder) = succeed folder (tiny + " --seed 2 --out other") |> ignore

let private field (name: string) (json: System.Text.Json.JsonElement) = json.GetProperty name

let private makes () =
    use folder = new Folder()
    withRun folder
    second folder
    let before = folder.Entries
    let attack = "attack --from run --images 40 --attack pgd-3:0.5 --threat linf:0.1 --onto other"
    let files = " --out x.safetensors --picture x.png --rows 3 --json figures.json"
    let output = succeed folder (attack + files)
    Expect.equal folder.Entries (before + Set [ "x.safetensors"; "x.png"; "figures.json" ]) "what is there"

    for said in
        [
            "pgd-3:0.5, linf:0.1"
            "On 40 of 1000 images of sample, 10 of 10 classes."
            "transferred"
            "distance, Linf"
            "forward passes"
            "x.safetensors"
            "x.png"
        ] do
        Expect.stringContains output said "the tables"

    let figures = json folder "figures.json"
    Expect.containsAll
        (names figures)
        [
            "attack"
            "dataset"
            "did"
            "flags"
            "images"
            "out"
            "runs"
            "seconds"
            "seed"
            "text"
            "threat"
        ]
        "the figures' names"

    let runs = [
        for run in (field "runs" figures).EnumerateArray() ->
            (field "run" run).GetString(),
            (field "cleanCorrect" run).GetInt32(),
            (field "attackedCorrect" run).GetInt32()
    ]

    Expect.equal [ for run, _, _ in runs -> run ] [ "run"; "other" ] "the runs"
    let _, clean, attacked = runs.Head
    Expect.isLessThan attacked clean "it breaks some"

    let distance = (field "did" figures)[0]
    Expect.isLessThanOrEqual ((field "most" distance).GetDouble()) 0.10001 "within the radius"

    // They are the images that an evaluation counts.
    succeed
        folder
        "evaluate --from run --images 40 --attack pgd-3:0.5 --threat linf:0.1 --json evaluated.json"
    |> ignore

    let evaluated = [
        for accuracy in (field "accuracies" (json folder "evaluated.json")).EnumerateArray() ->
            (field "correct" accuracy).GetInt32()
    ]

    Expect.equal evaluated [ clean; attacked ] "the same figures"

    // Three rows of three images of 112 by 112, with gaps of 4.
    let png = File.ReadAllBytes(folder.At "x.png")
    let size (at: int) = BinaryPrimitives.ReadInt32BigEndian(System.ReadOnlySpan(png, at, 4))
    Expect.equal (size 16, size 20) (344, 344) "the picture's size"

let private repeats () =
    use folder = new Folder()
    withRun folder
    let attack = "attack --from run --images 20 --attack pgd-2 --seed 4"
    succeed folder (attack + " --out a") |> ignore
    succeed folder (attack + " --out b") |> ignore
    let bytes name = File.ReadAllBytes(folder.At name)
    Expect.isTrue (bytes "a" = bytes "b") "the same bytes"
    succeed folder (attack + "0 --out c") |> ignore
    Expect.isFalse (bytes "a" = bytes "c") "another seed's"

let private autoattack () =
    use folder = new Folder()
    withRun folder
    let output = succeed folder "attack --from run --images 3 --attack autoattack --threat linf:0.5 --out x"
    Expect.stringContains output "autoattack" "attacks in turn"

[<Tests>]
let tests =
    testList "Assaults" [
        testCase "attack makes images, keeps them, shows them, and tries them on another run" makes
        testCase "attack repeats itself to the same bytes" repeats
        testCase "attack knows AutoAttack" autoattack
    ]
