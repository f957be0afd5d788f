/// Classifiers that are none of ours, measured on images that are given.
module Tests.Evaluation.UserClassifierTests

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
open AdvContrast.Core.Evaluation
open AdvContrast.Core.Audit
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.AttackCases
open Support

let private never = CancellationToken.None
let private silent _ _ = ()

let private asked = {
    Evaluation.defaults with
        Attacks = [ "fgsm"; "pgd-3:0.5"; "square-10" ]
        Threats = [ "linf:0.1"; "l2:0.2" ]
}

let private measure e classify (images: Tensor) (labels: Tensor) =
    Workbench.measure silent never classify images labels e

let private correct found =
    Expect.wantOk found "measured" |> List.map (fun (a: Accuracy) -> a.Name, a.Correct)

// n images, mostly with the labels that the classifier gives them.
let private crowd seed n =
    let source = Source seed
    let classify = bent source
    let images = noise source [ n; 1; 2; 3 ]
    let y = guesses classify images |> Array.mapi (fun i g -> if i % 7 = 0 then (g + 1) % 4 else g)
    classify, images, labels y

[<Tests>]
let tests =
    testList "Evaluation.UserClassifier" [
        test "clean accuracy, then each attack under each threat, as by themselves" (fun () ->
            let classify, images, y = crowd 1 40
            let told = ResizeArray<string * float>()
            let found =
                Workbench.measure (fun what share -> told.Add(what, share)) never classify images y asked
            let found = Expect.wantOk found "measured"
            use data = Dataset.ofTensors "images" images y

            let right, clean = RobustAccuracy.cleanly cpu classify data

            let alone threat name =
                let attack = Expect.wantOk (RobustAccuracy.attack name) name
                RobustAccuracy.under right (name, attack) 1UL threat ignore cpu classify data

            let threats = [ Threat.create Linf 0.1; Threat.create L2 0.2 ]
            let attacked = List.allPairs threats asked.Attacks |> List.map (fun pair -> pair ||> alone)
            let expected = clean :: attacked

            Expect.equal found expected "accuracies"
            Expect.equal found.Head.Correct 34 "right untouched"
            Expect.isLessThan found[2].Correct 34 "an attack breaks some"
            Expect.equal (Seq.last told) ("square-10, l2:0.2", 1.0) "the end of the last")

        testPropertyN 10 "bytes, and pixels in another box, are measured alike" (fun (seed: int) ->
            balanced (fun () ->
                let source = Source seed
                let bytes = Array.init (20 * 6) (fun _ -> float (source.Whole(0, 255)))
                let images = tensor [ 20; 1; 2; 3 ] bytes
                let classify = bent source
                let single' (x: Tensor) = classify (x.``to`` torch.float64)
                let y = labels (guesses classify (images / 255.0))
                let e = { asked with Attacks = [ "fgsm" ]; Threats = [ "linf:0.1" ] }
                let shares = correct (measure e single' (images / 255.0) y)
                let wide = { e with Threats = [ "linf:25.5:0:255" ] }
                let there = correct (measure wide (fun x -> classify (x / 255.0)) images y)
                Expect.equal there shares "pixels to 255"
                let low = { e with Threats = [ "linf:0.2:-1:1" ] }
                let middle = images / 127.5 - 1.0
                Expect.equal
                    (correct (measure low (fun x -> classify ((x + 1.0) / 2.0)) middle y))
                    shares
                    "from -1 to 1"
                Expect.equal (correct (measure e single' (images.``to`` torch.uint8) y)) shares "bytes"))

        test "a number of the images, and AutoAttack" (fun () ->
            let classify, images, y = crowd 3 12
            let few = { asked with Attacks = [ "fgsm" ]; Threats = []; Images = Some 5 }
            let found = Expect.wantOk (measure few classify images y) "measured"
            Expect.equal (found |> List.map _.Total) [ 5; 5 ] "images"
            Expect.equal found[1].Threat (Some(Threat.create Linf (8.0 / 255.0))) "the usual threat"
            let brief = { few with Attacks = [ "autoattack" ]; Images = Some 2; Threats = [ "linf:0.9" ] }
            let found = Expect.wantOk (measure brief classify images y) "measured"
            Expect.equal
                (found[1].Parts |> List.map _.Name)
                (AutoAttack.standard.Stages |> List.map fst)
                "its parts")

        test "notes are of one classifier on the same images alone" (fun () ->
            inFolder (fun folder ->
                let classify, images, y = crowd 4 6
                let notes = Path.Combine(folder, "notes.json")
                let e = {
                    asked with
                        Attacks = [ "autoattack" ]
                        Threats = [ "linf:0.05" ]
                        Notes = Some notes
                }
                let labelled y classify images =
                    // Stops in the first stage, with its notes left.
                    use stop = new CancellationTokenSource()
                    let report (what: string) _ = if what.EndsWith "apgd-t" then stop.Cancel()
                    let stopped = Workbench.measure report stop.Token classify images y e
                    Expect.equal (stopped |> Result.map ignore) (Error [ Error.Interrupted ]) "stopped"
                    File.ReadAllText notes

                let run classify images = labelled y classify images
                let key (text: string) = text[text.IndexOf "\"key\"" .. text.IndexOf "\"stage\""]
                let first = key (run classify images)
                Expect.equal (key (run classify images)) first "the same again"
                Expect.notEqual (key (run (fun x -> classify x * 2.0) images)) first "another classifier"
                Expect.notEqual (key (run classify (images * 0.5))) first "other images"
                Expect.notEqual (key (labelled (y.roll (1L, 0L)) classify images)) first "other labels"

                // Notes of something else are not used, and this is told beside the figure.
                let brief = { e with Attacks = [ "autoattack-rand" ] }
                let found = Expect.wantOk (measure brief classify images y) "measured"
                Expect.exists found[1].Flags _.Contains("another measurement") "told"
                let again = Expect.wantOk (measure brief classify images y) "measured again"
                Expect.equal again[1].Correct found[1].Correct "the same figure"
                Expect.isFalse
                    (again[1].Flags |> Seq.exists _.Contains("another measurement"))
                    "no notes left"))

        test "a stop ends it at the next look" (fun () ->
            let classify, images, y = crowd 5 6
            use stop = new CancellationTokenSource()
            let mutable looks = 0

            let counting x =
                looks <- looks + 1
                if looks = 3 then stop.Cancel()
                classify x

            Expect.equal
                (Workbench.measure silent stop.Token counting images y asked)
                (Error [ Error.Interrupted ])
                "stopped"
            Expect.equal looks 3 "no further look")

        test "faults are told all at once, and what does not fit is refused" (fun () ->
            let classify, images, y = crowd 6 4
            let bad = { asked with Attacks = [ "circle" ]; Threats = [ "l7:1" ]; Threads = Some 0 }
            Expect.hasLength (Expect.wantError (measure bad classify images y) "bad") 3 "one each"
            let refused parts classify images y =
                refuses parts (fun () -> measure asked classify images y |> ignore) (String.concat " " parts)
            refused [ "images"; "0 to 1" ] classify (images * 2.0) y
            refused [ "images"; "[n; c; h; w]" ] classify (images.squeeze 1L) y
            refused [ "images"; "Int32" ] classify (images.``to`` torch.int32) y
            refused [ "labels"; "4" ] classify images (labels [| 0 |])
            refused [ "labels"; "0 to 3"; "0 to 4" ] classify images (labels [| 0; 4; 1; 1 |])
            refused [ "labels"; "-1" ] classify images (labels [| 0; -1; 1; 1 |])
            refused [ "classifier"; "[n; k]"; "[1; 1; 2; 3]" ] (fun x -> x.alias ()) images y
            refused [ "images"; "none" ] classify (images.narrow (0L, 0L, 0L)) (y.narrow (0L, 0L, 0L)))

        test "a radius on a data set's images is in a box that holds them" (fun () ->
            use encoder = pixels 784
            let e = { asked with Threats = [ "linf:0.1:0:0.5" ] }

            match Workbench.evaluate silent never encoder e with
            | Error [ error ] -> says [ "--threat"; "0 to 1"; "0 to 0.5" ] error "why"
            | other -> failtestf "one error was expected: %A" other)

        testPropertyN
            20
            "attacks in turn as one: each sees what is left, and is told of whole"
            (fun (seed: int) (PositiveInt count) ->
                balanced (fun () ->
                    let s = scene seed (count % 5 + 5)
                    let seen = ResizeArray<int64[]>()

                    let watched name (attack: Attack) =
                        name,
                        Named.create attack.Text (fun (draw: Rng) threat classify (victims: AttackBatch) ->
                            Expect.equal draw.Ids victims.Ids "draws are the images'"
                            seen.Add victims.Ids
                            attack.Run draw threat classify victims)

                    let stages = [
                        watched "a" Attack.fgsm
                        watched "b" (Attack.pgd 0.4 3)
                        watched "c" (Attack.pgd 0.5 2)
                    ]
                    let whole = runBy (AutoAttack.toAttack { Name = "stub"; Stages = stages }) s |> deeds

                    // One stage after another, by hand.
                    let step (found: Oracles.Deed[]) (name, attack: Attack) =
                        let left = [|
                            for i in 0 .. found.Length - 1 do
                                if not found[i].Success then i
                        |]

                        if left.Length = 0 then
                            found
                        else
                            let some = pick left s
                            let some = { some with Draw = Rng.sub ("stage/" + name) some.Draw }
                            let part = deeds (runBy attack some)

                            (found, Array.zip left part)
                            ||> Array.fold (fun found (place, deed) ->
                                let before = found[place]

                                Array.updateAt
                                    place
                                    {
                                        Oracles.Deed.Image =
                                            if deed.Success then deed.Image else before.Image
                                        Success = deed.Success
                                        First =
                                            if deed.First < 0L then -1L else before.Forwards + deed.First
                                        Forwards = before.Forwards + deed.Forwards
                                        Gradients = before.Gradients + deed.Gradients
                                    }
                                    found)

                    let first = deeds (runBy Attack.fgsm { s with Draw = Rng.sub "stage/a" s.Draw })
                    let expected = List.fold step first [ "b", Attack.pgd 0.4 3; "c", Attack.pgd 0.5 2 ]
                    same whole expected "all of it"

                    for earlier, later in Seq.pairwise seen do
                        Expect.isTrue (Set.isSubset (Set.ofArray later) (Set.ofArray earlier)) "never more"))

        test "an attack by any name" (fun () ->
            for name in
                [ "fgsm"; "pgd-20"; "square-10"; "fab"; "apgd-t"; "cw-l2"; "autoattack"; "AutoAttack+" ] do
                Expect.isOk (AutoAttack.attack name) name
            let error = wantError (AutoAttack.attack "autoatack") "none"
            says [ "'autoattack'" ] error "the nearest")
    ]
