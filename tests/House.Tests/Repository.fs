/// What the repository promises about itself.
module Repository

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open Expecto

let rec private above (folder: DirectoryInfo) =
    if isNull folder then failtest "the tests run outside the repository"
    elif File.Exists(Path.Combine(folder.FullName, "build.fsx")) then folder.FullName
    else above folder.Parent

/// The repository's folder.
let root = lazy above (DirectoryInfo AppContext.BaseDirectory)
let private at path = Path.Combine(root.Value, path)

let private files =
    lazy
        (use git =
            ProcessStartInfo(
                "git",
                [ "ls-files"; "-z" ],
                WorkingDirectory = root.Value,
                RedirectStandardOutput = true
            )
            |> Process.Start

         git.StandardOutput.ReadToEnd().Split('\000', StringSplitOptions.RemoveEmptyEntries)
         |> Array.filter (at >> File.Exists)
         |> List.ofArray)

let private binary (path: string) = [ ".gz"; ".png"; ".npy"; ".safetensors" ] |> List.exists path.EndsWith

// `path:line` for each line of the files that matches.
let private hits (pattern: string) paths = [
    for path in paths do
        for number, line in File.ReadLines(at path) |> Seq.indexed do
            if Regex.IsMatch(line, pattern) then $"{path}:{number + 1}"
]

// Each pattern is cut in two, so that this file does not match it.
let private foreign =
    [
        "api\\.nug" + "et"
        "nug" + "et\\.org"
        "registry\\.np" + "mjs?"
        "deb\\.deb" + "ian"
        "(?<![\\w.])/(wo" + "rk|ro" + "ot|ho" + "me)/"
    ]
    |> String.concat "|"

[<Tests>]
let tests =
    testList "Repository" [
        testCase "names no package feed and no machine's folders" (fun () ->
            Expect.equal
                (files.Value |> List.filter (binary >> not) |> hits foreign)
                []
                "lines that must not be there")

        testCase "locks packages to the feed that the machine is configured for" (fun () ->
            let remotes =
                File.ReadLines(at "paket.lock")
                |> Seq.map _.Trim()
                |> Seq.filter _.StartsWith("remote:")
                |> Seq.distinct
                |> List.ofSeq

            Expect.equal remotes [ "remote: %NUGET_FEED%" ] "remotes of paket.lock")

        testCase "raises no exception that says nothing" (fun () ->
            let sources = files.Value |> List.filter (fun path -> Regex.IsMatch(path, @"^src/.*\.(fs|cs)$"))
            Expect.isNonEmpty sources "sources"
            Expect.equal (hits @"\bfailwithf?\b|NotImplementedException" sources) [] "lines of src")

        testCase "has every project in the solution" (fun () ->
            let solution = File.ReadAllText(at "AdvContrast.sln").Replace('\\', '/')
            let projects = files.Value |> List.filter (fun path -> Regex.IsMatch(path, @"\.(fs|cs)proj$"))
            let missing = projects |> List.filter (fun path -> not (solution.Contains($"\"{path}\"")))
            Expect.equal missing [] "projects that the solution lacks")

        testCase "compiles every F# file" (fun () ->
            let compiled =
                Set [
                    for project in files.Value |> List.filter _.EndsWith(".fsproj") do
                        for item in Regex.Matches(File.ReadAllText(at project), "Compile Include=\"(.+?)\"") do
                            Path.GetFullPath(at $"{project}/../{item.Groups[1].Value}")
                ]

            let sources = files.Value |> List.filter _.EndsWith(".fs")
            let forgotten =
                sources |> List.filter (fun path -> not (compiled.Contains(Path.GetFullPath(at path))))
            Expect.isNonEmpty sources "sources"
            Expect.equal forgotten [] "files that no project compiles")

        testCase "uses the isLessThan that fails where a number is NaN" (fun () ->
            let weak path =
                let text = File.ReadAllText(at path)
                Regex.IsMatch(text, @"(?<!Testing\.)Expect\.isLessThan")
                && not (Regex.IsMatch(text, @"open Expecto\n[\s\S]*open AdvContrast\.Testing\n"))

            let sources =
                files.Value |> List.filter (fun path -> Regex.IsMatch(path, @"^tests/.*\.(fs|cs)$"))
            Expect.isNonEmpty sources "sources"
            Expect.equal (sources |> List.filter weak) [] "files that use Expecto's own isLessThan")

        testCase "asks for nothing that only Linux has" (fun () ->
            let sources = files.Value |> List.filter (fun path -> Regex.IsMatch(path, @"^src/.*\.(fs|cs)$"))
            let pattern = "\"/(proc|usr|sys|bin|etc)\\b|\"(sh|bash|env|apt-get)\""
            Expect.equal (hits pattern sources) [] "lines of src")
    ]
