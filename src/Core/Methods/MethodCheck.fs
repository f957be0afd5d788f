namespace AdvContrast.Core.Methods

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks

/// Finds the names that a method uses and nothing defines: views, passes, branches, networks, stages, heads and
/// labels, in the parts that are data and in its losses.
[<RequireQualifiedAccess>]
module MethodCheck =

    let private unknown kind known name =
        if List.contains name known then None else Some(Error.UnknownName(kind, name, known))

    let private rows = 4L

    // The networks of a method's passes where they can be known without a run, with width-1 backbones.
    let private networkOf (earlier: Stage list) (method: Method) who : (Network * Branch) option =
        let tiny (m: Method) =
            let input: ImageInfo = { Channels = 1L; Mean = [ 0.0 ]; Std = [ 1.0 ]; Classes = 2 }
            m.Head.Run(SmallNet.create 1L input m.Branches)

        match who with
        | Online
        | Average _ -> Some(tiny method, method.Branches.Head)
        | Frozen name ->
            earlier @ method.Before
            |> List.tryPick (fun stage ->
                match stage with
                | Stage.Train(given, m) when given = name -> Some(tiny m, snd m.Deploy)
                | _ -> None)

    // An output of a network in shape, with values that every loss is defined for.
    let private outputOf (network: Network, branch) =
        let parameters, buffers = network.Init(Rng.create 1UL "init" [||])
        let images = torch.zeros [| rows; 1L; 8L; 8L |]
        let output, _ = network.Apply (Call.create branch Eval) parameters buffers images
        let ramp (x: Tensor) =
            torch.linspace(-1.0, 1.0, x.numel ()).sin().reshape(x.shape) + torch.eye (x.shape[0], x.shape[1])
        output |> Output.map ramp

    // A scene of passes without training: made-up outputs, labels and memory.
    let private sceneOf earlier (method: Method) outputs (memory: TensorTree) : LossContext =
        let labels name =
            let isComputed = earlier @ method.Before |> List.exists _.IsCompute

            if name = "class" || isComputed then
                torch.arange (rows, dtype = torch.int64) % 2L.ToScalar()
            else
                raise (UnknownNameException(Error.UnknownName("labels", name, [ "class" ])))

        {
            Progress = Progress.start 10 10
            Memory = memory
            Ids = [| 0L .. rows - 1L |]
            Labels = labels
            Output = LossContext.output outputs
            Gather = fun x -> x.alias ()
        }

    // Runs a use of a scene for the names that it asks for; other faults need real data to be judged.
    let private asks (f: LossContext -> unit) scene : Error option =
        try
            f scene
            None
        with
        | UnknownNameException error -> Some error
        | _ -> None

    // The names that the losses of a method's own step ask for and that are not there.
    let private inLosses earlier (method: Method) : Error list =
        Scope.value (fun () ->
            use _ = torch.no_grad ()
            let step = method.Step

            let outputs (passes: Pass list) =
                passes
                |> List.collect (fun pass ->
                    let output = networkOf earlier method pass.Who |> Option.map outputOf
                    [ for view in pass.Views -> output |> Option.map (fun o -> (pass.Name, view), o) ])

            let check passes uses =
                let outputs = outputs passes

                // A network that only a run can give may have heads of its own.
                if outputs |> List.exists Option.isNone then
                    []
                else
                    let width = (networkOf earlier method Online).Value |> fst |> _.EmbeddingWidth
                    let memory = method.Memory.Init (Rng.create 1UL "memory" [||]) width
                    let scene = sceneOf earlier method (outputs |> List.choose id |> Map.ofList) memory
                    uses |> List.choose (fun f -> asks f scene)

            let adversaries =
                step.Adversaries
                |> List.collect (fun a -> check a.Passes [ fun scene -> a.Objective scene |> ignore ])

            adversaries
            @ check step.Passes [
                fun scene -> step.Loss scene |> ignore
                fun scene -> step.Measures scene |> ignore
                fun scene -> method.Memory.After scene |> ignore
            ])

    // Names in the parts of a method that are data; earlier: the stages that come before the method's own.
    let private inData earlier (method: Method) : Error list =
        let stages = earlier @ method.Before |> List.map Stage.name
        let averages = method.Averages |> List.map _.Name

        let sources =
            ((("image" :: stages), []), method.Step.Views)
            ||> List.fold (fun (known, errors) view ->
                view.Name :: known, errors @ Option.toList (unknown "source" known view.Source))
            |> snd

        let passes = method.Step.Passes @ (method.Step.Adversaries |> List.collect _.Passes)

        let networks =
            (passes |> List.map _.Who) @ [ fst method.Deploy ]
            |> List.choose (fun who ->
                match who with
                | Online -> None
                | Average name -> unknown "average" averages name
                | Frozen name -> unknown "stage" stages name)

        let branches = method.Branches |> List.map Branch.name

        Step.faults method.Branches method.Step
        @ sources
        @ networks
        @ Option.toList (method.From |> Option.bind (unknown "stage" stages))
        @ Option.toList (snd method.Deploy |> Branch.name |> unknown "branch" branches)

    let rec private after earlier (method: Method) : Error list =
        let inner =
            ((earlier, []), method.Before)
            ||> List.fold (fun (known, errors) stage ->
                let own =
                    match stage with
                    | Stage.Train(_, m) -> after known m
                    | _ -> []

                known @ [ stage ], errors @ own)
            |> snd

        // Losses can be run only where the passes that they read are sound.
        match inData earlier method with
        | [] -> inLosses earlier method @ inner
        | faults -> faults @ inner

    /// The faults of a method: names of views, passes, branches, networks, stages, heads and labels that it uses
    /// and that nothing defines, and the faults of the methods that come before it. Empty for a sound method.
    ///
    /// Losses, measures and memory are run once on made-up outputs for the names that they ask for.
    let faults method = after [] method
