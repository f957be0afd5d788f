module Program

[<EntryPoint>]
let main args = AdvContrast.Testing.main "Cli" args
