// Builds, tests and shows AdvContrast: `dotnet fsi build.fsx TARGET [arguments]`, with the .NET SDK alone.
// What follows the target's name goes to the program that the target runs.
#load "tests/mutants/Mutants.fsx"

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions

exception Stop of message: string * code: int

let stop message = raise (Stop(message, 1))
let say (text: string) = Console.WriteLine text
let files folder pattern = Directory.GetFiles(folder, pattern, SearchOption.AllDirectories) |> Array.sort
let words (text: string) = text.Split(' ', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

Directory.SetCurrentDirectory __SOURCE_DIRECTORY__
Environment.SetEnvironmentVariable("DOTNET_NOLOGO", "1")
// Ctrl-C reaches the child as well; it ends in its own way, and this program waits for that.
Console.CancelKeyPress.Add(fun key -> key.Cancel <- true)

// --- processes

let start (program: string) (arguments: string list) (output, error) =
    try
        ProcessStartInfo(program, arguments, RedirectStandardOutput = output, RedirectStandardError = error)
        |> Process.Start
    with :? ComponentModel.Win32Exception ->
        stop $"{program} is not on this machine"

let exitCode program arguments =
    use child = start program arguments (false, false)
    child.WaitForExit()
    child.ExitCode

let run program arguments =
    match exitCode program arguments with
    | 0 -> ()
    | code -> raise (Stop($"failed: {program} {List.head arguments}", code))

/// What a program prints or, where it is missing or fails, what it complained of.
let ask program arguments =
    try
        use child = start program arguments (true, true)
        let error = child.StandardError.ReadToEndAsync()
        let output = child.StandardOutput.ReadToEnd()
        child.WaitForExit()
        if child.ExitCode = 0 then Ok(output.Trim()) else Error(output + error.Result)
    with Stop(message, _) ->
        Error message

let answer program arguments = ask program arguments |> Result.defaultValue ""

// --- set-up: packages

/// Restores packages, where the lock has changed since the last time.
let setup () =
    let stamp, lock = "artifacts/packages.stamp", File.ReadAllText "paket.lock"
    let restored = File.Exists ".paket/Paket.Restore.targets" && File.Exists stamp

    if not (restored && File.ReadAllText stamp = lock) then
        say "setup: restoring packages"
        ask "./paketw" [ "restore"; "--group"; "Main" ] |> Result.mapError stop |> ignore
        Directory.CreateDirectory "artifacts" |> ignore
        File.WriteAllText(stamp, lock)

// --- targets

let program folder name = $"{folder}/bin/Release/net10.0/{name}.dll"

/// `dotnet build`, but silent where it succeeds.
let make what arguments =
    run "dotnet" (words "msbuild -restore -v:quiet -nologo -p:Configuration=Release" @ [ what ] @ arguments)

let build arguments =
    setup ()
    say "build: AdvContrast.sln"

    try
        make "AdvContrast.sln" arguments
    with Stop(_, code) when List.contains "-p:TorchDevice=cuda" arguments ->
        let advice =
            "TorchDevice=cuda takes the package TorchSharp-cuda-linux, which the NuGet source must have"
        raise (Stop(advice, code))

/// Builds the program alone, and only where something has changed: a second demo starts at once.
let demo arguments =
    setup ()
    let made, stamp = program "src/Cli" "advcontrast", "artifacts/program.stamp"

    let state () =
        [ "Directory.Build.props"; "Directory.Build.targets"; "paket.lock"; made ]
        @ List.ofArray (files "src" "*")
        |> List.filter (fun path -> path = made || not (Regex.IsMatch(path, "/(bin|obj)/")))
        |> List.map (fun path -> path, FileInfo path)
        |> List.map (fun (path, file) ->
            if file.Exists then $"{path} {file.Length} {file.LastWriteTimeUtc.Ticks}\n" else path)
        |> String.Concat

    if not (File.Exists stamp && File.ReadAllText stamp = state ()) then
        say "build: src/Cli"
        make "src/Cli/AdvContrast.Cli.fsproj" []
        File.WriteAllText(stamp, state ())

    exit (exitCode "dotnet" ([ "exec"; made; "demo" ] @ arguments))

/// Runs one test program and gives the counts of its closing line; without one it has failed.
let testProject arguments (project: string) =
    let name = Path.GetFileNameWithoutExtension project
    let command = [ "exec"; program (Path.GetDirectoryName project) name ] @ arguments
    use child = start "dotnet" command (true, true)
    let error = child.StandardError.ReadToEndAsync()
    let mutable counts = [ 0; 1; 0 ]

    while not child.StandardOutput.EndOfStream do
        let line = child.StandardOutput.ReadLine()
        let closing = Regex.Match(line, @"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")

        if closing.Success then
            counts <- [ for i in 1..3 -> int $"0{closing.Groups[i].Value}" ]
        else
            say line

    child.WaitForExit()

    // Tests print nothing on stderr, so a line there is libtorch's, or the trace of a crash.
    let isClean = String.IsNullOrWhiteSpace error.Result
    if not isClean then say $"{name} printed on stderr:\n{error.Result.TrimEnd()}"
    if counts[1] = 0 && not (child.ExitCode = 0 && isClean) then counts <- [ counts[0]; 1; counts[2] ]
    say $"-- {name}: {counts[0]} passed, {counts[1]} failed, exit code {child.ExitCode}"
    counts

/// Exits with 1 where a test failed, and where there was none.
let close passed failed skipped =
    say ($"{passed} passed, {failed} failed" + (if skipped > 0 then $", {skipped} skipped" else ""))
    if failed > 0 || passed = 0 then exit 1

let mutants names =
    setup ()
    let passed, failed = Mutants.run ask say names |> Result.defaultWith stop
    close passed failed 0

let tests arguments =
    build []
    if List.contains "--long" arguments then
        for variable in [ "ADVCONTRAST_LONG"; "ADVCONTRAST_COLLECT" ] do
            Environment.SetEnvironmentVariable(variable, "1")

    let run = testProject (List.except [ "--long" ] arguments)
    let results = files "tests" "*.Tests.??proj" |> Array.map run
    let sum i = results |> Array.sumBy (List.item i)
    close (sum 0) (sum 1) (sum 2)

let test arguments =
    match arguments with
    | "--mutants" :: names -> mutants names
    | _ -> tests arguments

let bench arguments =
    setup ()
    make "bench/AdvContrast.Bench.csproj" []
    run "dotnet" ([ "exec"; program "bench" "AdvContrast.Bench" ] @ arguments)

let format arguments =
    let check flag = if List.contains "--check" arguments then [ flag ] else []
    let folders = [ "src"; "tests"; "samples"; "bench" ] |> List.filter Directory.Exists
    ask "dotnet" [ "tool"; "restore" ] |> Result.mapError stop |> ignore
    run "dotnet" ([ "fantomas" ] @ check "--check" @ folders @ [ "build.fsx" ])

    // `dotnet format` knows no F#, so it gets the C# projects one by one.
    for project in folders |> Seq.collect (fun folder -> files folder "*.csproj") do
        run "dotnet" ([ "format"; project ] @ check "--verify-no-changes")

let pack arguments =
    setup ()

    for project in files "src" "AdvContrast*.??proj" do
        run "dotnet" (words "pack -c Release -o artifacts/packages --nologo" @ [ project ] @ arguments)

/// One archive for Linux with PyTorch's libtorch, without .NET and without a network: the program and the benchmark
/// with their runtime, and scripts that start them.
let bundle arguments =
    setup ()
    let folder, archive = "artifacts/bundle/advcontrast", "artifacts/advcontrast-linux-x64.tar.gz"
    if Directory.Exists folder then Directory.Delete(folder, true)

    for project in [ "src/Cli/AdvContrast.Cli.fsproj"; "bench/AdvContrast.Bench.csproj" ] do
        let publish =
            words $"publish {project} -c Release -v q --nologo -r linux-x64 --self-contained -o {folder}/lib"
        run
            "dotnet"
            (publish @ words "-p:BuildFolder=bundle -p:TorchDevice=none -p:DebugType=none" @ arguments)

    files folder "*.xml" |> Array.iter File.Delete

    for source, target in
        [
            "src/Cli/Bundle/start.sh", "advcontrast"
            "src/Cli/Bundle/start.sh", "bench.sh"
            for peer in files "bench/peers" "*.py" do
                peer, peer
        ] do
        let target = FileInfo $"{folder}/{target}"
        target.Directory.Create()
        File.Copy(source, target.FullName)

    run "tar" [ "-czf"; archive; "-C"; "artifacts/bundle"; "advcontrast" ]
    let size = float (FileInfo archive).Length / 1024.0 / 1024.0
    say $"bundle: {archive}, %.0f{size} MiB; there: tar -xzf it, advcontrast/advcontrast doctor"
    if size > 64.0 then stop "it is larger than 64 MiB"

/// The methods' cards, as the program prints them.
let docs arguments =
    setup ()
    make "src/Cli/AdvContrast.Cli.fsproj" []
    run
        "dotnet"
        ([ "exec"; program "src/Cli" "advcontrast"; "methods"; "--pages"; "docs/methods" ] @ arguments)

let targets = [
    "setup", "restore packages; does nothing where they are there", (fun _ -> setup ())
    "build", "everything", build
    "test", "everything, and every test [--long] [--filter PATH], or [--mutants NAME ...]", test
    "demo", "two encoders, attacked: what the project is for [--json FILE] [-- --help]", demo
    "bench", "what it costs", bench
    "format", "the source, as CI wants it [--check]", format
    "docs", "the methods' cards into docs/methods", docs
    "bundle", "an archive that runs where there is PyTorch but no .NET and no network", bundle
    "pack", "NuGet packages into artifacts/packages", pack
]

try
    let given = List.tail (List.ofArray fsi.CommandLineArgs)

    match targets |> List.tryFind (fun (name, _, _) -> Some name = List.tryHead given) with
    | Some(_, _, target) -> target given.Tail
    | None ->
        say "usage: dotnet fsi build.fsx TARGET [arguments]"
        targets |> List.iter (fun (name, does, _) -> say $"  {name, -8} {does}")
        exit 2
with Stop(message, code) ->
    eprintfn "%s" message
    exit code
