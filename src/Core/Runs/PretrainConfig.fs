namespace AdvContrast.Core.Runs

open System
open System.Text.RegularExpressions
open AdvContrast.Engine
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training

/// Everything a user chooses about a pre-training run; as JSON it is what a run's manifest holds, so a run
/// can be repeated from it. None means: as the method's recipe says.
type PretrainConfig = {
    /// A registered method: <c>"acl-ds"</c>.
    Method: string
    /// A data set of the catalogue: <c>"sample"</c>.
    Dataset: string
    /// The folder with the data set's files.
    Data: string option
    /// Train on this many images, drawn by the seed.
    Images: int option
    /// A network of the zoo and the channels of its first stage.
    Network: string option
    Width: int option
    /// Runs that take the place of a method's stages, or that only the user can name: the stage's name and
    /// the run's folder, or <c>NETWORK:FILE</c> for weights of another program.
    Given: Map<string, string> option
    /// Passes over the images; a method of several stages divides them as its recipe does.
    Epochs: int option
    /// Images a step.
    Batch: int option
    /// A rule of <c>OptimizerRegistry.all</c>, <c>"lars"</c>, with warm-up and cosine decay.
    Optimizer: string option
    LearningRate: float option
    /// The adversary's threat, <c>"linf:8/255"</c>.
    Threat: string option
    Seed: uint64
    /// <c>"cpu"</c>, <c>"cuda"</c> or <c>"cuda:1"</c>.
    Device: string
    /// Of training and attack passes: <c>"float32"</c>, <c>"bfloat16"</c>, <c>"tf32"</c> (an NVIDIA card's, for
    /// convolutions), or <c>"auto"</c> for bfloat16 where the machine computes in it. Losses, statistics, weights
    /// and all evaluation are float32.
    Precision: string
    /// Threads of libtorch; None leaves them: as many as there are processors.
    Threads: int option
    /// When a checkpoint is written, besides at the end: as <c>CheckpointInterval.parse</c> reads it; None: every epoch.
    CheckpointEvery: string option
    /// How many checkpoints the run's folder keeps, the newest and those before it; None: 2.
    Keep: int option
    /// Whether the folder also keeps the one after the epoch of the lowest mean loss.
    KeepBest: bool
}

