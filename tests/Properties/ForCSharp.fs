namespace AdvContrast.Testing

open System
open System.Threading.Tasks
open Expecto

/// The test tree for C#: `using static AdvContrast.Testing.TestTree;`.
[<AbstractClass; Sealed>]
type TestTree =

    static member TestList(name: string, [<ParamArray>] tests: Test[]) : Test =
        testList name (List.ofArray tests)
    static member TestCase(name: string, test: Action) : Test = testCase name test.Invoke
    static member PTestCase(name: string, test: Action) : Test = ptestCase name test.Invoke

    static member TestCase(name: string, test: Func<Task>) : Test =
        testCase name (fun () -> test.Invoke().GetAwaiter().GetResult())

    /// The exception of exactly the type `e` that the action raises.
    static member Throws<'e when 'e :> exn>(action: Action, message: string) : 'e =
        Expect.throwsC action.Invoke (fun raised ->
            match raised with
            | :? 'e as e when raised.GetType() = typeof<'e> -> e
            | _ -> failtestf "%s. Expected %s, was %O" message typeof<'e>.Name raised)

    /// A test that each source file of this program but `Program` holds `Tests`, and that these have them.
    static member EveryFile([<ParamArray>] tests: Test[]) : Test = TestFiles.check [] (List.ofArray tests)

    /// Runs the tests: what `Main` returns.
    static member Run(args: string[], test: Test) : int = runTestsWithCLIArgs [] args test
