/// Adversarial images that are made, kept, read back and tried on other classifiers.
module Tests.Evaluation.AdversarialExamplesTests

open System
open System.IO
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Attacks
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

let private threat = Threat.create Linf 0.15

// Noise in three classes, as a data set that is in memory.
let private noisy (source: Source) n =
    Dataset.ofTensors "noise" (noise source [ n; 1; 2; 3 ]) (labels (Array.init n (fun i -> i % 3)))

let private linear seed : Oracles.Linear =
    let source = Source seed
    { Weights = source.Rows(3, 6); Offsets = source.Normals 3 }

let private craftOf attack targets report (data: Dataset) =
    let about = Map [ "run", "runs/x"; "ünï", "cöde" ]
    let attack = Expect.wantOk (AutoAttack.attack attack) attack |> fun found -> attack, found
    AdversarialExamples.craft about attack 7UL threat targets report cpu (AttackCases.linear (linear 1)) data

let private craft attack data = craftOf attack None ignore data

// All tensors, by hash; and all else.
let private contents (a: AdversarialExamples) =
    let tensors = [
        a.Original
        a.Labels
        yield! Option.toList a.Targets
        a.Before
        a.After
        yield! Attack.tensors a.Result
    ]
    let hash = TensorTree.hash (Map [ for place, x in List.indexed tensors -> string place, Leaf.Tensor x ])
    hash, (a.Attack, a.Text, a.Threat, a.Seed, a.About, a.Result.Flags)

let private reading (body: string -> AdversarialExamples -> unit) =
    inFolder (fun folder ->
        use data = noisy (Source 2) 12
        use images = craft "pgd-5" data
        body (Path.Combine(folder, "images.safetensors")) images)

let private written path images = Expect.wantOk (AdversarialExamples.save path images) "written"

// What a change of the file's parts leads to, without a tensor left over.
let private refused path (message: string) says' =
    let before = Autograd.liveTensors ()
    let error = wantError (AdversarialExamples.load path) message

    match error with
    | Error.Damaged(at, _) -> Expect.equal at path "the file"
    | other -> failtestf "%s: another kind of error: %A" message other

    says says' error message
    Expect.equal (Autograd.liveTensors ()) before (message + ": tensors left over")

let private altered
    path
    (change: Map<string, string> * TensorTree -> Map<string, string> * TensorTree)
    message
    says'
    =
    let metadata, tree = Expect.wantOk (Safetensors.read path) "read"
    let other = path + ".other"

    Scope.value (fun () ->
        let metadata, tree = change (Map.remove "sha256" metadata, tree)
        Expect.wantOk (Safetensors.write other metadata tree) "written")

    for x in TensorTree.tensors tree do
        x.Dispose()

    refused other message says'

let private texts key value (metadata: Map<string, string>, tree: TensorTree) =
    Map.add key value metadata, tree
let private without name (metadata: Map<string, string>, tree: TensorTree) = metadata, Map.remove name tree

let private tensors name change (metadata: Map<string, string>, tree: TensorTree) =
    let changed =
        tree
        |> Map.change
            name
            (Option.map (fun leaf ->
                match leaf with
                | Leaf.Tensor x -> Leaf.Tensor(change x)
                | other -> other))
    metadata, changed

let private withFew folder body =
    writeFashion folder 60
    use encoder = pixels 784

    body encoder {
        Evaluation.defaults with
            Dataset = Some "fashion-mnist"
            Data = Some folder
            Images = Some 30
            Attacks = [ "pgd-5" ]
            Threats = [ "linf:0.05" ]
    }

let private never = CancellationToken.None
let private silent _ _ = ()

