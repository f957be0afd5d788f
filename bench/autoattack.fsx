// AutoAttack's standard version on CIFAR-10 beside the same passes through the same network in plain PyTorch:
//   dotnet fsi build.fsx build
//   dotnet fsi bench/autoattack.fsx ENCODER.safetensors CIFAR10-FOLDER linf:8/255 200
// The encoder is a ResNet-18 that `advcontrast export` wrote. Both sides compute in float32 on one thread.
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open AdvContrast.Core
open TorchSharp

let good result =
    match result with
    | Ok value -> value
    | Error error ->
        eprintfn "%s" (Error.message error)
        exit 1

type Passes = { rows: int64; gradient: bool; calls: int }
type Answer = { seconds: float; logits: float list }

let encoderFile, folder, threat, images =
    match List.ofArray (Array.tail fsi.CommandLineArgs) with
    | [ encoder; folder; threat; images ] -> encoder, folder, good (Threat.parse threat), int images
    | _ ->
        eprintfn "usage: dotnet fsi bench/autoattack.fsx ENCODER.safetensors CIFAR10-FOLDER THREAT IMAGES"
        exit 2

let threads = 1
torch.set_num_threads threads
// As `evaluate` computes.
let encoder = Encoder.folded (fst (good (Encoder.load encoderFile)))
let test = Dataset.first images (good (Cifar10.read folder false))
let head = LinearProbe.fit LinearProbe.quick ignore encoder (good (Cifar10.read folder true))
let classifier = LinearProbe.classifier encoder head
let made = Dictionary<int64 * bool, int>()

let counting: Classifier =
    fun images ->
        let key = images.shape[0], images.requires_grad && torch.is_grad_enabled ()
        made[key] <- made.GetValueOrDefault key + 1
        classifier images

let attack () =
    made.Clear()
    let clock = Stopwatch.StartNew()
    let start = Cascade.start "bench" encoder.Device counting test
    let ended =
        Cascade.run
            Cascade.standard
            1UL
            threat
            (fun _ _ -> ())
            (fun _ -> Ok())
            encoder.Device
            counting
            test
            start
    clock.Elapsed.TotalSeconds, (good ended).Counts

let work = Directory.CreateTempSubdirectory()
let at name = Path.Combine(work.FullName, name)
let everything = [| 0L .. test.Count - 1L |]

let pyTorch (passes: Passes list) =
    File.WriteAllText(at "passes", JsonSerializer.Serialize passes)
    let python =
        Environment.GetEnvironmentVariable "ADVCONTRAST_PYTHON"
        |> Option.ofObj
        |> Option.defaultValue "/usr/bin/python3"
    let peer = Path.Combine(__SOURCE_DIRECTORY__, "peers", "autoattack.py")
    let arguments = [ peer; at "encoder"; at "head"; at "images"; at "passes"; string threads ]
    let start = ProcessStartInfo(python, arguments, RedirectStandardOutput = true)
    for library in [ "OMP"; "OPENBLAS"; "MKL" ] do
        start.Environment[library + "_NUM_THREADS"] <- string threads
    use child = Process.Start start
    let answer = JsonSerializer.Deserialize<Answer>(child.StandardOutput.ReadToEnd())
    child.WaitForExit()
    answer

good (Encoder.save (at "encoder") encoder)
good (
    Safetensors.write
        (at "head")
        Map.empty
        (Tree.ofTensors (Map [ "weight", head.Weight; "bias", head.Bias ]))
)
let pixels = (test.Batch encoder.Device everything).data<float32>().ToArray()
File.WriteAllBytes(at "images", MemoryMarshal.AsBytes(ReadOnlySpan pixels).ToArray())

// Turn about, so that a change of the machine's pace meets both.
let first, counts = attack ()
let passes = [
    for KeyValue((rows, gradient), calls) in made -> { rows = rows; gradient = gradient; calls = calls }
]
let before = pyTorch passes
let second, _ = attack ()
let after = pyTorch passes
work.Delete true

let own = (classifier (test.Batch encoder.Device [| 0L .. 3L |])).data<float32>().ToArray()
let apart = Seq.zip own before.logits |> Seq.map (fun (a, b) -> abs (float a - b)) |> Seq.max

if apart > 1e-4 then
    eprintfn "the logits are %g apart: it is not the same network" apart
    exit 1

let sum gradientOnly rows =
    passes
    |> List.filter (fun p -> p.gradient || not gradientOnly)
    |> List.sumBy (fun p -> int64 p.calls * (if rows then p.rows else 1L))

printfn
    "%s, %s, %d images, right: clean and after each attack %A"
    encoder.Network.Text
    (Threat.text threat)
    images
    counts
printfn
    "passes: %d forward, %d of them back; images: %d forward, %d of them back"
    (sum false false)
    (sum true false)
    (sum false true)
    (sum true true)
printfn
    "AutoAttack %.1f s and %.1f s; the passes alone in PyTorch %.1f s and %.1f s"
    first
    second
    before.seconds
    after.seconds
printfn "overhead %.1f %%" (100.0 * ((first + second) / (before.seconds + after.seconds) - 1.0))