[<RequireQualifiedAccess>]
module PretrainConfig =

    /// SimCLR on the embedded sample, all else by recipe.
    let defaults = {
        Method = "simclr"
        Dataset = "sample"
        Data = None
        Images = None
        Network = None
        Width = None
        Given = None
        Epochs = None
        Batch = None
        Optimizer = None
        LearningRate = None
        Threat = None
        Seed = 1UL
        Device = "cpu"
        Precision = "auto"
        Threads = None
        CheckpointEvery = None
        Keep = None
        KeepBest = false
    }

    /// When a run of it writes checkpoints.
    let rhythm (c: PretrainConfig) =
        c.CheckpointEvery |> Option.defaultValue "epoch" |> CheckpointInterval.parse

    let private onCard (c: PretrainConfig) = c.Device.StartsWith "cuda"

    /// The same configuration with what depends on the machine decided and names as the registries have them, so that
    /// a manifest says what ran.
    let settle (c: PretrainConfig) =
        let hasFastBfloat16 () =
            let kind = if onCard c then DeviceType.CUDA else DeviceType.CPU
            Hardware.Devices() |> Seq.exists (fun d -> d.HasFastBfloat16 && d.Device.``type`` = kind)

        let named find (known: string) = find known |> Result.defaultValue known

        let c = {
            c with
                Method = c.Method |> named (MethodRegistry.find >> Result.map _.Name)
                Network = c.Network |> Option.map (named (ModelRegistry.named >> Result.map _.Name))
                Optimizer = c.Optimizer |> Option.map (named (OptimizerRegistry.find >> Result.map _.Name))
        }

        if c.Precision <> "auto" then c
        elif hasFastBfloat16 () then { c with Precision = "bfloat16" }
        else { c with Precision = "float32" }

    /// As JSON.
    let toJson (configuration: PretrainConfig) = JsonText.write configuration

    // Of every field that a file may leave out.
    let private fallbacks = JsonText.fields defaults |> Map.remove "method"

    /// From JSON; path is for the error text. A field that is missing or null has its default, but for the
    /// method.
    let ofJson (path: string) (text: string) : Result<PretrainConfig, Error> =
        let damaged problem = Error.Damaged(path, sprintf "it is not a run's configuration: %s" problem)

        match JsonText.record fallbacks text with
        | Ok { LearningRate = Some rate } when not (Double.IsFinite rate) ->
            Error(damaged "its 'learningRate' is not a finite number.")
        | found -> Result.mapError damaged found

    /// The device by name. Error where it is not there.
    let device (name: string) =
        LibTorch.Load()
        let refuse problem = Error(Error.BadOption("--device", sprintf "'%s' %s" name problem))

        // TorchSharp's own parser initialises the device that it parses, and raises where it is not there.
        match Regex.Match(name, "^(?:(cpu)|cuda(?::([0-9]{1,3}))?)$") with
        | found when not found.Success -> refuse "is not a device; choose cpu, cuda or cuda:N."
        | found when found.Groups[1].Success -> Ok torch.CPU
        | found ->
            let index = if found.Groups[2].Success then int found.Groups[2].Value else 0

            match (if torch.cuda.is_available () then torch.cuda.device_count () else 0) with
            | 0 ->
                refuse
                    "takes an NVIDIA card, its driver, and a libtorch built with CUDA; libtorch sees no card here. --device cpu computes without one."
            | count when index >= count ->
                refuse (sprintf "is not there: libtorch sees cuda:0 to cuda:%d." (count - 1))
            | _ -> Ok(torch.device name)

    let private precision (c: PretrainConfig) =
        match c.Precision with
        | "float32" -> Ok Precision.Float32
        | "tf32" when onCard c -> Ok Precision.Tf32
        | "tf32" ->
            Error(
                Error.BadOption(
                    "--precision",
                    "only NVIDIA cards compute in tf32; choose float32 or bfloat16, or --device cuda."
                )
            )
        | "bfloat16" -> Ok Precision.BFloat16
        | other -> Error(Error.UnknownName("precision", other, [ "auto"; "float32"; "tf32"; "bfloat16" ]))

    /// A lower bound of an option that counts something.
    let atLeast least name value =
        match value with
        | Some v when v < least ->
            Error(Error.BadOption(name, sprintf "%d is too few; give %d or more." v least))
        | _ -> Ok()

    // More threads than these only wait for each other, and libtorch starts every one of them.
    let private mostThreads = 4 * Environment.ProcessorCount

    /// That a number of threads, where there is one, is from 1 to four for each processor.
    let threads value =
        match value with
        | Some count when count > mostThreads ->
            let problem =
                sprintf
                    "%d is too many for %d processors; give %d or fewer."
                    count
                    Environment.ProcessorCount
                    mostThreads
            Error(Error.BadOption("--threads", problem))
        | _ -> atLeast 1 "--threads" value

    let private rate value =
        match value with
        | Some r when not (Double.IsFinite r) || r <= 0.0 ->
            Error(Error.BadOption("--learning-rate", "it must be above 0."))
        | _ -> Ok()

    // Warm-up over a tenth of the run, at most ten epochs, then half a cosine to 0.
    let private optimizer name peak epochs =
        OptimizerRegistry.find name
        |> Result.map (fun rule ->
            Schedule.cosine (Option.defaultValue rule.Rate peak) 0.0
            |> Schedule.warmUp (min 10 (max 1 (epochs / 10)))
            |> rule.Build)

    /// The passes over the images of one of a method's stages, or of the method after them, where the
    /// configuration says how many there are in all: divided as the recipes do, at least one each.
    let share (c: PretrainConfig) (m: Method) (stage: Method) =
        let given = Option.defaultValue Map.empty c.Given

        let trained =
            m.Before
            |> List.choose (fun s ->
                match s with
                | Stage.Train(name, inner) when not (given.ContainsKey name) -> Some inner.Recipe.Epochs
                | _ -> None)

        let total = List.sum trained + m.Recipe.Epochs

        c.Epochs
        |> Option.map (fun epochs ->
            max 1 (int (round (float epochs * float stage.Recipe.Epochs / float total))))

    // What an adversary may do to a data set's pixels in training.
    let private adversary text = result {
        let! threat = Threat.parse text |> Result.bind (Threat.usable None) |> Result.bind Threat.onDataset

        if threat.Radius > 0.0 then
            return threat
        else
            let advice = "an adversary needs a radius above 0, as in linf:8/255."
            return! Error(Error.BadOption("--threat", advice))
    }

    /// A method with a configuration's changes applied, to the stages before it too.
    let customise (c: PretrainConfig) (m: Method) : Result<Method, Error> = result {
        let! threat = c.Threat |> Option.traverseResult adversary

        if threat.IsSome && not (Method.hasAdversary m) then
            let problem = sprintf "'%s' has no adversary, in no stage, so it trains within no threat." m.Name
            return! Error(Error.BadOption("--threat", problem))

        let m = threat |> Option.fold (fun m threat -> Method.withThreat threat m) m

        match c.Optimizer, c.LearningRate with
        | None, None -> return m
        | None, Some _ ->
            return!
                Error(
                    Error.BadOption(
                        "--learning-rate",
                        sprintf "name the optimiser too: --optimizer %s." (OptimizerRegistry.names ())
                    )
                )
        | Some name, peak ->
            // Each stage warms up over a part of its own epochs.
            let updated stage =
                optimizer name peak (Option.defaultValue stage.Recipe.Epochs (share c m stage))
                |> Result.map (fun rule -> Method.withOptimizer rule stage)

            let! before =
                m.Before
                |> List.traverseResultM (fun stage ->
                    match stage with
                    | Stage.Train(name, inner) ->
                        updated inner |> Result.map (fun inner -> Stage.Train(name, inner))
                    | other -> Ok other)

            let! last = updated m
            return { last with Before = before }
    }

    /// The registered method that a configuration names, with its changes applied.
    let methodOf (c: PretrainConfig) = MethodRegistry.find c.Method |> Result.bind (customise c)

    /// The backbone that a configuration describes, for a method's branches and images of a kind.
    let backboneOf (c: PretrainConfig) (recipe: Recipe) branches (input: ImageInfo) = result {
        let name = Option.defaultValue recipe.Network c.Network
        let! build = ModelRegistry.find name (Option.map int64 c.Width)
        return build input branches
    }

    /// The same with the method's head.
    let networkOf (c: PretrainConfig) (m: Method) (input: ImageInfo) =
        backboneOf c m.Recipe m.Branches input |> Result.map m.Head.Run

    // Every stage that only the user can name is named, and nothing else is.
    let private given (c: PretrainConfig) (m: Method) =
        let named = Option.defaultValue Map.empty c.Given
        let stages =
            m.Before
            |> List.filter (fun stage ->
                match stage with
                | Stage.Compute _ -> false
                | _ -> true)
        let names = stages |> List.map Stage.name

        let missing =
            stages
            |> List.tryPick (fun stage ->
                match stage with
                | Stage.External(name, advice) when not (named.ContainsKey name) ->
                    let text = sprintf "'%s' needs a run named %s=RUN: %s" m.Name name advice
                    Some(Error.BadOption("--given", text))
                | _ -> None)

        let surplus =
            named
            |> Map.tryPick (fun name _ ->
                if List.contains name names then
                    None
                elif names.IsEmpty then
                    let text = sprintf "'%s' has no stage that a run can stand for." m.Name
                    Some(Error.BadOption("--given", text))
                else
                    Some(Error.UnknownName("stage", name, names)))

        Option.orElse surplus missing |> Option.map Error |> Option.defaultValue (Ok())

    // Precision and device, or all faults that need no method to be seen.
    let private withoutMethod (c: PretrainConfig) = validation {
        let! _ = ModelRegistry.find (Option.defaultValue "small" c.Network) (Option.map int64 c.Width)
        and! _ = atLeast 2 "--images" c.Images
        and! _ = atLeast 1 "--epochs" c.Epochs
        and! _ = atLeast 2 "--batch" c.Batch
        and! _ = threads c.Threads
        and! _ = atLeast 1 "--keep" c.Keep
        and! _ = rhythm c
        and! _ = DatasetRegistry.requireUsed c.Dataset c.Data
        and! _ = rate c.LearningRate
        and! precision = precision c
        and! device = device c.Device
        return precision, device
    }

    /// What a run needs besides its data: method, precision, device; or all faults that can be seen before the
    /// data is there.
    let validate (c: PretrainConfig) (m: Method) = validation {
        let! m = customise c m
        and! _ = given c m
        and! _ = MethodCheck.faults m |> List.tryHead |> Option.map Error |> Option.defaultValue (Ok())
        and! precision, device = withoutMethod c
        return m, precision, device
    }

    /// The registered method that a configuration names, as it is registered; or, where there is none, that
    /// and all other faults that can be seen.
    let registered (c: PretrainConfig) : Result<Method, Error list> =
        MethodRegistry.find c.Method
        |> Result.mapError (fun unknown ->
            match withoutMethod (settle c) with
            | Ok _ -> [ unknown ]
            | Error others -> unknown :: others)

    /// All faults of a configuration that can be seen without its data.
    let check (c: PretrainConfig) = registered c |> Result.bind (validate (settle c)) |> Result.map ignore
