namespace AdvContrast.Core.Optim

open AdvContrast.Core.Foundation

/// An update rule that can be asked for by name.
[<NoEquality; NoComparison>]
type OptimizerEntry = {
    Name: string
    Summary: string
    /// The learning rate where none is given.
    Rate: float
    Build: Schedule -> Transform
}

/// The update rules by name.
[<RequireQualifiedAccess>]
module OptimizerRegistry =

    let all =
        let entry name rate build summary = { Name = name; Summary = summary; Rate = rate; Build = build }
        let adam rate = Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale rate ]
        let adamW rate = Transform.adamW rate 0.9 0.999 1e-8 1e-2
        let lars rate = Transform.larsMomentum rate 0.9 1e-3 1e-6
        let larc rate = Transform.larcMomentum rate 0.9 0.02 1e-5
        let sgd rate = Transform.sgd rate 0.9 5e-4
        let nesterov rate = Transform.sgdNesterov rate 0.9 5e-4

        [
            entry "lars" 5.0 lars "LARS of ACL: momentum 0.9, weight decay 1e-6, trust 0.001"
            entry
                "larc"
                0.4
                larc
                "LARS of solo-learn: cut at the rate, trust 0.02, weight decay 1e-5, not for biases and norms"
            entry "sgd" 0.1 sgd "momentum 0.9, weight decay 5e-4"
            entry "nesterov" 0.1 nesterov "SGD with Nesterov's momentum 0.9, weight decay 5e-4"
            entry "adam" 1e-3 adam "Adam: betas 0.9 and 0.999, no weight decay"
            entry "adamw" 1e-3 adamW "AdamW as PyTorch has it: betas 0.9 and 0.999, weight decay 0.01"
        ]

    /// Their names in a sentence: "lars, larc, sgd, nesterov, adam or adamw".
    let names () =
        let names = all |> List.map _.Name
        sprintf "%s or %s" (names |> List.take (names.Length - 1) |> String.concat ", ") (List.last names)

    /// A rule by name, whatever its case.
    let find (name: string) : Result<OptimizerEntry, Error> =
        match all |> List.tryFind (fun rule -> rule.Name = name.ToLowerInvariant()) with
        | Some rule -> Ok rule
        | None -> Error(Error.UnknownName("optimiser", name, all |> List.map _.Name))
