/// Options: none is dropped, no file is written over unasked, and every command runs a second time.
module Options

open System.IO
open System.Text
open System.Text.Json
open Expecto
open User

let private evaluate = "evaluate --from run --images 20 --attack fgsm"

// One that the program has no use for, or that is given twice: what it says, and to which command.
let private dropped = [
    tiny + " --out run2 --epochs 2", 2, "--epochs"
    tiny + " --out run2 --threat linf:0.1", 2, "--threat"
    tiny + " --out run2 --data .", 2, "--data"
    "pretrain --method deacl --given teacher=run --given teacher=run --out run2", 2, "given twice"
    evaluate + " --images 30", 2, "--images"
    evaluate + " --data .", 2, "--data"
    evaluate + " --normalise none", 2, "--normalise"
    evaluate + " --seed 1 --seed 1", 2, "--seed"
    "attack --from run --out x --attack fgsm --attack pgd-20", 2, "--attack"
    "attack --from run --out x --threat linf:0.1 --threat linf:0.2", 2, "--threat"
    "attack --from run --out x --rows 3", 2, "--rows"
    "audit --from run --images 10 --images 20", 2, "--images"
    "audit --from run --data .", 2, "--data"
    "data sample get mnist", 2, "one name"
    "data --data .", 2, "--data"
    "methods show simclr --pages pages", 2, "--pages"
    "pretrain --resume run --out other --epochs 2", 2, "--out"
    "pretrain --resume run --config run/run.json --epochs 2", 2, "--config"
    "pretrain --resume run --epochs 2 --batch 16", 2, "--batch"
    "pretrain --resume run --epochs 2 --method acl-ds", 2, "--method"
    "pretrain --resume run/checkpoint.safetensors", 2, "run's folder"
]

// Names whose endings are those of another format.
let private formats = [
    "export --from run --out enc.pt", "enc.safetensors"
    "export --from run --out enc.onnx", "enc.safetensors"
    "attack --from run --out x.npz", "x.safetensors"
    "attack --from run --out x --picture p.jpg", "p.png"
    evaluate + " --json figures.png", "figures.json"
]

let private twice =
    testCase "every command that writes a file runs twice: refused, then over it on request" (fun () ->
        use folder = new Folder()
        withRun folder

        for command, file in
            [
                "export --from run --out encoder.safetensors", "encoder.safetensors"
                evaluate + " --json evaluated.json", "evaluated.json"
                "attack --from run --images 20 --attack fgsm --out x.safetensors --picture x.png",
                "x.safetensors"
                "doctor --json doctor.json", "doctor.json"
            ] do
            succeed folder command |> ignore
            let first = File.ReadAllBytes(folder.At file)
            runIn [] folder command |> isRefusal 6 "--overwrite"
            Expect.isTrue (File.ReadAllBytes(folder.At file) = first) "as it was"
            succeed folder (command + " --overwrite") |> ignore

            if not (file.EndsWith ".json") then
                Expect.isTrue (File.ReadAllBytes(folder.At file) = first) "the same again"

        let replaced = tiny + " --seed 2 --out run --overwrite"
        succeed folder replaced |> ignore
        succeed folder replaced |> ignore
        let configuration = (json folder "run/run.json").GetProperty "configuration"
        Expect.equal (configuration.GetProperty("seed").GetInt32()) 2 "the second run"
        succeed folder "pretrain --config run/run.json --out again" |> ignore
        Expect.isTrue
            (File.ReadAllBytes(folder.At "again/checkpoint.safetensors") =
                File.ReadAllBytes(folder.At "run/checkpoint.safetensors"))
            "and repeated from its manifest")

let private toOutput =
    testCase "figures go to the output where they are asked for there, and nothing else does" (fun () ->
        use folder = new Folder()
        withRun folder
        let before = folder.Entries
        let outcome = runIn [] folder (evaluate + " --json -")
        Expect.equal outcome.Code 0 outcome.Complaint
        let figures = JsonDocument.Parse(outcome.Output).RootElement
        Expect.equal (figures.GetProperty("images").GetInt32()) 20 "figures"
        Expect.equal (figures.GetProperty("device").GetString()) "cpu" "where"
        Expect.stringContains outcome.Complaint "fgsm" "the table"
        Expect.equal folder.Entries before "no file called -")

let private paths =
    testCase "what goes to others says nothing of this machine" (fun () ->
        use folder = new Folder()
        withRun folder
        let at = folder.At
        let from = "--from " + at "run"
        succeed folder (sprintf "export %s --out %s" from (at "encoder.safetensors")) |> ignore
        let attack = sprintf "attack %s --images 10 --attack fgsm --out %s" from (at "x.safetensors")
        succeed folder attack |> ignore

        for file in [ "encoder.safetensors"; "x.safetensors" ] do
            let text = Encoding.Latin1.GetString(File.ReadAllBytes(folder.At file))
            Expect.stringContains text "\"format\":\"pt\"" "what other programs look for"
            Expect.isFalse (text.Contains folder.Path) "a path of this machine")

let private devices =
    testCase "every command that computes takes a device" (fun () ->
        use folder = new Folder()
        withRun folder
        refuse folder 2 "--device" (evaluate + " --device cuda:9")
        refuse folder 2 "--device" "export --from run --out e.safetensors --device tpu"
        refuse folder 2 "--device" "audit --from run --device cuda"
        refuse folder 2 "--device" "attack --from run --out x --device cuda"
        refuse folder 2 "--device" "demo --device cuda"
        refuse folder 2 "--device" "pretrain --resume run --epochs 2 --device cuda"
        succeed folder (evaluate + " --device cpu") |> ignore)

let private further =
    testCase "a finished run is trained further, with a word on what that does" (fun () ->
        use folder = new Folder()
        withRun folder
        refuse folder 2 "finished" "pretrain --resume run"
        let output = succeed folder "pretrain --resume run --epochs 2 --threads 1 --json figures.json"
        Expect.stringContains output "2 epochs instead of 1" "what it does to schedules"
        let configuration = (json folder "run/run.json").GetProperty "configuration"
        Expect.equal (configuration.GetProperty("epochs").GetInt32()) 2 "epochs"
        Expect.equal (configuration.GetProperty("threads").GetInt32()) 1 "threads")

let private diverged =
    testCase "a run that diverges at once claims no checkpoint" (fun () ->
        use folder = new Folder()
        let outcome = runIn [] folder (tiny + " --learning-rate 1e30 --out run")
        Expect.equal outcome.Code 8 outcome.Complaint
        Expect.isFalse (File.Exists(folder.At "run/checkpoint.safetensors")) "none"
        Expect.stringContains outcome.Output "no checkpoint" "told"
        Expect.isFalse ((outcome.Output + outcome.Complaint).Contains "is good") "nothing claimed")

[<Tests>]
let tests =
    testList "Options" [
        for command, code, says in dropped do
            refuses command withRun code says command

        for command, says in formats do
            refuses command withRun 2 says command

        twice
        toOutput
        paths
        devices
        further
        diverged
    ]
