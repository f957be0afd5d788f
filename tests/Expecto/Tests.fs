namespace Expecto

open System
open System.Threading
open System.Threading.Tasks

/// The names with which a test tree is written and run.
[<AutoOpen>]
module Tests =

    // --- the tree

    let private label state name test = TestLabel(name, test, state)
    let private case state name code = label state name (TestCase(code, state))
    let private list state name tests = label state name (TestList(tests, state))

    let testLabel name test = label Normal name test
    let testList name tests = list Normal name tests
    let ptestList name tests = list Pending name tests
    let testCase name (test: unit -> unit) = case Normal name (Sync test)
    let ptestCase name (test: unit -> unit) = case Pending name (Sync test)
    let testCaseWithCancel name (test: CancellationToken -> unit) = case Normal name (SyncWithCancel test)
    let testCaseAsync name (test: Async<unit>) = case Normal name (Async test)
    let ptestCaseAsync name (test: Async<unit>) = case Pending name (Async test)

    let testCaseTask name (test: unit -> Task<unit>) =
        testCaseAsync name (async { return! Async.AwaitTask(test ()) })

    let testTheory name (cases: 'a seq) (test: 'a -> 'b) =
        testList name [ for case in cases -> testCase (string (box case)) (fun () -> test case |> ignore) ]

    /// Ours always run one after another; this keeps Expecto from doing otherwise.
    let testSequenced test = Sequenced(Synchronous, test)
    let testSequencedGroup name test = Sequenced(SynchronousGroup name, test)

    // --- leaving a test

    let failtest msg : 'a = raise (AssertException msg)
    let failtestf (fmt: Printf.StringFormat<'a, 'b>) : 'a = Printf.ksprintf failtest fmt
    let skiptest msg : 'a = raise (IgnoreException msg)
    let skiptestf (fmt: Printf.StringFormat<'a, 'b>) : 'a = Printf.ksprintf skiptest fmt

    // --- running it

    /// What may be said to the runner. The names and their spelling on the command line are Expecto's.
    type CLIArguments =
        | Sequenced
        | Parallel
        | Filter of hiera: string
        | Filter_Test_List of substring: string
        | Filter_Test_Case of substring: string
        | Run of tests: string list
        | List_Tests of listStates: FocusState list
        | Summary
        | No_Spinner
        | Debug
        | Allow_Duplicate_Names

    let private usage =
        "--filter PATH (the first names, dotted), --filter-test-list TEXT, --filter-test-case TEXT, \
         --run NAME ..., --list-tests, --summary, --debug, --sequenced, --parallel, --no-spinner, --allow-duplicate-names"

    let rec private parse args : Result<CLIArguments list, string> =
        let next argument rest = parse rest |> Result.map (fun others -> argument :: others)

        match args with
        | [] -> Ok []
        | "--filter" :: text :: rest -> next (Filter text) rest
        | "--filter-test-list" :: text :: rest -> next (Filter_Test_List text) rest
        | "--filter-test-case" :: text :: rest -> next (Filter_Test_Case text) rest
        | "--run" :: rest ->
            let names = rest |> List.takeWhile (fun (arg: string) -> not (arg.StartsWith "--"))
            next (Run names) (List.skip names.Length rest)
        | "--list-tests" :: rest -> next (List_Tests []) rest
        | "--summary" :: rest -> next Summary rest
        | "--debug" :: rest -> next Debug rest
        | "--sequenced" :: rest -> next Sequenced rest
        | "--parallel" :: rest -> next Parallel rest
        | "--no-spinner" :: rest -> next No_Spinner rest
        | "--allow-duplicate-names" :: rest -> next Allow_Duplicate_Names rest
        | unknown :: _ -> Error $"unknown or incomplete argument '{unknown}'; there are: {usage}"

    let private contains (text: string) (name: string) =
        name.Contains(text, StringComparison.OrdinalIgnoreCase)

    let private selects argument (test: Run.Flat) =
        match argument with
        | Filter path ->
            let name = Run.fullName test
            name = path || name.StartsWith(path + ".", StringComparison.Ordinal)
        | Filter_Test_List text ->
            test.Path |> List.take (test.Path.Length - 1) |> List.exists (contains text)
        | Filter_Test_Case text -> contains text (List.last test.Path)
        | Run names -> List.contains (Run.fullName test) names
        | _ -> true

    let runTestsWithCLIArgsAndCancel
        (ct: CancellationToken)
        (cliArgs: CLIArguments seq)
        (args: string[])
        (tests: Test)
        =
        let all = Run.flatten tests

        let duplicates =
            all |> List.countBy Run.fullName |> List.filter (fun (_, count) -> count > 1) |> List.map fst

        match parse (List.ofArray args) with
        | Error message ->
            eprintfn "%s" message
            1
        | Ok given ->
            let arguments = List.ofSeq cliArgs @ given
            let has = fun argument -> List.contains argument arguments
            let chosen = all |> List.filter (fun test -> arguments |> List.forall (fun a -> selects a test))

            if not duplicates.IsEmpty && not (has Allow_Duplicate_Names) then
                eprintfn "tests of the same name: %s" (String.Join(", ", duplicates))
                1
            elif arguments |> List.exists _.IsList_Tests then
                chosen |> List.iter (Run.fullName >> printfn "%s")
                0
            elif all.IsEmpty then
                eprintfn "there is no test"
                1
            else
                let say name = if has Debug then printfn "running %s" name
                Run.all say (has Summary) ct chosen

    let runTestsWithCLIArgs cliArgs args tests =
        runTestsWithCLIArgsAndCancel CancellationToken.None cliArgs args tests
