/// That no test file is forgotten.
module AdvContrast.Testing.TestFiles

open System
open System.Reflection
open Expecto

// Directory.Build.targets writes the names of the project's source files, compiled or not, into the assembly.
let private files (program: Assembly) =
    program.GetCustomAttributes<AssemblyMetadataAttribute>()
    |> Seq.filter (fun metadata -> metadata.Key = "TestFiles")
    |> Seq.collect _.Value.Split(';')
    |> List.ofSeq

let rec private labels test =
    match test with
    | TestLabel(label, _, _) -> [ label ]
    | Test.Sequenced(_, test) -> labels test
    | TestList(tests, _) -> tests |> List.collect labels
    | TestCase _ -> []

// The labels of what a module (or a C# class) named after the file holds under the name `tests`.
let private given (program: Assembly) file =
    program.GetTypes()
    |> Seq.filter (fun t -> t.Name = file || t.Name = file + "Module")
    |> Seq.choose (fun t ->
        t.GetProperty("tests", BindingFlags.IgnoreCase ||| BindingFlags.Static ||| BindingFlags.Public)
        |> Option.ofObj)
    |> Seq.filter (fun property -> property.PropertyType = typeof<Test>)
    |> Seq.collect (fun property -> property.GetValue null :?> Test |> labels)
    |> List.ofSeq

/// A test that each source file of this program, but for `helpers`, holds a value `tests`, and that its list
/// is among `tests`, the lists that the program runs.
let check (helpers: string list) (tests: Test list) =
    testCase "every test file gave its tests" (fun () ->
        let program = Assembly.GetEntryAssembly()
        let running = tests |> List.collect labels |> Set.ofList

        let forgotten =
            files program
            |> List.except ("Program" :: helpers)
            |> List.filter (fun file ->
                let names = given program file
                names.IsEmpty || not (names |> List.forall running.Contains))

        Expect.isNonEmpty (files program) "the build names the test files"
        Expect.equal forgotten [] "test files that hold no list of tests, or whose list does not run")
