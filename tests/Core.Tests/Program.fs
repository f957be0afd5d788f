module Program

[<EntryPoint>]
let main args =
    AdvContrast.Engine.LibTorch.Load()
    AdvContrast.Testing.main "Core" args
