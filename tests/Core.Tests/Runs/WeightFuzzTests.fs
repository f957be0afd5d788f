/// Files of weights with bytes changed, cut, doubled or moved: each is read or refused by a sentence, in time and
/// memory that the file's size bounds.
module Tests.Runs.WeightFuzzTests

open System
open System.Diagnostics
open System.IO
open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Runs
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support
open Tests.Runs

// Numbers at the borders of their types, which headers and pickles hold as sizes and offsets.
let private borders = [|
    0L
    1L
    -1L
    127L
    255L
    65535L
    int64 Int32.MaxValue
    Int64.MaxValue
    Int64.MinValue
    1L <<< 40
|]

let private mutate (source: Source) (bytes: byte[]) =
    let at () = source.Whole(0, bytes.Length - 1)
    let changed = Array.copy bytes

    match source.Whole(0, 6) with
    | 0 ->
        changed[at ()] <- byte (source.Whole(0, 255))
        changed
    | 1 ->
        let i = at ()
        changed[i] <- changed[i] ^^^ (1uy <<< source.Whole(0, 7))
        changed
    | 2 -> bytes[.. at ()]
    | 3 ->
        let number = BitConverter.GetBytes(source.Among(List.ofArray borders))
        let width, i = source.Among [ 1; 2; 4; 8 ], at ()
        Array.blit number 0 changed i (min width (bytes.Length - i))
        changed
    | 4 ->
        let i, j = at (), at ()
        let length = min (source.Whole(1, 64)) (bytes.Length - max i j)
        Array.blit bytes i changed j length
        changed
    | 5 ->
        let i = at ()
        Array.concat [ bytes[.. i - 1]; bytes[i + source.Whole(1, 16) ..] ]
    | _ ->
        let i = at ()
        Array.concat [ bytes[..i]; bytes[i .. i + source.Whole(0, 32)]; bytes[i + 1 ..] ]

// Most changes in the part that says what the values are: they lie behind it and are most of the file.
let private mutants seed (bytes: byte[]) (head: int) = seq {
    let source = Source seed

    while true do
        let part = if source.Whole(0, 3) > 0 then min head bytes.Length else bytes.Length
        let mutable changed = bytes

        for _ in 0 .. source.Whole(0, 2) do
            if changed.Length > 1 then
                let part = min part changed.Length
                changed <- Array.append (mutate source changed[.. part - 1]) changed[part..]

        changed
}

let private state () =
    let parameters, buffers = init 3UL (SmallNet.create 2L grey [ clean ])

    [
        for KeyValue(name, x) in Seq.append parameters buffers do
            Branch.stem name, x
        "bn1.num_batches_tracked", torch.tensor 3L
    ]

let private options: ForeignOptions = {
    Network = "small"
    Normalise = Some "none"
    Prefix = None
    BatchNorm = None
}

let private files () : (string * byte[] * int) list =
    let folder = Directory.CreateTempSubdirectory "advcontrast-"
    let path = Path.Combine(folder.FullName, "weights")
    StateDictTests.writePython path (Map.ofList (state ()))
    let safetensors = File.ReadAllBytes path
    folder.Delete true
    let value isLegacy = ForeignWeightsTests.checkpoint isLegacy (Some "state_dict") (state ())
    let floats = state () |> List.filter (fun (_, x) -> x.dtype = torch.float32)
    let archive = PickleWriter.archive (value false)
    let legacy = PickleWriter.legacy 4 (ForeignWeightsTests.checkpoint true None floats)

    [
        "safetensors", safetensors, 8 + BitConverter.ToInt32(safetensors, 0)
        "an archive of torch.save", archive, 6000
        "pickles of torch.save", legacy, 6000
    ]

let private read path =
    match Pretrained.ofOptions options cpu path with
    | Ok encoder -> (encoder :> IDisposable).Dispose()
    | Error(Error.Damaged _)
    | Error(Error.BadOption _) -> ()
    | Error other -> failtestf "another kind of error: %A" other

// What a file of a few kilobytes may take: far more than it does, far less than what a lying header asks for.
let private mostBytes, slowest = 64L <<< 20, TimeSpan.FromSeconds 2.0

let private fuzz count () =
    inFolder (fun folder ->
        let path = Path.Combine(folder, "weights")

        for seed, (kind, bytes, head) in List.indexed (Scope.value files) do
            File.WriteAllBytes(path, bytes)
            Scope.value (fun () ->
                Expect.isOk
                    (Pretrained.ofOptions options cpu path
                     |> Result.map (fun e -> (e :> IDisposable).Dispose()))
                    kind)

            for i, changed in Seq.indexed (Seq.truncate count (mutants seed bytes head)) do
                File.WriteAllBytes(path, changed)
                let before, clock = GC.GetAllocatedBytesForCurrentThread(), Stopwatch.StartNew()
                let live = Autograd.liveTensors ()

                try
                    read path
                    Safetensors.read path
                    |> Result.iter (fun (_, tree) ->
                        for x in TensorTree.tensors tree do
                            x.Dispose())
                with
                | :? AssertException -> reraise ()
                | e -> failtestf "%s, change %d: %O" kind i e

                let took, allocated = clock.Elapsed, GC.GetAllocatedBytesForCurrentThread() - before
                if took > slowest then failtestf "%s, change %d took %O" kind i took
                if allocated > mostBytes then failtestf "%s, change %d allocated %d bytes" kind i allocated
                Expect.equal (Autograd.liveTensors ()) live (sprintf "%s, change %d: tensors left" kind i)

            Expect.equal (Directory.GetFiles folder) [| path |] "nothing written")

[<Tests>]
let tests =
    testList "Runs.WeightFuzz" [
        test "some hundred changed files" (fuzz 200)
        testLong "ten thousand changed files" (fuzz 3400)
    ]
