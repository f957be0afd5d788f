module LibTorchTests

open System
open System.IO
open AdvContrast.Engine
open Child
open Expecto
open TorchSharp

let private isLoaded (outcome: Outcome) =
    Expect.equal (outcome.Code, outcome.Errors) (0, []) "exit code, standard error"
    Expect.contains outcome.Lines "sum 3" "what torch computes"
    Expect.contains outcome.Lines $"version {LibTorch.ExpectedVersion}" "version"

/// That it ended with one sentence, before TorchSharp prints a page of its own.
let private isRefused (parts: string list) (outcome: Outcome) =
    Expect.equal (outcome.Code, outcome.Errors) (3, []) "exit code, standard error"
    Expect.hasLength outcome.Lines 1 "lines"

    for part in parts do
        Expect.stringContains outcome.Lines.Head part "the sentence"

let private mapped (outcome: Outcome) =
    outcome.Lines |> List.filter _.StartsWith("mapped ") |> List.map _.Substring("mapped ".Length)

let private ofLibTorch (path: string) =
    [ "libtorch"; "libc10"; "libgomp" ] |> List.exists ((Path.GetFileName path).StartsWith)

let private inTemporary (test: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "advcontrast-"

    try
        test folder.FullName
    finally
        folder.Delete true

let private filesBelow folder = Directory.GetFiles(folder, "*", SearchOption.AllDirectories) |> List.ofArray

let private loadsOriginal = lazy (run [] "load-original" |> _.Lines |> List.contains "loads true")

let private copiesWhereNeeded task () =
    inTemporary (fun cache ->
        let first = run [ "XDG_CACHE_HOME", cache ] task
        isLoaded first
        let copies = filesBelow cache
        Expect.equal copies.IsEmpty loadsOriginal.Value "no copy where the library loads as it is"
        let bridges = mapped first |> List.filter _.EndsWith("libLibTorchSharp.so")
        Expect.equal
            bridges
            (if copies.IsEmpty then [ Natives.Find "LibTorchSharp" ] else copies)
            "its library"
        isLoaded (run [ "XDG_CACHE_HOME", cache ] task)
        Expect.equal (filesBelow cache) copies "files after a second run")

let private neverCopiesWhatLoads () =
    use program = new Program()
    let library = program.Native "libLibTorchSharp.so"
    let bytes = File.ReadAllBytes library
    ElfFile.WeakenVersion(Span bytes, WeakBridge.NewestVersion)
    // A link to the package's file, which must stay as it is.
    File.Delete library
    File.WriteAllBytes(library, bytes)

    for task in [ "load"; "use-torch" ] do
        inTemporary (fun cache ->
            let outcome = runIn program.Folder [ "XDG_CACHE_HOME", cache ] task
            isLoaded outcome
            Expect.isEmpty (filesBelow cache) "copies"
            Expect.contains (mapped outcome) library "libraries in the process")

let private worksWithoutCache (name, value) =
    testLinux $"a copy needs no cache: {name} is '{value}'" (fun () ->
        isLoaded (run [ name, value; (if name = "HOME" then "XDG_CACHE_HOME" else "HOME"), "" ] "load"))

let private comesFromNamed task hasOwn () =
    use program = new Program()
    let named = program.LinkLibTorch "named"

    program.Natives |> Array.filter ofLibTorch |> Array.iter File.Delete

    // Another library in its place: had it been loaded by its path, it would be in the process.
    if hasOwn then
        File.Copy(Path.Combine(named, "libtorch_global_deps.so"), program.Native "libtorch_cpu.so")

    let outcome = runIn program.Folder [ "ADVCONTRAST_LIBTORCH", named ] task
    isLoaded outcome
    Expect.contains outcome.Lines $"folder {named}" "folder"
    let libraries = mapped outcome |> List.filter ofLibTorch
    Expect.isNonEmpty libraries "libraries"
    Expect.all libraries (fun path -> Path.GetDirectoryName path = named) "folders of libraries"

let private refusesSecond () =
    use program = new Program()
    let named = Directory.CreateDirectory(Path.Combine(program.Folder, "named")).FullName
    File.WriteAllText(Path.Combine(named, "libtorch_cpu.so"), "another")

    runIn program.Folder [ "ADVCONTRAST_LIBTORCH", named ] "load-late"
    |> isRefused [ named; "LibTorch.Load()" ]

let private refusesOther () =
    inTemporary (fun folder ->
        run [ "ADVCONTRAST_LIBTORCH", folder ] "load"
        |> isRefused [ "ADVCONTRAST_LIBTORCH"; folder; "libtorch_cpu.so" ]

        File.WriteAllText(Path.Combine(folder, "libtorch_cpu.so"), "no library")

        run [ "ADVCONTRAST_LIBTORCH", folder ] "load"
        |> isRefused [ Path.Combine(folder, "libtorch_cpu.so"); "cannot be loaded" ])

let private refusesOtherNames () =
    use program = new Program()
    let named = program.LinkLibTorch "named"
    File.Delete(Path.Combine(named, "libtorch.so"))
    runIn program.Folder [ "ADVCONTRAST_LIBTORCH", named ] "load" |> isRefused [ named; "libtorch.so" ]

let private saysWhatIsMissing (library: string) =
    testLinux $"a program without {library} says so in one sentence" (fun () ->
        use program = new Program()
        File.Delete(program.Native library)
        runIn program.Folder [] "load" |> isRefused [ library ])

[<Tests>]
let tests =
    testList "LibTorch" [
        testCase "it is the version that TorchSharp is built for" (fun () ->
            LibTorch.Load()
            Expect.stringStarts torch.__version__ (LibTorch.ExpectedVersion + ".") "TorchSharp's"
            Expect.equal LibTorch.Version LibTorch.ExpectedVersion "libtorch's"
            Expect.isNull (LibTorch.Warning("folder", LibTorch.Version)) "warning")

        testCase "another version is told with its folder" (fun () ->
            for version in [ "2.9.1"; "unknown" ] do
                let warning = LibTorch.Warning("/some/lib", version)

                for part in [ "/some/lib"; version; LibTorch.ExpectedVersion ] do
                    Expect.stringContains warning part "the sentence")

        testLinux
            "Load copies TorchSharp's library where it does not load as it is"
            (copiesWhereNeeded "load")
        testLinux "torch used first finds the same copy" (copiesWhereNeeded "use-torch")
        testLinux "a library that loads as it is gets no copy" neverCopiesWhatLoads

        for setting in [ "XDG_CACHE_HOME", "/dev/null/x"; "XDG_CACHE_HOME", "relative"; "HOME", "/dev/null" ] do
            worksWithoutCache setting

        for task in [ "load"; "use-torch" ] do
            testLinux $"libtorch comes from the folder named: {task}" (comesFromNamed task false)
            testLinux $"so it does where the program has its own: {task}" (comesFromNamed task true)

        testLinux "a libtorch that is loaded already is used" (fun () -> isLoaded (run [] "load-late"))
        testLinux "a folder that is named then comes too late" refusesSecond
        testLinux "a folder without libtorch is refused in one sentence" refusesOther
        testLinux "so is one whose libtorch has other names" refusesOtherNames

        for library in [ "libtorch_cpu.so"; "libc10.so"; "libLibTorchSharp.so" ] do
            saysWhatIsMissing library
    ]
