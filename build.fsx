// Builds, tests and shows AdvContrast: `dotnet fsi build.fsx TARGET [arguments]`. Needs nothing but the .NET SDK.
// What follows the target's name goes to the program that the target runs.
open System
open System.Diagnostics
open System.IO
open System.Security.Cryptography
open System.Text
open System.Text.Json
open System.Text.RegularExpressions

exception Stop of message: string * code: int

let stop message = raise (Stop(message, 1))
let say (text: string) = Console.WriteLine text

Directory.SetCurrentDirectory __SOURCE_DIRECTORY__
// The command line's own greeting and telemetry would be noise in every log.
for name in [ "DOTNET_NOLOGO"; "DOTNET_CLI_TELEMETRY_OPTOUT" ] do
    Environment.SetEnvironmentVariable(name, "1")

// --- processes

// Ctrl-C reaches the child as well; it ends in its own way, and this program waits for that.
Console.CancelKeyPress.Add(fun key -> key.Cancel <- true)

let start (program: string) (arguments: string list) captured =
    try
        ProcessStartInfo(program, arguments, RedirectStandardOutput = captured, RedirectStandardError = captured)
        |> Process.Start
    with :? ComponentModel.Win32Exception ->
        stop $"{program} is not on this machine"

let code program arguments =
    use child = start program arguments false
    child.WaitForExit()
    child.ExitCode

let run program arguments =
    match code program arguments with
    | 0 -> ()
    | failed -> raise (Stop($"failed: {program} {List.head arguments}", failed))

/// What a program prints, or, where it is missing or fails, what it complained of.
let ask program arguments =
    try
        use child = start program arguments true
        let error = child.StandardError.ReadToEndAsync()
        let output = child.StandardOutput.ReadToEnd()
        child.WaitForExit()
        if child.ExitCode = 0 then Ok(output.Trim()) else Error(output + error.Result)
    with Stop(message, _) ->
        Error message

let answer program arguments = ask program arguments |> Result.defaultValue ""

/// Runs a program whose output matters only where it fails. Tells whether it succeeded.
let quietly program arguments =
    ask program arguments |> Result.mapError (eprintfn "%s") |> Result.isOk

// --- set-up: libtorch, the bridge to it, packages

type LibTorch = { Include: string; Lib: string; Found: string }

let native = "artifacts/native"
let cpu torch = Path.Combine(torch.Lib, "libtorch_cpu.so")
let there torch = File.Exists(cpu torch) && Directory.Exists(Path.Combine(torch.Include, "torch"))

let inFolder found folder = {
    Include = Path.Combine(folder, "include")
    Lib = Path.Combine(folder, "lib")
    Found = found
}

let system () = {
    Include = "/usr/include"
    // The compiler knows the folder of this machine's architecture.
    Lib = Path.GetFullPath(answer "g++" [ "-print-file-name=libtorch_cpu.so" ] + "/..")
    Found = "system"
}

/// The libtorch that the user named or that comes with the active Python's PyTorch.
let given () =
    match Environment.GetEnvironmentVariable "ADVCONTRAST_LIBTORCH" with
    | null
    | "" ->
        // Asked without importing it, which would take seconds. Debian's own PyTorch is the system's libtorch again.
        let find = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
        let torch = answer "python3" [ "-c"; find ] |> inFolder "python"
        if there torch && not (torch.Lib.StartsWith "/usr/lib/python3/") then Some torch else None
    | folder ->
        let torch = inFolder "ADVCONTRAST_LIBTORCH" (Path.GetFullPath folder)
        if there torch then Some torch
        else stop $"ADVCONTRAST_LIBTORCH names {folder}, which holds no include/torch and lib/libtorch_cpu.so"

let installed package =
    answer "dpkg-query" [ "-W"; "-f=${Status}"; package ] = "install ok installed"

/// Installs what is missing of Debian's packages.
let install packages =
    let missing = packages |> List.filter (installed >> not)
    let get arguments = quietly "apt-get" ([ "-q"; "-y"; "-o"; "Dpkg::Use-Pty=0" ] @ arguments)
    let wanted = [ "install"; "--no-install-recommends" ] @ missing

    if missing.IsEmpty then ()
    elif answer "dpkg-query" [ "--version" ] = "" then
        let names = String.Join(", ", missing)
        stop $"this is no Debian: install g++, and set ADVCONTRAST_LIBTORCH to a folder with libtorch (missing: {names})"
    elif not Environment.IsPrivilegedProcess then
        let names = String.Join(" ", wanted)
        stop $"ask the administrator to run: apt-get update && apt-get {names}"
    else
        say $"""setup: installing {String.Join(", ", missing)}"""
        Environment.SetEnvironmentVariable("DEBIAN_FRONTEND", "noninteractive")
        get [ "update" ] |> ignore
        // A mirror that fails once often answers the second time.
        if not (get wanted || (get [ "-f"; "install" ] |> ignore; get wanted)) then
            stop "Debian's packages could not be installed; what apt-get said stands above"

