module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    let lists = [
        Pointwise.tests
        Reductions.tests
        Shapes.tests
        Indexing.tests
        Types.tests
        RoundTrips.tests
        Autograd.tests
        Functional.tests
        Generators.tests
        Scopes.tests
        Threads.tests
        Errors.tests
        Leaks.tests
        Engine.tests
        Binding.tests
        Api.tests
    ]

    runTestsWithCLIArgs [] args (testList "Torch" [ yield! lists; TestFiles.check [ "Values" ] lists ])