[<Tests>]
let tests =
    testList "Evaluation.AdversarialExamples" [
        test
            "images that are made some at a time are those that the attack makes of all, and are judged"
            (fun () ->
                let source = Source 8
                use data = noisy source 260
                let told = ResizeArray<int>()
                use images = craftOf "pgd-5" None told.Add data
                Expect.equal (List.ofSeq told) [ 250; 260 ] "how far"
                let ids = [| 0L .. 259L |]
                let victims = victims ids data.Images (wholes data.Labels |> Array.map int)
                let draw = Rng.create 7UL "evaluate/pgd-5" ids
                let classify = AttackCases.linear (linear 1)
                let harm = (Attack.pgd 0.25 5).Run draw threat classify victims
                close 1e-12 (floats images.Result.Images) (floats harm.Images) "images"
                Expect.equal (truths images.Result.Success) (truths harm.Success) "success"
                Expect.equal (wholes images.Result.Forwards) (wholes harm.Forwards) "passes"
                Expect.equal (bits images.Original) (bits data.Images) "originals"
                let guess x = guesses classify x |> Array.map int64
                Expect.equal (wholes images.Before) (guess data.Images) "taken for"
                Expect.equal (wholes images.After) (guess harm.Images) "and then")

        test "towards targets" (fun () ->
            use data = noisy (Source 9) 20
            let targets = labels (Array.init 20 (fun i -> (i + 1) % 3))
            use images = craftOf "pgd-5" (Some targets) ignore data
            Expect.equal (wholes images.Targets.Value) (wholes targets) "kept"
            Expect.equal
                (truths images.Result.Success)
                (Array.map2 (=) (wholes images.After) (wholes targets))
                "success is the target's")

        test "what is saved comes back, and belongs to no scope" (fun () ->
            inFolder (fun folder ->
                use data = noisy (Source 3) 15
                let targets = labels (Array.create 15 2)

                for threat, targets in
                    [
                        threat, None
                        threat |> Threat.boxed -1.0 2.0, Some targets
                        Threat.unbounded threat, None
                    ] do
                    use made = craftOf "pgd-3" targets ignore data
                    let made = {
                        made with
                            Threat = threat
                            Seed = UInt64.MaxValue
                            Result = { made.Result with Flags = Set [ "zero gradient"; "\"odd\", ünï" ] }
                    }
                    let path = Path.Combine(folder, "images.safetensors")
                    written path made
                    use found = Scope.value (fun () -> Expect.wantOk (AdversarialExamples.load path) "read")
                    Expect.equal (contents found) (contents made) "all of it"
                    Expect.equal found.Targets.IsSome targets.IsSome "targets"))

        test "a file that is cut short, changed, foreign or of something else is refused" (fun () ->
            reading (fun path images ->
                written path images
                let whole = File.ReadAllBytes path

                let spoilt (bytes: byte[]) =
                    File.WriteAllBytes(path + ".spoilt", bytes)
                    refused (path + ".spoilt")

                spoilt whole[.. whole.Length / 2] "cut short" [ "cannot be used" ]
                spoilt [||] "empty" [ "cut short" ]
                spoilt "not one of them"B "foreign" [ "not a safetensors file" ]
                let flipped = Array.copy whole
                flipped[whole.Length - 1] <- flipped[whole.Length - 1] ^^^ 1uy
                spoilt flipped "a flipped bit" [ "checksum" ]
                altered path (fun (_, tree) -> Map.empty, tree) "no format" [ "no adversarial images" ]
                altered path (texts "content" "advcontrast adversarial images 3") "newer" [
                    "no adversarial images"
                ]
                altered path (without "adversarial") "no images" [ "'adversarial'" ]
                altered path (without "distance/l1") "no distances" [ "'distance/l1'" ]
                altered path (without "zero-gradients") "no zero gradients" [ "'zero-gradients'" ]
                altered path (tensors "labels" single) "labels of another type" [ "'labels'" ]
                altered path (tensors "success" (fun x -> x.``to`` torch.int64)) "no truths" [ "'success'" ]
                altered path (tensors "forwards" (fun x -> x.narrow (0L, 0L, 3L))) "too few" [
                    "'forwards'"
                ]
                altered path (tensors "original" (fun x -> x.squeeze 1L)) "another rank" [ "'original'" ]
                altered path (tensors "adversarial" (fun x -> x.narrow (3L, 0L, 2L))) "another size" [
                    "'adversarial'"
                ]
                altered
                    path
                    (fun (metadata, tree) ->
                        metadata, Map.add "targets" (Leaf.Tensor(torch.zeros [| 12L |])) tree)
                    "targets of another type"
                    [ "'targets'" ]
                altered path (texts "threat" "linf") "no threat" [ "linf:8/255" ]
                altered path (texts "seed" "-1") "no seed" [ "'-1'" ]
                altered path (texts "flags" "{}") "no flags" [ "flags" ]
                altered path (texts "flags" "null") "flags of nothing" [ "flags" ]
                altered path (fun (m, tree) -> Map.remove "text" m, tree) "no text" [ "text" ]))

        test "a file that is not there, and one that cannot be written" (fun () ->
            reading (fun path images ->
                match wantError (AdversarialExamples.load path) "missing" with
                | Error.Missing _ as error -> says [ "advcontrast attack --out" ] error "what to do"
                | other -> failtestf "another kind of error: %A" other

                match
                    wantError (AdversarialExamples.save (Path.Combine(path, "below")) images) "nowhere"
                with
                | Error.NotWritable _ -> ()
                | other -> failtestf "another kind of error: %A" other))

        testPropertyN
            20
            "accuracies are counts, and of the classifier itself those that were noted"
            (fun (seed: int) ->
                balanced (fun () ->
                    use data = noisy (Source seed) 30
                    use images = craft "fgsm" data
                    let own = AdversarialExamples.own images
                    let right x =
                        Array.map2 (=) (wholes x) (wholes data.Labels) |> Array.filter id |> Array.length
                    Expect.equal
                        (own.Clean.Correct, own.Attacked.Correct)
                        (right images.Before, min (right images.Before) (right images.After))
                        "counts"
                    Expect.equal (own.Attacked.Name, own.Attacked.Threat) ("fgsm", Some threat) "of what"
                    Expect.equal own.Attacked.Total 30 "images"
                    Expect.equal
                        (AdversarialExamples.onto cpu (AttackCases.linear (linear 1)) images)
                        own
                        "onto itself"
                    let other = linear (seed ||| 1)
                    let there = AdversarialExamples.onto cpu (AttackCases.linear other) images

                    let isRight (x: Tensor) =
                        Array.map2
                            (fun image label -> Oracles.argmax (other.Logits image) = int label)
                            (rows x)
                            (wholes data.Labels)

                    let clean = isRight images.Original
                    let both = Array.map2 (&&) clean (isRight images.Result.Images)
                    let count = Array.filter id >> Array.length

                    Expect.equal
                        (there.Clean.Correct, there.Attacked.Correct)
                        (count clean, count both)
                        "onto another, where what was wrong stays wrong"))

        test "a summary is over the images that were correct" (fun () ->
            use data = noisy (Source 5) 40
            use images = craft "pgd-5" data
            let right = Array.map2 (=) (wholes images.Before) (wholes data.Labels)
            let values =
                floats images.Result.Distance[L2] |> Array.zip right |> Array.filter fst |> Array.map snd
            let mean, most =
                Expect.wantSome (AdversarialExamples.summary images images.Result.Distance[L2]) "some"
            close 1e-12 [| mean; most |] [| Array.average values; Array.max values |] "mean and maximum"
            let wrong = { images with Before = images.Labels + 1L }
            Expect.isNone (AdversarialExamples.summary wrong images.Result.Forwards) "none was right")

        test "no images are refused" (fun () ->
            use data = noisy (Source 1) 3
            use none = Dataset.subset [||] data
            refuses [ "images"; "none" ] (fun () -> (craft "fgsm" none :> IDisposable).Dispose()) "none")

        test "of an encoder's images: as an evaluation has it, and onto another encoder" (fun () ->
            inFolder (fun folder ->
                withFew folder (fun encoder e ->
                    let told = ResizeArray<string>()
                    let report what _ = told.Add what
                    let images = Expect.wantOk (Workbench.craft report never encoder e) "made"
                    use images = images
                    let measured = Expect.wantOk (Workbench.evaluate silent never encoder e) "measured"
                    let own = AdversarialExamples.own images
                    let figures (all: Accuracy list) =
                        all |> List.map (fun a -> { a with Cost = AttackCost.none })
                    Expect.equal
                        (figures [ own.Clean; own.Attacked ])
                        (figures measured.Accuracies)
                        "the same"
                    Expect.equal own.Attacked.Total 30 "images"
                    Expect.isLessThan own.Attacked.Correct own.Clean.Correct "it breaks some"
                    Expect.equal images.About["dataset"] "fashion-mnist" "the data set"
                    Expect.equal (told |> Seq.distinct |> List.ofSeq) [ "linear layer"; "pgd-5" ] "told"
                    let there = Workbench.transfer silent never encoder { e with Dataset = None } images
                    let there = Expect.wantOk there "transferred"
                    Expect.equal there own "onto the same encoder")))

        test "one attack within one threat" (fun () ->
            use encoder = pixels 784

            for e in
                [
                    Evaluation.defaults
                    { Evaluation.defaults with Attacks = [] }
                    { Evaluation.defaults with Attacks = [ "fgsm" ]; Threats = [ "l2:1"; "l2:2" ] }
                ] do
                match Workbench.craft silent never encoder e with
                | Error [ Error.BadOption("--attack", problem) ] ->
                    Expect.stringContains problem "one attack" "why"
                | other -> failtestf "one error was expected: %A" (other |> Result.map ignore))

        test "faults of the evaluation, a stop, and an encoder of other images" (fun () ->
            inFolder (fun folder ->
                withFew folder (fun encoder e ->
                    let bad = { e with Attacks = [ "circle" ]; Images = Some 0 }
                    Expect.hasLength
                        (Expect.wantError (Workbench.craft silent never encoder bad) "bad")
                        2
                        "both"
                    use stop = new CancellationTokenSource()
                    let report what _ = if what = "linear layer" then stop.Cancel()
                    let stopped = Workbench.craft report stop.Token encoder e |> Result.map ignore
                    Expect.equal stopped (Error [ Error.Interrupted ]) "stopped"
                    use images = Expect.wantOk (Workbench.craft silent never encoder e) "made"
                    let colourful = { encoder with Input = colour }

                    match Workbench.transfer silent never colourful e images with
                    | Error [ error ] -> says [ "--onto"; "3 channel" ] error "another kind of images"
                    | other -> failtestf "one error was expected: %A" other)))
    ]