let libTorch () =
    match given () with
    | Some torch ->
        if answer "g++" [ "--version" ] = "" then install [ "g++" ]
        torch
    | None ->
        // Without libopenblas0-pthread Debian's libtorch multiplies matrices forty times slower.
        if not (there (system ())) || File.Exists "/etc/debian_version" then
            install [ "libtorch-dev"; "libgloo-dev"; "libopenblas0-pthread"; "g++" ]

        let torch = system ()
        if there torch then torch else stop "no libtorch was found; set ADVCONTRAST_LIBTORCH to the folder of one"

let version torch =
    let header = File.ReadAllText(Path.Combine(torch.Include, "torch/csrc/api/include/torch/version.h"))
    let part name = Regex.Match(header, $@"define TORCH_VERSION_{name} (\d+)").Groups[1].Value
    String.Join(".", List.map part [ "MAJOR"; "MINOR"; "PATCH" ])

let fingerprint torch =
    let file = FileInfo(cpu torch)
    let file = match file.ResolveLinkTarget true with null -> file | target -> target :?> FileInfo
    $"{file.Length}-{DateTimeOffset(file.LastWriteTimeUtc).ToUnixTimeSeconds()}"

/// Which of the two layouts of std::string libtorch was built with; the names of its own functions tell.
let abi torch =
    let symbols = File.ReadAllBytes(Path.Combine(torch.Lib, "libc10.so")).AsSpan()
    if symbols.IndexOf("c105ErrorC1ENS_14SourceLocationESs"B.AsSpan()) >= 0 then 0 else 1

let bridge torch =
    let sources = Directory.GetFiles("src/Torch/Native") |> Array.sort
    let api = Path.Combine(torch.Include, "torch/csrc/api/include")

    let arguments = [
        yield! [ "-O2"; "-std=c++17"; "-shared"; "-fPIC"; $"-D_GLIBCXX_USE_CXX11_ABI={abi torch}" ]
        yield! [ "-I"; torch.Include; "-I"; api; "src/Torch/Native/bridge.cpp"; $"-L{torch.Lib}" ]
        yield! [ "-Wl,--no-as-needed"; "-ltorch"; "-ltorch_cpu"; "-lc10"; $"-Wl,-rpath,{torch.Lib}" ]
    ]

    let text = String.concat "\n" [ yield! arguments; yield! Array.map File.ReadAllText sources ]

    let record =
        JsonSerializer.Serialize
            {| path = torch.Lib
               version = version torch
               fingerprint = fingerprint torch
               found = torch.Found
               bridge = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes text)) |}

    let library, note = $"{native}/libadvcontrast_torch.so", $"{native}/libtorch.json"

    if not (File.Exists library && File.Exists note && File.ReadAllText note = record) then
        say $"setup: compiling the bridge to libtorch {version torch} in {torch.Lib}"
        Directory.CreateDirectory native |> ignore
        File.Delete note
        run "g++" [ yield! arguments; "-o"; library + ".new" ]
        File.Move(library + ".new", library, true)
        File.WriteAllText(note, record)

let packages () =
    let ready = "artifacts/packages.stamp"
    let lock = File.ReadAllText "paket.lock"

    if not (File.Exists ".paket/Paket.Restore.targets" && File.Exists ready && File.ReadAllText ready = lock) then
        say "setup: restoring packages"
        if not (quietly "./paketw" [ "restore" ]) then stop "packages could not be restored"
        Directory.CreateDirectory "artifacts" |> ignore
        File.WriteAllText(ready, lock)

let setup () =
    libTorch () |> bridge
    packages ()

// --- targets

let program project name = $"{project}/bin/Release/net10.0/{name}.dll"

let dotnetBuild (what: string) arguments =
    run "dotnet" [ "build"; what; "-c"; "Release"; "-v"; "quiet"; "--nologo"; yield! arguments ]

let build arguments =
    setup ()
    say "build: AdvContrast.sln"
    dotnetBuild "AdvContrast.sln" arguments

