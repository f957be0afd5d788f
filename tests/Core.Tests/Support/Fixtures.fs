/// Small networks and data sets that several rooms are tested with.
module Support.Fixtures

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Methods
open AdvContrast.Core.Training
open AdvContrast.Core.Runs
open Support.Arrays

let clean, adv = Branch "clean", Branch "adv"

let grey = { Channels = 1L; Mean = [ 0.3 ]; Std = [ 0.4 ]; Classes = 10 }
let colour = { Channels = 3L; Mean = [ 0.5; 0.4; 0.3 ]; Std = [ 0.2; 0.3; 0.4 ]; Classes = 10 }

let call branch mode = Call.create branch mode

/// Parameters and buffers in float64, and away from ones and noughts so that every tensor matters.
let shaken (source: Source) (parameters: Parameters, buffers: Buffers) : Parameters * Buffers =
    let shake (name: string) (x: Tensor) =
        let noise = tensor (x.shape |> Array.map int |> List.ofArray) (source.Normals(int (x.numel ())))
        let x = x.``to`` torch.float64

        if name.Contains "running_var" then
            x * (noise * 0.5).exp()
        elif name.Contains "running_mean" || name.Contains "bn" || name.Contains "downsample.1" then
            x + noise * 0.3
        else
            x

    Map.map shake parameters, Map.map shake buffers

/// A network's first weights for a seed.
let init seed (network: Network) = network.Init(Rng.create seed "init" [||])

/// The hash of named tensors.
let hash (tensors: Map<string, Tensor>) = TensorTree.hash (TensorTree.ofTensors tensors)

/// Random images in [0, 1], float64.
let noise (source: Source) (shape: int list) = tensor shape (source.Uniforms(List.reduce (*) shape, 0.0, 1.0))

let private sampleBytes =
    lazy
        (let read train =
            match FashionMnist.sample train with
            | Ok set ->
                use set = set
                TensorTree.bytes set.Images, wholes set.Labels |> Array.map byte
            | Error e -> Expecto.Tests.failtest (Error.message e)

         read true, read false)

/// The first images of the embedded sample's training or test part, as a data set of the caller's.
let sample train (count: int) : Dataset =
    let images, labels = (if train then fst else snd) (sampleBytes.Force())
    let shape = [| int64 count; 1L; 28L; 28L |]

    Dataset.ofBytes "sample" images[.. count * 784 - 1] shape labels[.. count - 1] 10 [ 0.286 ] [ 0.353 ]

/// A network that shows its images: features and embedding are the pixels, times one learnt number.
let glass (pixels: int) : Network =
    let show (parameters: Parameters) (images: Tensor) =
        images.reshape [| images.shape[0]; -1L |] * parameters["scale"].``to`` images.dtype

    let apply _ parameters buffers images =
        let z = show parameters images
        { Features = z; Embedding = z; Heads = Map.empty }, buffers

    {
        Text = "glass"
        FeatureWidth = int64 pixels
        EmbeddingWidth = int64 pixels
        Classes = 10
        Init = fun _ -> Map [ "scale", torch.ones [| 1L |] ], Map.empty
        Apply = apply
        Fold = Network.unfolded apply
    }

/// What steps run on: the CPU, in single precision.
let machine network = {
    Network = network
    Device = torch.device "cpu"
    Precision = Precision.Float32
    Seed = 5UL
    Frozen = Map.empty
}

/// The network that a method trains: the small net, two channels wide, with the method's head.
let tinyNet input (method: Method) = method.Head.Run(SmallNet.create 2L input method.Branches)

/// The first state of a run on a machine; it belongs to the current scope.
let fresh (machine: Machine) (method: Method) : State =
    let weights = init machine.Seed machine.Network
    let copy (tensors: Map<string, Tensor>) = tensors |> Map.map (fun _ x -> x.clone ())

    {
        Online = weights
        Averages =
            method.Averages
            |> List.map (fun a -> a.Name, (copy (fst weights), copy (snd weights)))
            |> Map.ofList
        Optimizer = method.Recipe.Optimizer.Init(fst weights)
        Memory =
            method.Memory.Init (Rng.create machine.Seed "init/memory" [||]) machine.Network.EmbeddingWidth
        Progress = Progress.start 10 10
    }

/// The same method with an update rule.
let updating rule (method: Method) = { method with Recipe = { method.Recipe with Optimizer = rule } }

/// Adam at a constant rate.
let adam rate = Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.constant rate) ]

/// Some rows of a data set as a step sees them.
let batchOf (dataset: Dataset) (ids: int64[]) : Batch = {
    Ids = ids
    Images = Map [ "image", dataset.Batch (torch.device "cpu") ids ]
    Labels = Map [ "class", dataset.LabelsOf (torch.device "cpu") ids ]
}

let cpu = torch.device "cpu"

let encoderOf network weights branch : Encoder = {
    Configuration = PretrainConfig.defaults
    Input = grey
    Network = network
    Branch = branch
    Weights = weights
    Device = cpu
    Notes = []
}

// The pixels are the features.
let pixels count = encoderOf (glass count) (init 1UL (glass count)) clean

// n images of 2 by 3 in three classes: noise, and where parted a bright pixel that tells the class.
let made seed n parted =
    let source = Source seed
    let labels = Array.init n (fun i -> i % 3)

    let images =
        labels
        |> Array.collect (fun label ->
            Array.init 6 (fun p -> byte (if parted && p = label then 230 else source.Whole(0, 120))))

    Dataset.ofBytes "made" images [| int64 n; 1L; 2L; 3L |] (Array.map byte labels) 3 [ 0.3 ] [ 0.4 ]

let checkpointOf (method: Method) : Checkpoint =
    let network = tinyNet grey method
    let state = fresh (machine network) method

    {
        Configuration = {
            PretrainConfig.defaults with
                Method = method.Name
                Network = Some "small"
                Width = Some 2
        }
        Input = grey
        Deployment = Deployment.ofMethod true method
        Provenance = None
        State = { state with Online = shaken (Source 4) state.Online }
    }

let asSingle (e: Encoder) =
    let single = Map.map (fun _ x -> single x)
    { e with Weights = single (fst e.Weights), single (snd e.Weights) }

/// An idx file of unsigned bytes.
let idx (sizes: int list) (content: byte[]) =
    let bigEndian (size: int) = System.BitConverter.GetBytes size |> Array.rev
    Array.concat [ [| 0uy; 0uy; 8uy; byte sizes.Length |]; yield! List.map bigEndian sizes; content ]

/// Writes the first images of the sample as if they were all of Fashion-MNIST.
let writeFashion folder count =
    for train, prefix in [ true, "train"; false, "t10k" ] do
        use set = sample train count
        let write kind (bytes: byte[]) =
            System.IO.File.WriteAllBytes(System.IO.Path.Combine(folder, prefix + kind), bytes)
        write "-images-idx3-ubyte" (idx [ count; 28; 28 ] (TensorTree.bytes set.Images))
        write "-labels-idx1-ubyte" (idx [ count ] (wholes set.Labels |> Array.map byte))
