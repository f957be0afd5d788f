module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    let lists = [ Repository.tests; Tree.tests ]
    runTestsWithCLIArgs [] args (testList "House" [ yield! lists; TestFiles.check [] lists ])