/// Builds the program alone, and not even that where nothing has changed since: a second demo starts at once.
let buildProgram () =
    setup ()
    let made = program "src/Cli" "advcontrast"
    let stamp = "artifacts/program.stamp"

    let state () =
        [ yield! Directory.GetFiles("src", "*", SearchOption.AllDirectories)
          yield! Directory.GetFiles native
          yield! [ "Directory.Build.props"; "Directory.Build.targets"; "paket.lock"; made ] ]
        |> List.filter (fun path -> path = made || not (Regex.IsMatch(path, "/(bin|obj)/")))
        |> List.map FileInfo
        |> List.map (fun file -> if file.Exists then $"{file} {file.Length} {file.LastWriteTimeUtc.Ticks}" else $"{file}")
        |> List.sort
        |> String.concat "\n"

    if not (File.Exists stamp && File.ReadAllText stamp = state ()) then
        say "build: src/Cli"
        dotnetBuild "src/Cli" []
        File.WriteAllText(stamp, state ())

    made

let demo arguments =
    let made = buildProgram ()
    exit (code "dotnet" [ "exec"; made; "demo"; yield! arguments ])

/// A test program, its standard output to be read; what it says of itself on the other goes straight through.
let testProcess name arguments =
    let command = [ "exec"; program $"tests/{name}" name; yield! arguments ]
    Process.Start(ProcessStartInfo("dotnet", command, RedirectStandardOutput = true))

let test arguments =
    build []

    if List.contains "--long" arguments then
        Environment.SetEnvironmentVariable("ADVCONTRAST_LONG", "1")

    let arguments = arguments |> List.except [ "--long" ]

    let results = [
        for project in Directory.GetFiles("tests", "*.Tests.??proj", SearchOption.AllDirectories) |> Array.sort do
            let name = Path.GetFileNameWithoutExtension project
            let clock = Stopwatch.StartNew()
            use child = testProcess name arguments
            let mutable counts = None

            for line in Seq.initInfinite (fun _ -> child.StandardOutput.ReadLine()) |> Seq.takeWhile (isNull >> not) do
                let closing = Regex.Match(line, @"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
                if not closing.Success then say line
                else counts <- Some [ for i in 1..3 -> if closing.Groups[i].Success then int closing.Groups[i].Value else 0 ]

            child.WaitForExit()

            match counts with
            | Some [ passed; failed; skipped ] when (failed > 0) = (child.ExitCode <> 0) ->
                say $"{name}: {passed} passed, {failed} failed, {skipped} skipped in {clock.Elapsed.TotalSeconds:F1} s"
                passed, failed, skipped
            | _ ->
                say $"{name}: ended with {child.ExitCode} before its last line"
                0, 1, 0
    ]

    let sum part = List.sumBy part results
    let passed, failed, skipped = sum (fun (p, _, _) -> p), sum (fun (_, f, _) -> f), sum (fun (_, _, s) -> s)
    say ($"{passed} passed, {failed} failed" + (if skipped > 0 then $", {skipped} skipped" else ""))
    if failed > 0 || passed = 0 then exit 1

let format arguments =
    let check = List.contains "--check" arguments
    run "dotnet" [ "tool"; "restore"; "--verbosity"; "quiet" ]
    let folders = [ "src"; "tests"; "samples"; "bench" ] |> List.filter Directory.Exists
    let flag name = if check then [ name ] else []
    run "dotnet" [ "fantomas"; yield! flag "--check"; yield! folders; "build.fsx" ]

    for project in folders |> Seq.collect (fun f -> Directory.GetFiles(f, "*.csproj", SearchOption.AllDirectories)) do
        if not (project.Contains "/Reference/") then
            run "dotnet" [ "format"; project; yield! flag "--verify-no-changes" ]

let pack arguments =
    setup ()

    for project in Directory.GetFiles("src", "AdvContrast*.??proj", SearchOption.AllDirectories) do
        run "dotnet" [ "pack"; project; "-c"; "Release"; "-o"; "artifacts/packages"; "--nologo"; yield! arguments ]

let bench arguments =
    setup ()
    dotnetBuild "bench" []
    run "dotnet" [ "exec"; program "bench" "AdvContrast.Bench"; yield! arguments ]

let targets = [
    "setup", "libtorch, the bridge to it, packages; does nothing where all is there", fun _ -> setup ()
    "build", "everything", build
    "test", "everything, and every test [--long] [--filter PATH]", test
    "demo", "two encoders, attacked: what the project is for [--json FILE] [--help]", demo
    "bench", "what it costs", bench
    "format", "the source, as CI wants it [--check]", format
    "pack", "NuGet packages into artifacts/packages", pack
]

let main = function
    | name :: arguments when targets |> List.exists (fun (n, _, _) -> n = name) ->
        let _, _, target = targets |> List.find (fun (n, _, _) -> n = name)
        target arguments
    | given ->
        say "usage: dotnet fsi build.fsx TARGET [arguments]"
        for name, does, _ in targets do say $"  {name, -8} {does}"
        if given <> [ "help" ] then exit 2

try
    main (List.tail (List.ofArray fsi.CommandLineArgs))
with Stop(message, code) ->
    eprintfn "%s" message
    exit code
