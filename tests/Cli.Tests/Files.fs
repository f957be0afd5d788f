/// Data files and checkpoints: as published, missing, truncated, foreign.
module Files

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open Expecto
open AdvContrast.Testing
open User

// --- CIFAR-10's binary layout: a label and 3 x 32 x 32 bytes a record

let private record = 3073

let private records n = [|
    let random = Random 1

    for i in 0 .. n - 1 do
        byte (i % 10)
        yield! Array.init (record - 1) (fun _ -> byte (random.Next 256))
|]

let private cifar (folder: Folder) =
    let inner = folder.At "data/cifar-10-batches-bin"
    Directory.CreateDirectory inner |> ignore

    for name in "test_batch" :: [ for i in 1..5 -> $"data_batch_{i}" ] do
        File.WriteAllBytes(Path.Combine(inner, name + ".bin"), records 60)

// --- idx: a big-endian header and bytes

let private idx (sizes: int list) (bytes: byte[]) =
    let size (n: int) =
        let four = Array.zeroCreate<byte> 4
        BinaryPrimitives.WriteInt32BigEndian(four, n)
        four

    Array.concat [ [| 0uy; 0uy; 8uy; byte sizes.Length |]; yield! List.map size sizes; bytes ]

let private gzip (bytes: byte[]) =
    use packed = new MemoryStream()

    do
        use gzip = new GZipStream(packed, CompressionLevel.Fastest)
        gzip.Write(bytes, 0, bytes.Length)

    packed.ToArray()

let private fashion (folder: Folder) =
    Directory.CreateDirectory(folder.At "data") |> ignore
    let images = idx [ 60; 28; 28 ] (Array.init (60 * 784) byte)
    let labels = idx [ 60 ] (Array.init 60 (fun i -> byte (i % 10)))
    // The published files come packed; some unpack them.
    File.WriteAllBytes(folder.At "data/train-images-idx3-ubyte.gz", gzip images)
    File.WriteAllBytes(folder.At "data/train-labels-idx1-ubyte.gz", gzip labels)
    File.WriteAllBytes(folder.At "data/t10k-images-idx3-ubyte", images)
    File.WriteAllBytes(folder.At "data/t10k-labels-idx1-ubyte", labels)

// --- safetensors as other programs write it: the small network, two channels wide

let private state =
    let sizes = [ 1; 2; 4; 4; 8; 8 ]

    [
        for layer, (from, into) in List.indexed (List.pairwise sizes) do
            $"conv{layer + 1}.weight", [ into; from; 3; 3 ]

            for part in [ "weight"; "bias"; "running_mean"; "running_var" ] do
                $"bn{layer + 1}.{part}", [ into ]
    ]

let private stateDict (entries: (string * int list) list) =
    let random = Random 1
    let count = List.fold (*) 1

    // Variances and scales about 1, all else about 0.
    let value (name: string) =
        let noise = 0.6 * (random.NextDouble() - 0.5)
        let scales = name.StartsWith "bn" && (name.EndsWith "weight" || name.EndsWith "var")
        float32 (if scales then 1.0 + noise else noise)

    let bodies = [
        for name, shape in entries ->
            Array.init (count shape) (fun _ -> value name) |> Array.collect BitConverter.GetBytes
    ]

    let starts = bodies |> List.scan (fun at body -> at + body.Length) 0

    let header =
        [
            for (name, shape), (from, until) in List.zip entries (List.pairwise starts) ->
                let shape = String.Join(",", shape)
                $"\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[{from},{until}]}}"
        ]
        |> String.concat ","
        |> fun entries -> Text.Encoding.UTF8.GetBytes("{" + entries + "}")

    Array.concat [ BitConverter.GetBytes(uint64 header.Length); header; yield! bodies ]

let private withWeights (folder: Folder) = File.WriteAllBytes(folder.At "w.safetensors", stateDict state)

let private evaluatesWeights () =
    use folder = new Folder()
    withWeights folder
    let command = "evaluate --from w.safetensors --network small --normalise none --dataset sample"
    succeed folder (command + " --images 100 --attack fgsm --json figures.json") |> ignore
    let figures = json folder "figures.json"
    Expect.equal (figures.GetProperty("method").GetString()) "pretrained" "no method of ours"
    let clean = figures.GetProperty("accuracies")[0]
    let correct = clean.GetProperty("correct").GetInt32()
    Expect.isGreaterThan correct 25 "features of random weights tell more than chance"

