/// Pre-training and evaluation, from the command to the figures.
module Runs

open System.IO
open Expecto
open User

let private checkpoint (folder: Folder) run =
    File.ReadAllBytes(Path.Combine(folder.At run, "checkpoint.safetensors"))

let private shares (folder: Folder) file = [
    for accuracy in (json folder file).GetProperty("accuracies").EnumerateArray() do
        accuracy.GetProperty("name").GetString(), accuracy.GetProperty("accuracy").GetDouble()
]

let private pretrains () =
    use folder = new Folder()
    let output = succeed folder (tiny + " --method acl-ds --out run --json figures.json")
    Expect.stringContains output "evaluate --from run" "what to do next"

    Expect.equal
        folder.Entries
        (Set [ "figures.json"; "run"; "run/checkpoint.safetensors"; "run/run.json" ])
        "what is in the folder"

    let figures = json folder "figures.json"
    Expect.containsAll
        (names figures)
        [ "configuration"; "folder"; "loss"; "method"; "seconds"; "steps"; "waiting" ]
        "the figures' names"
    Expect.equal (figures.GetProperty("steps").GetInt64()) 4L "steps"
    Expect.equal (figures.GetProperty("method").GetString()) "acl-ds" "the method"

    let manifest = json folder "run/run.json"
    Expect.containsAll
        (names manifest)
        [ "configuration"; "environment"; "loss"; "repeatable"; "seconds"; "started"; "step"; "steps" ]
        "the manifest's names"
    Expect.equal
        (names (manifest.GetProperty "configuration"))
        (names (figures.GetProperty "configuration"))
        "the same configuration"

let private evaluates () =
    use folder = new Folder()
    withRun folder
    let before = folder.Entries
    let command = "evaluate --from run --images 100 --attack fgsm --attack pgd-3:0.5 --threat l2:0.5"
    let output = succeed folder (command + " --json figures.json")
    Expect.stringContains output "pgd-3:0.5, l2:0.5" "the table's row"
    Expect.equal folder.Entries (before.Add "figures.json") "what is in the folder"

    let figures = json folder "figures.json"
    let expected = [ "accuracies"; "dataset"; "images"; "method"; "probe"; "run"; "seconds"; "seed" ]
    Expect.containsAll (names figures) expected "the figures' names"
    let accuracy = figures.GetProperty("accuracies")[1]
    let fields = [ "accuracy"; "after"; "correct"; "flags"; "high"; "low"; "name"; "threat" ]
    Expect.containsAll (names accuracy) fields "an accuracy's names"
    Expect.equal (accuracy.GetProperty("threat").GetString()) "l2:0.5" "the threat"
    Expect.equal (figures.GetProperty("images").GetInt32()) 100 "images"

    let shares' = shares folder "figures.json"
    Expect.equal (List.map fst shares') [ "clean"; "fgsm"; "pgd-3:0.5" ] "what was measured"
    Expect.all
        shares'
        (fun (_, share) -> 0.0 <= share && share <= snd shares'.Head)
        "shares, the clean one on top"

    succeed folder (command + " --json again.json") |> ignore
    Expect.equal (shares folder "again.json") shares' "the same figures again"

let private repeats () =
    use folder = new Folder()
    let pretrain = tiny + " --method acl-ds --threat linf:8/255 --learning-rate 0.002 --seed 3"
    succeed folder (pretrain + " --out run") |> ignore
    succeed folder "pretrain --config run/run.json --out again" |> ignore
    Expect.isTrue (checkpoint folder "again" = checkpoint folder "run") "the same bytes"
    succeed folder "pretrain --config run/run.json --seed 4 --out other" |> ignore
    Expect.isFalse (checkpoint folder "other" = checkpoint folder "run") "another seed's bytes"
    let seed = (json folder "other/run.json").GetProperty("configuration").GetProperty("seed")
    Expect.equal (seed.GetInt32()) 4 "the option laid over the file"

let private keepsApart () =
    use folder = new Folder()

    for run in [ "runs/simclr-sample"; "runs/simclr-sample-2" ] do
        Expect.stringContains (succeed folder tiny) ("evaluate --from " + run) "its own folder"

let private fallsBack () =
    use folder = new Folder()
    succeed folder (tiny.Replace("--epochs 1", "--epochs 2") + " --out run") |> ignore
    File.WriteAllText(folder.At "run/checkpoint.safetensors", "nonsense")
    let output = succeed folder "evaluate --from run --images 20 --attack fgsm"
    Expect.stringContains output "The checkpoint before it is used" "the warning"

let tests =
    testList "Runs" [
        testCase "pretrain leaves a run and its figures" pretrains
        testCase "evaluate measures what it is asked for" evaluates
        testCase "pretrain --config repeats a run to the same bytes" repeats
        testCase "pretrain gives each run a folder of its own" keepsApart
        testCase "a damaged checkpoint falls back to the one before it" fallsBack
    ]
