module Program

[<EntryPoint>]
let main args =
    match args with
    | [| "child"; task |] -> Tasks.run task
    | _ -> AdvContrast.Testing.main "Engine" args
