/// Commands and options that cannot be: one sentence that says what to do, an exit code of their own, and
/// nothing left behind.
module Misuse

open System.IO
open Expecto
open User

let private nothing (_: Folder) = ()
let private aFile (folder: Folder) = File.WriteAllText(folder.At "file", "")

// A good command with one more option, which wins over the one before.
let private options = [
    "--method acl-sd", 3, "'acl-ds'"
    "--dataset fashion-mnits", 3, "'fashion-mnist'"
    "--network resnet19", 3, "'resnet18'"
    "--precision float8", 3, "float32"
    "--device tpu", 2, "cpu, cuda"
    "--device cuda:99", 2, "cuda:99"
    "--threat linf", 2, "linf:8/255"
    "--threat l3:1", 2, "linf, l2 or l1"
    "--threat linf:-1", 2, "linf:8/255"
    "--threat linf:8", 2, "Did you mean linf:8/255?"
    "--threat linf:0", 2, "above 0"
    "--threat linf:0.1:-1:1", 2, "0 to 1"
    "--learning-rate 0", 2, "above 0"
    "--threads 0", 2, "1 or more"
    "--threads 100000", 2, "or fewer"
    "--dataset cifar10", 2, "--data"
    "--dataset cifar10 --data missing", 4, "--data"
    "--json missing/figures.json", 6, "missing/figures.json"
    "--given teacher", 2, "STAGE=RUN"
    "--given =runs/simclr", 2, "STAGE=RUN"
    "--given teacher=runs/simclr", 2, "no stage"
    "--nonsense", 2, "pretrain --help"
    "--seed many", 2, "pretrain --help"
]

let private evaluations = [
    "--attack circle", 3, "pgd-20"
    "--attack pgd-0", 2, "pgd-20"
    "--attack pgd-20:none", 2, "pgd-20"
    "--attack cw-pgd-0", 2, "cw-pgd-20"
    "--attack cw-l3", 3, "cw-l2"
    "--threat l3:1", 2, "linf, l2 or l1"
    "--threat linf:8", 2, "Did you mean linf:8/255?"
    "--threat l2:128", 2, "Did you mean l2:128/255?"
    "--threat l1:784", 2, "reaches every image"
    "--threat linf:0.1:-1:1", 2, "0 to 1"
    "--probe none", 3, "quick"
    "--images 0", 2, "1 or more"
    "--threads 0", 2, "1 or more"
    "--dataset samples", 3, "'sample'"
    "--data missing --dataset cifar10", 4, "--data"
    "--json missing/figures.json", 6, "missing/figures.json"
    "--nonsense", 2, "evaluate --help"
]

let private assaults = [
    "--attack circle", 3, "pgd-20"
    "--attack pgd-0", 2, "pgd-20"
    "--threat linf", 2, "linf:8/255"
    "--threat linf:0.1:0:0.5", 2, "--threat"
    "--threat linf:1", 2, "reaches every image"
    "--probe none", 3, "quick"
    "--images 0", 2, "1 or more"
    "--rows 3", 2, "--picture"
    "--rows 0 --picture p.png", 2, "1 or more"
    "--threads 0", 2, "1 or more"
    "--dataset samples", 3, "'sample'"
    "--json missing/figures.json", 6, "missing/figures.json"
    "--picture missing/p.png", 6, "missing/p.png"
    "--onto missing", 4, "Give the folder of a run"
    "--onto run --onto missing", 4, "Give the folder of a run"
    "--nonsense", 2, "attack --help"
]

let private audits = [
    "--threat l3:1", 2, "linf, l2 or l1"
    "--threat linf:0", 2, "above 0"
    "--probe none", 3, "quick"
    "--images 0", 2, "1 or more"
    "--threads 0", 2, "1 or more"
    "--dataset samples", 3, "'sample'"
    "--data missing --dataset cifar10", 4, "--data"
    "--surrogate missing", 4, "missing"
    "--json missing/figures.json", 6, "missing/figures.json"
    "--nonsense", 2, "audit --help"
]

let private replaced (option: string) =
    let name = (words option).Head
    let usual = words tiny |> List.pairwise |> List.tryFind (fun (a, _) -> a = name)
    match usual with
    | Some(a, b) -> tiny.Replace($"{a} {b}", option)
    | None -> $"{tiny} {option}"

