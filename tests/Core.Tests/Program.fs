module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    let helpers = [ "Arrays"; "Laws"; "Reference"; "Oracles"; "Fixtures" ]

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
        Layers.tests
        Nets.tests
        Ascents.tests
        Assaults.tests
        Views.tests
        Schedules.tests
        Transforms.tests
        Steps.tests
        Engines.tests
        Readers.tests
        Datasets.tests
        Files.tests
        Checkpoints.tests
        Configurations.tests
        Runs.tests
        Probes.tests
        Verbs.tests
        References.tests
    ]

    runTestsWithCLIArgs [] args (testList "Core" [ yield! lists; TestFiles.check helpers lists ])
