/// Small classifiers that are really trained, and ways to spoil them: what an audit is tried on.
module Support.TrainedClassifiers

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs
open AdvContrast.Core.Audit

/// What a classifier learns from and is judged by.
[<NoEquality; NoComparison>]
type Lesson = {
    Name: string
    /// float32 [n; 1; h; w], and int64 [n].
    Images: Tensor
    Labels: Tensor
    TestImages: Tensor
    TestLabels: Tensor
    Classes: int
    /// The threat that training withstands and the audit makes.
    Threat: Threat
}

/// Images of one class each: a random picture of the class, smooth over two pixels, and noise on it.
let pictures (seed: uint64) (classes: int) (side: int64) : Lesson =
    let draw purpose ids = Rng.create seed ("lesson/" + purpose) ids
    let small = [ 1L; side / 2L; side / 2L ]

    let faces =
        (Rng.uniform small (draw "faces" (Array.init classes int64)))
            .repeat_interleave(2L, 2L)
            .repeat_interleave(2L, 3L)

    let set (from: int) (count: int) =
        let ids = Array.init count (fun i -> int64 (from + i))
        let labels: Tensor = torch.tensor (ids |> Array.map (fun id -> id % int64 classes))
        let noise = Rng.normal [ 1L; side; side ] (draw "noise" ids) * 0.2
        (faces.index_select (0L, labels) * 0.6 + 0.2 + noise).clamp(0.0.ToScalar(), 1.0.ToScalar()), labels

    let images, labels = set 0 200
    let testImages, testLabels = set 200 60

    {
        Name = sprintf "pictures of %d" side
        Images = images
        Labels = labels
        TestImages = testImages
        TestLabels = testLabels
        Classes = classes
        Threat = Threat.create Linf 0.1
    }

/// The embedded clothes from some image on, of a given width in pixels: each the mean of a square.
let clothes (from: int) (train: int) (test: int) (side: int) : Lesson =
    let part isTrain from count =
        match FashionMnist.sample isTrain with
        | Error e -> invalidOp (Error.message e)
        | Ok whole ->
            use whole = whole
            let ids = Array.init count (fun i -> int64 (from + i))
            let images = whole.Batch (torch.device "cpu") ids
            let window = int64 (28 / side)
            torch.nn.functional.avg_pool2d (images, window), whole.LabelsOf (torch.device "cpu") ids

    let images, labels = part true from train
    let testImages, testLabels = part false (from / 6) test

    {
        Name = sprintf "clothes of %d" side
        Images = images
        Labels = labels
        TestImages = testImages
        TestLabels = testLabels
        Classes = 10
        Threat = Threat.create Linf 0.05
    }

/// The same to be attacked in another way.
let under threat (lesson: Lesson) = { lesson with Threat = threat }

// --- classifiers

/// A kind of network: its layers for a lesson.
[<NoEquality; NoComparison>]
type Build = { Name: string; Layers: Lesson -> Layer list }

let private flatten = Layer.pure' "flat" (fun x -> x.reshape [| x.shape[0]; -1L |])
let private smooth = Layer.pure' "tanh" (fun x -> x.tanh ())
let private pixels (lesson: Lesson) = lesson.Images.shape[2] * lesson.Images.shape[3]

let private perceptron bend width (lesson: Lesson) = [
    flatten
    Layer.linear "fc1" true (pixels lesson) width
    bend
    Layer.linear "fc2" true width (int64 lesson.Classes)
]

/// One hidden layer of ReLU.
let relu: Build = { Name = "relu"; Layers = perceptron Layer.relu 32L }
/// One hidden layer of tanh.
let tanh': Build = { Name = "tanh"; Layers = perceptron smooth 24L }
/// Two hidden layers.
let deep: Build = {
    Name = "deep"
    Layers =
        fun (lesson: Lesson) -> [
            flatten
            Layer.linear "fc1" true (pixels lesson) 32L
            Layer.relu
            Layer.linear "fc2" true 32L 24L
            Layer.relu
            Layer.linear "fc3" true 24L (int64 lesson.Classes)
        ]
}
/// A convolution, then one hidden layer.
let conv: Build = {
    Name = "conv"
    Layers =
        fun (lesson: Lesson) -> [
            Layer.conv "conv1" 1L 8L 3L 1L 1L
            Layer.relu
            Layer.conv "conv2" 8L 12L 3L 2L 1L
            Layer.relu
            flatten
            Layer.linear "fc" true (12L * ((pixels lesson) / 4L)) (int64 lesson.Classes)
        ]
}

/// A trained classifier and its lesson.
[<NoEquality; NoComparison>]
type Pupil = {
    Name: string
    Lesson: Lesson
    Build: Build
    Weights: Parameters
    /// The classifier that some weights make.
    Run: Parameters -> Classifier
    Classify: Classifier
}

