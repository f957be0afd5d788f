/// Pre-training and evaluation, from the command to the figures.
module Runs

open System.IO
open Expecto
open AdvContrast.Testing
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
    Expect.containsAll
        (names figures)
        (words "accuracies dataset encoder environment images method probe run seconds seed weights")
        "the figures' names"
    let accuracy = figures.GetProperty("accuracies")[1]
    let fields = [ "accuracy"; "after"; "correct"; "flags"; "high"; "low"; "name"; "tally"; "threat" ]
    Expect.containsAll (names accuracy) fields "an accuracy's names"
    Expect.equal (accuracy.GetProperty("threat").GetString()) "l2:0.5" "the threat"
    Expect.equal (accuracy.GetProperty("attack").GetString()) "FGSM" "the attack in full"
    let tally = accuracy.GetProperty "tally"
    // FGSM evaluates a correct image once more and the point after its step, and takes one gradient.
    let untouched = figures.GetProperty("accuracies")[0]
    let clean = untouched.GetProperty("correct").GetInt64()
    Expect.equal (tally.GetProperty("forwards").GetInt64()) (100L + 2L * clean) "passes"
    Expect.equal (tally.GetProperty("gradients").GetInt64()) clean "gradients"
    Expect.equal (figures.GetProperty("images").GetInt32()) 100 "images"

    let shares' = shares folder "figures.json"
    Expect.equal (List.map fst shares') [ "clean"; "fgsm"; "pgd-3:0.5" ] "what was measured"
    Expect.all
        shares'
        (fun (_, share) -> 0.0 <= share && share <= snd shares'.Head)
        "shares, the clean one on top"

    succeed folder (command + " --json again.json") |> ignore
    Expect.equal (shares folder "again.json") shares' "the same figures again"

let private exports () =
    use folder = new Folder()
    withRun folder
    let output = succeed folder "export --from run --out encoder.safetensors"
    Expect.stringContains output "encoder.safetensors: the encoder alone" "what was written"
    let measure from = $"evaluate --from {from} --images 100 --attack fgsm --json {from}.json"
    succeed folder (measure "run") |> ignore
    succeed folder (measure "encoder.safetensors") |> ignore
    Expect.equal (shares folder "encoder.safetensors.json") (shares folder "run.json") "the same figures"
    let size file = FileInfo(folder.At file).Length
    Expect.isLessThan
        (size "encoder.safetensors")
        (size "run/checkpoint.safetensors" / 3L)
        "without the optimiser's state"

    refuse folder 6 "nowhere/encoder.safetensors" "export --from run --out nowhere/encoder.safetensors"
let private audits () =
    use folder = new Folder()
    withRun folder
    let before = folder.Entries
    let command = "audit --from run --images 20 --threat linf:0.05 --surrogate run --json audit.json"
    let outcome = runIn [] folder command
    Expect.equal outcome.Complaint "" "no complaint"
    Expect.equal folder.Entries (before.Add "audit.json") "what is in the folder"

    let figures = json folder "audit.json"
    let finding = figures.GetProperty("finding").GetString()
    let codes = Map [ "no sign of masking", 0; "suspicious", 9; "invalid", 10 ]
    Expect.equal outcome.Code codes[finding] ("the exit code says: " + finding)
    Expect.stringEnds (outcome.Output.Trim()) (finding + ".") "the overall word comes last"

    for part in [ "1 determinism"; "18 attacks at work"; "threshold"; "verdict" ] do
        Expect.stringContains outcome.Output part "the table"

    let fields = [
        "checks"
        "clean"
        "dataset"
        "finding"
        "high"
        "images"
        "low"
        "method"
        "probe"
        "run"
    ]
    Expect.containsAll
        (names figures)
        (fields @ [ "seconds"; "seed"; "surrogate"; "threat"; "worst" ])
        "names"
    let checks = figures.GetProperty "checks"
    Expect.equal (checks.GetArrayLength()) 18 "checks"
    let check = [ "images"; "measures"; "name"; "number"; "threshold"; "verdict" ]
    Expect.containsAll (names checks[0]) check "a check's names"
    Expect.equal (checks[0].GetProperty("verdict").GetString()) "passed" "the encoder is a function"

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

[<Tests>]
let tests =
    testList "Runs" [
        testCase "pretrain leaves a run and its figures" pretrains
        testCase "evaluate measures what it is asked for" evaluates
        testCase "export leaves the encoder alone in a file" exports
        testCase "audit shows its checks and ends with the word that its exit code says" audits
        testCase "pretrain --config repeats a run to the same bytes" repeats
        testCase "pretrain gives each run a folder of its own" keepsApart
        testCase "a damaged checkpoint falls back to the one before it" fallsBack
    ]
