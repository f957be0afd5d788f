/// Ctrl-C, SIGTERM and SIGHUP.
module Stops

open System
open System.Diagnostics
open System.IO
open Expecto
open AdvContrast.Testing
open User

// Signals by their names, with the exit codes that shells give them.
let private signals = [ "INT", 130; "TERM", 143; "HUP", 129 ]

let private send signal (child: Process) =
    // The shell's own kill: the program of that name is not on every machine.
    use kill = Process.Start("sh", [ "-c"; sprintf "kill -%s %d" signal child.Id ])
    kill.WaitForExit()

let private interrupt child = send "INT" child

let private longer = tiny.Replace("--images 128", "--images 256").Replace("--epochs 1", "--epochs 20")

let private resumes (signal, code) () =
    use folder = new Folder()
    let checkpoint run = Path.Combine(folder.At run, "checkpoint.safetensors")
    use child = start [] folder (longer + " --checkpoint-every 100000 --out run")
    waitFor "manifest" (fun () -> File.Exists(folder.At "run/run.json"))
    Expect.isFalse (File.Exists(checkpoint "run")) "no checkpoint is due"
    send signal child
    let outcome = finish child
    isRefusal code "Stopped" outcome
    Expect.stringContains outcome.Output "pretrain --resume run" "the command that resumes it"

    let step () = (json folder "run/run.json").GetProperty("step").GetInt64()
    let steps = (json folder "run/run.json").GetProperty("steps").GetInt64()
    Expect.isLessThan (step ()) steps "steps done"

    succeed folder "pretrain --resume run" |> ignore
    Expect.equal (step ()) steps "steps done in the end"

    if signal = "INT" then
        succeed folder "evaluate --from run --images 20 --attack fgsm" |> ignore
        succeed folder (longer + " --checkpoint-every 100000 --out whole") |> ignore
        Expect.isTrue
            (File.ReadAllBytes(checkpoint "run") = File.ReadAllBytes(checkpoint "whole"))
            "as if never stopped"

let private leavesNothing (signal, code) command () =
    use folder = new Folder()
    withRun folder
    let before = folder.Entries
    // So small a radius leaves the attack its victims, and work.
    use child = start [] folder (command + " --from run --json figures.json --threat linf:0.0001")
    // By then it listens, and it is far from the end.
    let maps = $"/proc/{child.Id}/maps"
    waitFor "libtorch" (fun () -> File.ReadAllText(maps).Contains "libtorch_cpu.so")
    send signal child
    finish child |> isRefusal code "Stopped"
    Expect.equal folder.Entries before "what is in the folder"

// Starts the demo in a folder and stops it at its first checkpoint.
let private demoBegins folder =
    use child = start [] folder "demo"
    waitFor "checkpoint" (fun () -> File.Exists(folder.At "runs/demo/simclr/checkpoint.safetensors"))
    interrupt child
    finish child |> isRefusal 130 "Stopped"

let private replacesDemo () =
    use folder = new Folder()
    demoBegins folder
    // What cannot run leaves the first one as it is.
    let before = folder.Entries
    runIn [] folder "demo --threads 0" |> isRefusal 2 "1 or more"
    Expect.equal folder.Entries before "refused before anything is removed"
    let checkpoint = folder.At "runs/demo/simclr/checkpoint.safetensors"
    File.Move(checkpoint, folder.At "runs/demo/simclr/checkpoint.previous-7.safetensors")
    demoBegins folder
    Expect.isTrue (File.Exists checkpoint) "a checkpoint of the second"
    Expect.isFalse
        (File.Exists(folder.At "runs/demo/simclr/checkpoint.previous-7.safetensors"))
        "one of the first"

let private keepsOthers () =
    use folder = new Folder()
    withRun folder
    Directory.CreateDirectory(folder.At "runs/demo") |> ignore
    Directory.Move(folder.At "run", folder.At "runs/demo/acl-ds")
    refuse folder 2 "name another folder" "demo"

[<Tests>]
let tests =
    testList "Stops" [
        testCase "a second demo replaces the first" replacesDemo
        testCase "a demo replaces no other run" keepsOthers
        for signal in signals do
            testCase
                (sprintf "pretrain stops at SIG%s with a checkpoint that --resume finishes" (fst signal))
                (resumes signal)

        testCase
            "evaluate stops and leaves nothing"
            (leavesNothing signals[1] ("evaluate" + String.replicate 50 " --attack pgd-20"))
        testCase
            "attack stops and leaves nothing"
            (leavesNothing
                signals[0]
                "attack --images 1000 --attack pgd-1000 --out x.safetensors --picture x.png")
        testCase "audit stops and leaves nothing" (leavesNothing signals[2] "audit --images 1000")
    ]
