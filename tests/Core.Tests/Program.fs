module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    let helpers = [ "Arrays"; "Laws"; "Reference" ]

    let lists = [
        Errors.tests
        Draws.tests
        Scopes.tests
        Clocks.tests
        Trees.tests
        Threats.tests
        Balls.tests
        Contrasts.tests
        Entropies.tests
    ]

    runTestsWithCLIArgs [] args (testList "Core" [ yield! lists; TestFiles.check helpers lists ])