let private withoutLibTorch command =
    testCase command (fun () ->
        use folder = new Folder()
        withRun folder
        let before = folder.Entries

        runIn [ "ADVCONTRAST_LIBTORCH", "/nonexistent" ] folder command
        |> isRefusal 7 "name the lib folder of a PyTorch"
        Expect.equal folder.Entries before "what is in the folder")

// The limit of the runtime's own heap, in bytes, as hexadecimal digits.
let private outOfMemory =
    testCase "too little memory" (fun () ->
        use folder = new Folder()

        runIn [ "DOTNET_GCHeapHardLimit", "1000000" ] folder (tiny + " --out run")
        |> isRefusal 7 "not enough memory"
        Expect.isEmpty folder.Entries "what is in the folder")

[<Tests>]
let tests =
    testList "Misuse" [
        outOfMemory

        for command, says in
            [
                "", "--help"
                "nonsense", "--help"
                "pretrain --method", "pretrain --help"
                "evaluate", "--from"
                "attack --out x", "--from"
                "attack --from run", "--out"
                "audit", "--from"
            ] do
            refuses $"'{command}'" nothing 2 says command

        for option, code, says in options do
            refuses $"pretrain {option}" nothing code says (replaced option + " --out run")

        refuses "pretrain --epochs 0" nothing 2 "1 or more" (replaced "--epochs 0" + " --out run")

        // One image, or one at a time, has nothing to be contrasted with.
        for option in [ "--images 0"; "--images 1"; "--batch 0"; "--batch 1" ] do
            refuses $"pretrain {option}" nothing 2 "2 or more" (replaced option + " --out run")

        for command in [ "pretrain --out ''"; "evaluate --from ''"; "attack --from run --out ''" ] do
            refuses
                command
                nothing
                2
                ((words command)[words(command).Length - 2] + ": its value is empty")
                command

        refuses "pretrain --width 5000" nothing 2 "1 to 1024" (replaced "--width 5000" + " --out run")
        refuses "pretrain --optimizer adamm" nothing 3 "'adam'" (replaced "--optimizer adamm" + " --out run")
        refuses
            "pretrain --learning-rate alone"
            nothing
            2
            "--optimizer"
            "pretrain --learning-rate 1 --out run"
        refuses "pretrain below a file" aFile 6 "file/run" (tiny + " --out file/run")
        refuses
            "pretrain --json below a file"
            aFile
            6
            "file/figures.json"
            (tiny + " --out run --json file/figures.json")
        refuses "pretrain over another run" withRun 2 "--resume run" (tiny + " --out run")
        refuses "pretrain --resume of a finished run" withRun 2 "finished" "pretrain --resume run"

        for option, code, says in evaluations do
            refuses $"evaluate {option}" withRun code says $"evaluate --from run {option}"

        for option, code, says in assaults do
            refuses $"attack {option}" withRun code says $"attack --from run --out x.safetensors {option}"

        refuses "attack --out nowhere" withRun 6 "missing/x" "attack --from run --out missing/x"
        refuses "attack without a run" nothing 4 "Give the folder of a run" "attack --from run --out x"
        for option, code, says in audits do
            refuses $"audit {option}" withRun code says $"audit --from run {option}"

        refuses
            "evaluate --json on a full disk"
            withRun
            6
            "/dev/full"
            "evaluate --from run --images 20 --attack fgsm --json /dev/full"
        refuses "data get" nothing 3 "'cifar10'" "data get cifar-10"
        refuses "data get of what is embedded" nothing 2 "in the program" "data get sample"
        refuses "data get without a name" nothing 2 "data --help" "data get"
        refuses "a corruption without a name" nothing 2 "cifar10-c:fog" "data cifar10-c --data ."
        refuses "a corruption that there is not" nothing 3 "'snow'" "data cifar10-c:snov --data ."
        refuses "methods show" nothing 3 "'acl-ds'" "methods show acl-d"
        refuses "data" nothing 3 "'fashion-mnist'" "data fashion-mnits"

        testCase "all faults at once, a line each" (fun () ->
            use folder = new Folder()
            let outcome =
                runIn [] folder "pretrain --method none --images 0 --epochs 0 --device tpu --out run"
            Expect.equal outcome.Code 3 "the first fault's exit code"
            Expect.hasLength (outcome.Complaint.Split '\n') 4 outcome.Complaint
            Expect.isEmpty folder.Entries "what is left behind")

        testList
            "no libtorch"
            (List.map withoutLibTorch [
                "doctor"
                tiny + " --out again"
                "evaluate --from run"
                "attack --from run --out x"
                "audit --from run"
                "pretrain --resume run"
            ])
    ]