let private attacksWeights () =
    use folder = new Folder()
    withWeights folder
    let weights = "--from w.safetensors --network small --normalise none --dataset sample --images 20"
    succeed folder $"attack {weights} --attack fgsm --out images.safetensors --json figures.json"
    |> ignore
    let run = (json folder "figures.json").GetProperty("runs")[0]
    let fraction (name: string) = run.GetProperty(name).GetDouble()
    Expect.isLessThan (fraction "attacked") (fraction "clean") "the attack was on these weights"
    let audit = runIn [] folder $"audit {weights} --json audit.json"
    Expect.contains [ 0; 9; 10 ] audit.Code "a finding"
    Expect.equal
        ((json folder "audit.json").GetProperty("method").GetString())
        "pretrained"
        "of these weights"

let private foreignWeights = [
    "without its network", "", 5, "name of their network"
    "without what it normalised by", "--network small", 2, "--normalise"
    "normalised by nothing known", "--network small --normalise imagnet", 3, "'imagenet'"
    "of another network", "--network resnet18 --normalise none", 5, "weights of the small network"
    "of no network", "--network smal --normalise none", 3, "'small'"
    "normalised for colours", "--network small --normalise imagenet", 2, "3 channels"
    "with what a run knows", "--normalise none", 2, "--network"
]

// --- tests

let private trains name layout =
    testCase $"{name} is trained and tested on in its published layout" (fun () ->
        use folder = new Folder()
        layout folder
        let output = succeed folder $"data {name} --data data"
        Expect.stringContains output $"{name}, test: [60; " "what was read"
        succeed folder (tiny.Replace("--images 128 ", "") + $" --dataset {name} --data data --out run")
        |> ignore
        succeed folder "evaluate --from run --attack fgsm --json figures.json" |> ignore
        Expect.equal
            ((json folder "figures.json").GetProperty("dataset").GetString())
            name
            "the run's data set")

let private change (file: string) (edit: byte[] -> byte[]) (folder: Folder) =
    File.WriteAllBytes(folder.At file, edit (File.ReadAllBytes(folder.At file)))

let private short (bytes: byte[]) = bytes[.. bytes.Length - 2]
let private half (bytes: byte[]) = bytes[.. bytes.Length / 2]
let private foreign (_: byte[]) = "these are not the bytes that you are looking for"B

let private set at value (bytes: byte[]) =
    let changed = Array.copy bytes
    changed[at] <- value
    changed

let private delete (file: string) (folder: Folder) = File.Delete(folder.At file)

// Looking at the data and training on it say the same.
let private refusesData name layout (what, spoil: Folder -> unit, code, says) =
    testList $"{name}: {what}" [
        for command in [ $"data {name} --data data"; tiny + $" --dataset {name} --data data --out run" ] do
            let prepare folder =
                layout folder
                spoil folder

            refuses (words command).Head prepare code says command
    ]

let private batch = "data/cifar-10-batches-bin/data_batch_3.bin"
let private packed = "data/train-images-idx3-ubyte.gz"
let private labels = "data/train-labels-idx1-ubyte.gz"
let private unpacked (bytes: byte[]) =
    use gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress)
    use plain = new MemoryStream()
    gzip.CopyTo plain
    plain.ToArray()

let private spoiltCifar = [
    "no folder", (fun (folder: Folder) -> Directory.Delete(folder.At "data", true)), 4, "--data"
    "a missing file", delete batch, 4, "data_batch_3.bin"
    "a truncated file", change batch short, 5, "data_batch_3.bin"
    "an empty file", change batch (fun _ -> [||]), 5, "data_batch_3.bin"
    "a foreign file", change batch foreign, 5, "data_batch_3.bin"
    "a label that there is not", change batch (set record 10uy), 5, "label 10"
]

