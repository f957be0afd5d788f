namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks

/// A method's full composition and recipe in words.
[<RequireQualifiedAccess>]
module MethodCard =

    /// The full composition, line by line: what the line is of, and what it says.
    let lines (method: Method) : (string * string) list =
        let start = Progress.start 1 method.Recipe.Epochs

        // Views that are made alike are told together.
        let views =
            method.Step.Views
            |> List.map (fun view ->
                let first = (view.Make start).Text
                let last = (view.Make(Progress.atEpoch method.Recipe.Epochs start)).Text
                let source = if view.Source = "image" then "" else sprintf "of %s: " view.Source
                let text = if first = last then first else sprintf "%s; at the end %s" first last
                view.Name, source + text)
            |> List.groupBy snd
            |> List.map (fun (text, alike) ->
                sprintf "%s = %s" (alike |> List.map fst |> String.concat ", ") text)

        let pass (p: Pass) =
            let traits = [
                match p.Who with
                | Online -> Branch.name p.Call.Branch
                | Average name -> sprintf "average %s, %s" name (Branch.name p.Call.Branch)
                | Frozen name -> sprintf "frozen %s" name

                if p.Call.Mode = Train then "train mode" else "eval mode"
                if p.Call.Momentum <> 0.1 then sprintf "momentum %g" p.Call.Momentum
                if p.Learn then "learns"
            ]

            sprintf "%s <- %s (%s)" p.Name (String.concat ", " p.Views) (String.concat ", " traits)

        let made makes = makes |> List.map (fun (made, from) -> sprintf "%s from %s" made from)

        [
            "citation", method.Citation
            "loss", method.Step.Formula

            for stage in method.Before do
                match stage with
                | Stage.External(name, advice) -> "first", sprintf "%s: %s" name advice
                | Stage.Train(name, m) -> "first", sprintf "%s: %s, %d epochs" name m.Summary m.Recipe.Epochs
                | Stage.Compute(name, make) -> "first", sprintf "%s: %s" name make.Text

            match method.From with
            | Some name -> "starts", sprintf "from %s" name
            | None -> ()

            for view in views do
                "view", view

            match method.Step.Free with
            | Some free ->
                "adversary",
                sprintf
                    "%s; carried along, %s in %s"
                    (String.concat ", " (made free.Makes))
                    free.Ascent.Text
                    (Threat.label free.Threat)
            | None -> ()

            for a in method.Step.Adversaries do
                "adversary",
                sprintf
                    "%s; %s in %s"
                    (String.concat ", " (made a.Makes))
                    a.Ascent.Text
                    (Threat.label a.Threat)

                for p in a.Passes do
                    "  raises", pass p

            for p in method.Step.Passes do
                "pass", pass p

            if method.Step.WeightStep.Text <> "0" then
                "weights", sprintf "perturbed by %s of their length" method.Step.WeightStep.Text

            "head", method.Head.Text
            "branches", method.Branches |> List.map Branch.name |> String.concat ", "

            for average in method.Averages do
                "average", sprintf "%s, decay %s" average.Name average.Decay.Text

            match method.Sampling with
            | Everything -> ()
            | Chosen coreset -> "trains on", coreset.Text

            if method.Recipe.Trains.Text <> Recipe.everything.Text then "moves", method.Recipe.Trains.Text

            "optimiser", method.Recipe.Optimizer.Text
            "recipe",
            sprintf
                "%s on %s, %d images a step%s, %d epochs"
                method.Recipe.Network
                method.Recipe.Dataset
                method.Recipe.Batch
                (if method.Recipe.Replays = 1 then "" else sprintf ", %d steps each" method.Recipe.Replays)
                method.Recipe.Epochs
            "deploys",
            match method.Deploy with
            | Average name, branch -> sprintf "average %s, branch %s" name (Branch.name branch)
            | _, branch -> sprintf "branch %s" (Branch.name branch)

            for KeyValue(quirk, why) in method.Quirks do
                "note", sprintf "%s (%s)" quirk why
        ]

    /// The full composition as text.
    let text (method: Method) =
        [
            sprintf "%s: %s" method.Name method.Summary
            yield! lines method |> List.map (fun (name, text) -> sprintf "  %-12s %s" (name + ":") text)
        ]
        |> String.concat "\n"

    /// The same as a page of Markdown.
    let page (method: Method) =
        let cell (text: string) = text.Trim().Replace("|", "\\|")

        [
            sprintf "# %s" method.Name
            ""
            sprintf "%s." (method.Summary.Substring(0, 1).ToUpperInvariant() + method.Summary.Substring 1)
            ""
            "| | |"
            "|---|---|"
            yield!
                lines method |> List.map (fun (name, text) -> sprintf "| %s | %s |" (cell name) (cell text))
            ""
            sprintf "    advcontrast pretrain --method %s" method.Name
            ""
        ]
        |> String.concat "\n"
