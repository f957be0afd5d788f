module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    let lists = [
        Looks.tests
        Runs.tests
        Assaults.tests
        Stops.tests
        Endurance.tests
        Files.tests
        Fetching.tests
        Misuse.tests
        Script.tests
    ]

    runTestsWithCLIArgs [] args (testList "Cli" [ yield! lists; TestFiles.check [ "User" ] lists ])