let private spoiltFashion = [
    "a missing file", delete packed, 4, "--data"
    "a truncated file", change packed half, 5, "promises"
    "a truncated file, unpacked", change packed (unpacked >> short), 5, "promises"
    "an empty file", change packed (fun _ -> [||]), 5, "before its header does"
    "a foreign file", change packed foreign, 5, "not an idx file"
    "labels in place of images",
    change packed (fun _ -> gzip (idx [ 60 ] (Array.zeroCreate 60))),
    5,
    "not an idx file"
    "too few labels",
    change labels (fun _ -> gzip (idx [ 59 ] (Array.zeroCreate 59))),
    5,
    "59 labels for 60 images"
    "a label that there is not", change labels (unpacked >> set 8 10uy), 5, "label 10"
]

let private checkpoint = "run/checkpoint.safetensors"

// Two commands read a checkpoint.
let private refusesRun (what, spoil: Folder -> unit, code, says) =
    testList $"a run: {what}" [
        for command in [ "evaluate --from run"; "pretrain --resume run" ] do
            let prepare folder =
                withRun folder
                spoil folder

            refuses (words command).Head prepare code says command
    ]

// Eight bytes of length and a JSON header: safetensors of another program.
let private foreignHeader =
    let header = """{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  """B
    Array.concat [ BitConverter.GetBytes(uint64 header.Length); header; Array.zeroCreate 4 ]

let private spoiltRuns = [
    "no folder",
    (fun (folder: Folder) -> Directory.Delete(folder.At "run", true)),
    4,
    "Give the folder of a run"
    "no checkpoint", delete checkpoint, 4, "Give the folder of a run"
    "truncated in its header", change checkpoint (Array.truncate 3000), 5, "cut short"
    "truncated in its values", change checkpoint half, 5, "checkpoint.safetensors"
    "a flipped bit",
    change checkpoint (fun bytes -> set (bytes.Length - 1) (bytes[bytes.Length - 1] ^^^ 1uy) bytes),
    5,
    "checksum"
    "foreign", change checkpoint foreign, 5, "not a safetensors file"
    "another program's", change checkpoint (fun _ -> foreignHeader), 5, "not a checkpoint of this program"
    "empty", change checkpoint (fun _ -> [||]), 5, "not a safetensors file"
]

let private manifest = "run/run.json"

let private refusesManifest (what, spoil: Folder -> unit, code, says) =
    let prepare folder =
        withRun folder
        spoil folder

    refuses $"a run.json: {what}" prepare code says "pretrain --config run/run.json --out again"

let private text (edit: string -> string) =
    change manifest (Text.Encoding.UTF8.GetString >> edit >> Text.Encoding.UTF8.GetBytes)

let private spoiltManifests = [
    "missing", delete manifest, 4, "Give the run.json of a run"
    "truncated", change manifest half, 5, "not JSON"
    "foreign", change manifest foreign, 5, "not JSON"
    "a list", text (fun _ -> "[]"), 5, "configuration"
    "empty", text (fun _ -> "{}"), 5, "configuration"
    "a field that there is not", text _.Replace("\"epochs\"", "\"epoch\""), 5, "epoch"
    "a field of another type", text _.Replace("\"epochs\": 1", "\"epochs\": \"one\""), 5, "epochs"
    "a method that there is not", text _.Replace("simclr", "simcrl"), 3, "'simclr'"
]

[<Tests>]
let tests =
    testList "Files" [
        trains "cifar10" cifar
        trains "fashion-mnist" fashion
        yield! spoiltCifar |> List.map (refusesData "cifar10" cifar)
        yield! spoiltFashion |> List.map (refusesData "fashion-mnist" fashion)
        yield! spoiltRuns |> List.map refusesRun
        yield! spoiltManifests |> List.map refusesManifest
        testCase "weights of another program are evaluated" evaluatesWeights
        testCase "weights of another program are attacked and audited" attacksWeights

        testList "weights of another program" [
            for what, option, code, says in foreignWeights do
                refuses what withWeights code says $"evaluate --from w.safetensors {option}"
        ]

        let both folder =
            withRun folder
            cifar folder

        refuses
            "images of another kind than the encoder's"
            both
            2
            "--dataset"
            "evaluate --from run --dataset cifar10 --data data"
    ]
