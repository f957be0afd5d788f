/// Steps and methods as data: names, faults, cards.
module Tests.Methods.StepTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open Support.Arrays
open Support.Fixtures
open Support.Laws

let private acl = Acl.dualStream

let private withPasses change (method: Method) = {
    method.Step with
        Passes = List.map change method.Step.Passes
}
let private withAdversaries change (method: Method) = {
    method.Step with
        Adversaries = List.map change method.Step.Adversaries
}

let private faults (method: Method) step = Step.faults method.Branches step

let private unknown kind given (errors: Error list) =
    Expect.contains
        (errors
         |> List.choose (fun e ->
             match e with
             | Error.UnknownName(kind, name, _) -> Some(kind, name)
             | _ -> None))
        (kind, given)
        "the fault"

[<Tests>]
let tests =
    testList "Methods.Step" [
        test "every method is found by its name, whatever the case" (fun () ->
            for m in MethodRegistry.methods do
                for name in [ m.Name; m.Name.ToUpperInvariant() ] do
                    let found = Expect.wantOk (MethodRegistry.find name) name
                    Expect.equal found.Name m.Name name

            let names = MethodRegistry.methods |> List.map _.Name
            Expect.equal (List.distinct names) names "no name twice"
            Expect.containsAll names [ "simclr"; "acl-ds" ] "those that there are")

        test "an unknown method is met with the nearest" (fun () ->
            let error = wantError (MethodRegistry.find "acl_ds") "unknown"
            says [ "method"; "'acl_ds'"; "Did you mean 'acl-ds'?"; "simclr" ] error "sentence")

        testTheory
            "a registered method is sound"
            (MethodRegistry.methods |> List.map (fun m -> m.Name))
            (fun name ->
                let m = Expect.wantOk (MethodRegistry.find name) name
                Expect.equal (faults m m.Step) [] "faults"
                Expect.contains m.Branches (snd m.Deploy) "the branch it deploys is its own"
                Expect.isOk (ModelRegistry.find m.Recipe.Network None) "its network"
                Expect.exists DatasetRegistry.all (fun set -> set.Name = m.Recipe.Dataset) "its data set")

        test "published numbers" (fun () ->
            let adversary = List.exactlyOne acl.Step.Adversaries
            Expect.equal adversary.Threat (Threat.create Linf (8.0 / 255.0)) "threat"
            Expect.equal
                (adversary.Ascent.Steps, adversary.Ascent.Keep, adversary.Ascent.Restarts)
                (5, Last, 1)
                "PGD-5, last iterate"
            Expect.equal adversary.Ascent.Start (Uniform false) "a start that is not clipped"
            Expect.all
                adversary.Passes
                (fun p -> p.Call.Mode = Eval && p.Call.Branch = adv && not p.Learn && not p.Keep)
                "in eval mode on adv"
            // A quarter of the radius: 2/255.
            let now =
                GradientAttackLoop.first
                    (torch.zeros [| 1L; 1L |])
                    (torch.zeros [| 1L; 1L |])
                    (torch.zeros [| 1L |], torch.ones [| 1L; 1L |])
            close 1e-7 (floats (fst (adversary.Ascent.Next adversary.Threat now))) [| 2.0 / 255.0 |] "step"
            Expect.equal
                (acl.Recipe.Batch, acl.Recipe.Epochs, acl.Recipe.Network)
                (512, 1000, "resnet18")
                "recipe"
            Expect.equal acl.Deploy (Online, adv) "what is deployed"
            Expect.stringContains
                acl.Recipe.Optimizer.Text
                "10 epochs of warm-up, then cosine 5 to 1e-06"
                "rate"
            Expect.stringContains
                acl.Recipe.Optimizer.Text
                "momentum 0.9, weight decay 1e-06, trust 0.001"
                "LARS")

        testList "a step that uses what is not there is told so, with the nearest name" [
            for case, find, kind, name in
                [
                    "view of a pass",
                    (fun () -> faults acl (withPasses (fun p -> { p with Views = "v3" :: p.Views }) acl)),
                    "view",
                    "v3"
                    "branch of a pass",
                    (fun () ->
                        faults acl (acl |> withPasses (fun p -> { p with Call = call (Branch "avd") Train }))),
                    "branch",
                    "avd"
                    "view an adversary starts from",
                    (fun () ->
                        acl |> withAdversaries (fun a -> { a with Makes = [ "a1", "w1" ] }) |> faults acl),
                    "view",
                    "w1"
                    "view of an adversary's pass",
                    (fun () ->
                        faults
                            acl
                            (withAdversaries
                                (fun a -> { a with Passes = [ Pass.eval "b" [ "b1" ] adv ] })
                                acl)),
                    "view",
                    "b1"
                    "branch an adversary looks through",
                    (fun () ->
                        faults
                            acl
                            (withAdversaries
                                (fun a -> { a with Passes = [ Pass.eval "adv" [ "a1" ] (Branch "x") ] })
                                acl)),
                    "branch",
                    "x"
                    "view that no adversary made",
                    (fun () -> faults acl { acl.Step with Adversaries = [] }),
                    "view",
                    "a1"
                    "branch the method lacks",
                    (fun () -> faults { acl with Branches = [ clean ] } acl.Step),
                    "branch",
                    "adv"
                ] do
                testCase case (fun () ->
                    let errors = find ()
                    unknown kind name errors

                    for e in errors do
                        says [ kind ] e "sentence")
        ]

        test "a later adversary may start from what an earlier one made, not the other way round" (fun () ->
            let first = List.exactlyOne acl.Step.Adversaries
            let second = { first with Makes = [ "b1", "a1" ]; Passes = [ Pass.eval "b" [ "b1"; "a2" ] adv ] }
            let step adversaries = { acl.Step with Adversaries = adversaries }
            Expect.equal (faults acl (step [ first; second ])) [] "in order"
            unknown "view" "a1" (faults acl (step [ second; first ])))

        test "a faulty step has all its faults told" (fun () ->
            let broken = { acl.Step with Passes = [ Pass.train "p" [ "x"; "v1"; "y" ] (Branch "z") ] }
            Expect.hasLength (faults acl broken) 3 "faults")

        testTheory "a card says what runs" (MethodRegistry.methods |> List.map (fun m -> m.Name)) (fun name ->
            let m = Expect.wantOk (MethodRegistry.find name) name
            let card = MethodCard.text m

            for part in
                [
                    m.Name
                    m.Summary
                    m.Citation
                    m.Step.Formula
                    m.Head.Text
                    m.Recipe.Optimizer.Text
                    m.Recipe.Dataset
                    string m.Recipe.Epochs
                    yield! m.Step.Views |> List.map (fun v -> (v.Make(Progress.start 1 1)).Text)
                    yield!
                        m.Step.Adversaries
                        |> List.collect (fun a -> [ a.Ascent.Text; Threat.label a.Threat ])
                    yield! m.Branches |> List.map Branch.name
                ] do
                Expect.stringContains card part "a part of the composition")

        test "a card tells quirks and why they are on" (fun () ->
            let odd = { acl with Quirks = Map [ "no projection", "as the released code has it" ] }
            Expect.stringContains (MethodCard.text odd) "no projection (as the released code has it)" "quirk")

        testProperty
            "another threat goes to every adversary, and nothing else changes"
            (fun (NormalFloat radius) ->
                let threat = Threat.create L2 (abs radius)
                let changed = Method.withThreat threat acl
                let back = Method.withThreat (List.exactlyOne acl.Step.Adversaries).Threat changed
                Expect.all changed.Step.Adversaries (fun a -> a.Threat = threat) "threats"
                Expect.equal (MethodCard.text back) (MethodCard.text acl) "the rest")

        test "another augmentation goes to every view" (fun () ->
            let changed = Method.withView Colour.grey acl
            let texts = changed.Step.Views |> List.map (fun v -> v.Name, (v.Make(Progress.start 1 1)).Text)
            Expect.equal texts [ "v1", "grey"; "v2", "grey" ] "views")

        test "passes that learn and passes that look" (fun () ->
            let train, eval = Pass.train "p" [ "v1" ] adv, Pass.eval "p" [ "v1" ] adv
            Expect.equal
                (train.Call.Mode, train.Learn, train.Keep, train.Who)
                (Train, true, true, Online)
                "train"
            Expect.equal
                (eval.Call.Mode, eval.Learn, eval.Keep, eval.Who)
                (Eval, false, false, Online)
                "eval"
            Expect.equal (train.Call.Branch, eval.Call.Branch) (adv, adv) "branch")
    ]
