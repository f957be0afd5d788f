/// What a build asks NuGet for, by -p:TorchDevice.
module Devices

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open Expecto
open Repository

let private cli = "src/Cli/AdvContrast.Cli.fsproj"

// The exit code of dotnet, and all that it prints.
let private dotnet (arguments: string list) =
    let info =
        ProcessStartInfo(
            "dotnet",
            arguments,
            WorkingDirectory = root.Value,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    // A build server that outlives the test would keep its output open.
    info.Environment["MSBUILDDISABLENODEREUSE"] <- "1"
    use child = Process.Start info
    let error = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEnd()
    child.WaitForExit()
    child.ExitCode, output + error.Result

// Name and version of each package of natives.
let private natives device =
    let _, text = dotnet [ "msbuild"; cli; "-getItem:PackageReference"; $"-p:TorchDevice={device}" ]

    [
        for item in Regex.Matches(text, "\"Identity\": \"(.+?)\",[^}]*?\"Version\": \"(.+?)\"") do
            item.Groups[1].Value, item.Groups[2].Value
    ]
    |> List.filter (fun (name, _) -> Regex.IsMatch(name, "^(libtorch|TorchSharp-)"))

// The version of a package in paket.lock.
let private locked name =
    Regex
        .Match(File.ReadAllText(Path.Combine(root.Value, "paket.lock")), $@"(?m)^    {name} \((.+?)\)")
        .Groups[1].Value

[<Tests>]
let tests =
    testList "Devices" [
        testCase "cpu takes libtorch for this platform, cuda TorchSharp's, none nothing" (fun () ->
            let cpu = natives "cpu"
            Expect.hasLength cpu 1 "packages for cpu"
            Expect.stringStarts (fst cpu.Head) "libtorch-cpu-" "package for cpu"
            Expect.equal (snd cpu.Head) (locked (fst cpu.Head)) "its version"
            Expect.equal
                (natives "cuda")
                [ "TorchSharp-cuda-linux", locked "TorchSharp" ]
                "packages for cuda"
            Expect.isEmpty (natives "none") "packages for none")

        testCase "a build for cuda says which package is missing" (fun () ->
            let home = Environment.GetFolderPath Environment.SpecialFolder.UserProfile

            if Directory.Exists(Path.Combine(home, ".nuget", "packages", "torchsharp-cuda-linux")) then
                skiptest "the package is there"

            let empty = Directory.CreateTempSubdirectory "advcontrast-"
            let sources = $"-p:RestoreSources={empty.FullName}"

            try
                let code, text =
                    dotnet [
                        "fsi"
                        "build.fsx"
                        "build"
                        "-p:TorchDevice=cuda"
                        "-p:BuildFolder=cuda"
                        sources
                    ]

                Expect.notEqual code 0 text
                let missing = [
                    for m in Regex.Matches(text, @"NU1101: Unable to find package (\S+)\.") ->
                        m.Groups[1].Value
                ]
                Expect.equal (List.distinct missing) [ "TorchSharp-cuda-linux" ] text
                Expect.stringEnds (text.Trim()) "which the NuGet source must have" "closing line"
            finally
                empty.Delete true)
    ]