/// Trains by Adam on the whole lesson at once, for a number of steps; a robust one on what a few steps of PGD
/// make of the images.
let teach (seed: uint64) (shape: Build) robust steps (lesson: Lesson) : Pupil =
    let network = Layer.sequence (shape.Layers lesson)
    let call = Call.create (Branch "clean") Eval
    let logits parameters images = fst (network.Run call parameters (images, Map.empty))
    let rule = Transform.chain [ Transform.adam 0.9 0.999 1e-8; Transform.scale (Schedule.constant 1e-2) ]
    let start: Parameters = fst (network.Init(Rng.create seed "init" [||]))
    let n = lesson.Images.shape[0]

    let step (parameters: Parameters, state: TensorTree) index =
        let keep (parameters: Parameters, state) =
            Seq.append (Map.values parameters) (TensorTree.tensors state)

        let next =
            Scope.keeping keep (fun () ->
                let images =
                    if not robust then
                        lesson.Images.alias ()
                    else
                        let draw = {
                            Rng.create seed "teach" (Array.init (int n) int64) with
                                Step = int64 index
                        }

                        lesson.Images
                        |> GradientAttackLoop.ascend draw lesson.Threat (GradientAttack.pgd 0.5 4) (fun x ->
                            CrossEntropy.perSample (logits parameters x) lesson.Labels)

                let learnt = parameters |> Map.map (fun _ p -> p.detach().requires_grad_ true)
                let loss = CrossEntropy.mean (logits learnt images) lesson.Labels
                let slopes = torch.autograd.grad (ResizeArray [ loss ], ResizeArray(Map.values learnt))
                use _ = torch.no_grad ()
                let slopes = Seq.zip (Map.keys learnt) slopes |> Map.ofSeq
                let updates, state = rule.Update (Progress.start steps 1) slopes parameters state
                Transform.apply updates parameters, state)

        keep (parameters, state) |> Scope.release (List.ofSeq (keep next))
        next

    let parameters, _ = Seq.fold step (start, rule.Init start) (seq { 0 .. steps - 1 })

    let run parameters : Classifier = fun images -> Scope.tensor (fun () -> logits parameters images)

    {
        Name = sprintf "%s, %s%s" lesson.Name shape.Name (if robust then ", robust" else "")
        Lesson = lesson
        Build = shape
        Weights = parameters
        Run = run
        Classify = run parameters
    }

/// Its audit.
let audit effort (seed: uint64) (pupil: Pupil) : Audited =
    let lesson = pupil.Lesson

    AuditTarget.create pupil.Classify None lesson.TestImages lesson.TestLabels lesson.Threat seed effort
    |> Audit.run (fun _ _ -> ())

// --- ways to spoil one

/// A way to spoil a classifier, and the check that must see it.
[<NoEquality; NoComparison>]
type Fault = {
    Kind: string
    Meant: int
    /// Whether this kind of network can have it.
    Fits: Build -> bool
    Spoil: Pupil -> Classifier
}

let private all (_: Build) = true

// Noise that changes with every pass.
let private noisy deviation (classify: Classifier) : Classifier =
    let mutable pass = 0L

    fun images ->
        pass <- pass + 1L
        let ids = Array.init (int images.shape[0]) int64

        Scope.tensor (fun () ->
            let draw = { Rng.create 9UL "noise" ids with Step = pass }
            classify (images + Rng.normal (List.ofArray images.shape[1..]) draw * deviation))

// The hidden tanh so far from 0 that it has no slope left.
let private saturated (pupil: Pupil) =
    let steeper (name: string) (x: Tensor) = if name.StartsWith "fc1" then x * 1000.0 else x.alias ()
    pupil.Run(pupil.Weights |> Map.map steeper)

/// What the audit is to catch.
let faults =
    let before change pupil images = Scope.tensor (fun () -> pupil.Classify(change images))
    let after change pupil images = Scope.tensor (fun () -> change (pupil.Classify images))

    [
        { Kind = "logits times 1000"; Meant = 4; Fits = all; Spoil = after (fun z -> z * 1000.0) }
        {
            Kind = "quantised input"
            Meant = 4
            Fits = all
            Spoil = before (fun x -> (x * 8.0).round() / 8.0)
        }
        { Kind = "softmax output"; Meant = 2; Fits = all; Spoil = after (fun z -> z.softmax 1L) }
        { Kind = "noise"; Meant = 1; Fits = all; Spoil = fun pupil -> noisy 0.05 pupil.Classify }
        {
            Kind = "saturated activations"
            Meant = 4
            Fits = fun shape -> shape.Name = "tanh"
            Spoil = saturated
        }
        { Kind = "detached gradient"; Meant = 4; Fits = all; Spoil = before (fun x -> x.detach ()) }
    ]

/// The pupil spoilt.
let spoil fault (pupil: Pupil) = {
    pupil with
        Name = pupil.Name + ", " + fault.Kind
        Classify = fault.Spoil pupil
}
