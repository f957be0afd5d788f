/// What a run survives: kill -9 at any moment, a move to another folder, a full disk.
module Endurance

open System
open System.IO
open Expecto
open AdvContrast.Testing
open User

let private command =
    tiny.Replace("--images 128", "--images 256").Replace("--epochs 1", "--epochs 12")
    + " --method acl-ds"

let private checkpoint (folder: Folder) run = Path.Combine(folder.At run, "checkpoint.safetensors")

let private bytes folder run = File.ReadAllBytes(checkpoint folder run)

let private uninterrupted =
    lazy
        (use folder = new Folder()
         succeed folder (command + " --out whole") |> ignore
         bytes folder "whole")

// What a user does after the program was killed: resumes where there is a checkpoint, else starts anew.
let private onward (folder: Folder) =
    if File.Exists(checkpoint folder "run") then
        "pretrain --resume run"
    else
        if Directory.Exists(folder.At "run") then Directory.Delete(folder.At "run", true)
        command + " --out run"

// Starts or resumes the run and kills the program after a delay in milliseconds; whether it reached the end.
let private killed (folder: Folder) (patience: int) =
    use child = start [] folder (onward folder)

    if child.WaitForExit patience then
        Expect.equal child.ExitCode 0 (child.StandardError.ReadToEnd())
        true
    else
        child.Kill()
        child.WaitForExit()
        false

// Kills at random moments of the seed, each a little later than the one before so that the run gets on.
let private survives kills seed () =
    use folder = new Folder()
    let random = Random(seed: int)
    let mutable isDone = false

    for kill in 1..kills do
        if not isDone then isDone <- killed folder (random.Next(300, 1200 + 100 * kill))

    if not isDone then succeed folder (onward folder) |> ignore
    Expect.isTrue (bytes folder "run" = uninterrupted.Value) "the bytes of a run that was left in peace"

// A full disk where the next checkpoint would be written.
let private fullDisk () =
    use folder = new Folder()
    let next = checkpoint folder "run" + ".part"

    use child = start [] folder (command + " --out run")
    waitFor "checkpoint" (fun () -> File.Exists(checkpoint folder "run"))
    child.Kill()
    child.WaitForExit()
    Expect.notEqual child.ExitCode 0 "it was not at its end"
    let before = bytes folder "run"
    File.CreateSymbolicLink(next, "/dev/full") |> ignore
    runIn [] folder "pretrain --resume run" |> isRefusal 6 "checkpoint.safetensors"
    Expect.isTrue (bytes folder "run" = before) "the last good checkpoint"
    Directory.Move(folder.At "run", folder.At "elsewhere")
    succeed folder "pretrain --resume elsewhere" |> ignore
    Expect.isTrue (bytes folder "elsewhere" = uninterrupted.Value) "the bytes of an undisturbed run"

[<Tests>]
let tests =
    testList "Endurance" [
        testCase "a run that is killed twice ends as if it had not been" (survives 2 1)
        testLong "nor do twenty kills matter" (survives 20 2)
        testCase "a full disk costs nothing before the last checkpoint, and a run may be moved" fullDisk
    ]
