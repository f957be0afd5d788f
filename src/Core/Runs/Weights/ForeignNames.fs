namespace AdvContrast.Core.Runs

open System
open System.Text.RegularExpressions
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation

/// How a file tells the batch norms of a layer apart.
type NormPlace =
    | Only
    /// One of a list; the second is the adversarial one by the habit of these programs.
    | Listed of int
    /// Beside the one with the plain name, which these programs evaluate.
    | Beside of int

/// The names that tensors have in other programs.
[<RequireQualifiedAccess>]
module ForeignNames =

    // ACL's code, kuangliu's and RobustBench's, CLAE's.
    let private shortcuts = [
        ".downsample.conv.", ".downsample.0."
        ".downsample.bn.", ".downsample.1."
        ".shortcut.conv.", ".downsample.0."
        ".shortcut.bn.", ".downsample.1."
        ".shortcut.0.", ".downsample.0."
        ".shortcut.1.", ".downsample.1."
        ".shortcut_bn.", ".downsample.1."
        ".ds_conv1.", ".downsample.0."
        ".ds_bn1.", ".downsample.1."
    ]

    let private parts = "(weight|bias|running_mean|running_var|num_batches_tracked)$"

    // Batch norms of a layer by their number: lists as in ACL's code, or named for what they see.
    let private listed = Regex(@"\.(?:bn_list|bns|norms)\.(\d{1,3})\." + parts)
    let private single = Regex(@"\.bn_list\." + parts)
    let private clean = Regex(@"\.(?:clean_bn|bn_clean|normal|clean)\." + parts)
    let private adversarial = Regex(@"\.(?:adv_bn|bn_adv|pgd|adv)\." + parts)

    // A second one beside the first: CLAE's names and those of AdvProp in timm.
    let private suffixed = Regex(@"_adv\." + parts)
    let private auxiliary = Regex(@"\.aux_bn\.(\d{1,3})\." + parts)

    let private normOf (name: string) : string * NormPlace =
        let without (pattern: Regex) (separator: string) =
            pattern.Replace(name, fun found -> separator + found.Groups[found.Groups.Count - 1].Value)

        let number (pattern: Regex) = int (pattern.Match name).Groups[1].Value

        if listed.IsMatch name then without listed ".", Listed(number listed)
        elif single.IsMatch name then without single ".", Only
        elif clean.IsMatch name then without clean ".", Listed 0
        elif adversarial.IsMatch name then without adversarial ".", Listed 1
        elif suffixed.IsMatch name then without suffixed ".", Beside 1
        elif auxiliary.IsMatch name then without auxiliary ".", Beside(1 + number auxiliary)
        else name, Only

    let private shortcut (name: string) =
        shortcuts
        |> List.tryFind (fun (theirs, _) -> name.Contains theirs)
        |> Option.map (fun (theirs, ours) -> name.Replace(theirs, ours))

    // The network's name of a tensor; None where it has none such.
    let resolve (wanted: Set<string>) (name: string) : (string * NormPlace) option =
        if wanted.Contains name then
            Some(name, Only)
        else
            let plain, norm = normOf name

            [ Some plain; shortcut plain ]
            |> List.choose id
            |> List.tryFind wanted.Contains
            |> Option.map (fun known -> known, norm)

    // --- prefixes

    let tokens (name: string) = name.ToLowerInvariant().Split([| '.'; '_' |])

    // Parts of names that are copies of the network: slow averages, and what attacks it in MadryLab's code.
    let private copies =
        Set [ "momentum"; "target"; "teacher"; "ema"; "k"; "key"; "averaged"; "avg"; "slow"; "attacker" ]

    let isCopy (name: string) = tokens name |> Array.exists copies.Contains

    // Deeper prefixes than any program has.
    let private deepest = 12

    // The prefixes of a name: nothing, and what ends at each of its first dots.
    let private prefixes (name: string) =
        let rec from start = seq {
            yield start

            match name.IndexOf('.', (start: int)) with
            | -1 -> ()
            | at -> yield! from (at + 1)
        }

        from 0
        |> Seq.truncate deepest
        |> Seq.map name.Substring
        |> Seq.zip (from 0 |> Seq.map (fun at -> name.Substring(0, at)))

    // How many of the network's tensors stand behind each prefix.
    let private scores wanted (names: string seq) =
        seq {
            for name in names do
                for prefix, rest in prefixes name do
                    match resolve wanted rest with
                    | Some _ -> prefix
                    | None -> ()
        }
        |> Seq.countBy id
        |> List.ofSeq

    let private quoted (names: string seq) =
        names |> Seq.map (fun (name: string) -> sprintf "'%s'" (name.TrimEnd '.')) |> String.concat " and "

    // The prefix of the network: the one behind which most of it is. chosen: what the user says it ends with.
    let prefixOf path wanted (chosen: string option) names : Result<string, Error> =
        let scores = scores wanted names
        let best scores = List.fold (fun most (_, score) -> max most score) 0 scores

        // Of prefixes within one another the shortest holds the others.
        let outermost (prefixes: string list) =
            prefixes
            |> List.filter (fun p -> not (List.exists (fun (q: string) -> q <> p && p.StartsWith q) prefixes))

        let most scores = scores |> List.filter (fun (_, n) -> n = best scores) |> List.map fst |> outermost

        match chosen with
        | Some text ->
            let ending = text.Trim('.') + "."
            let fits (prefix: string) =
                prefix = ending || prefix.EndsWith("." + ending, StringComparison.Ordinal)

            match most (List.filter (fst >> fits) scores) with
            | [ prefix ] -> Ok prefix
            | [] ->
                let there = scores |> List.filter (fun (_, n) -> 2 * n > best scores) |> List.map fst
                let where = if there = [ "" ] then "its names have no prefix" else "it has " + quoted there
                Error(
                    Error.BadOption(
                        "--prefix",
                        sprintf "no network stands behind '%s' in '%s'; %s." text path where
                    )
                )
            | several -> Error(Error.BadOption("--prefix", sprintf "'%s' may be %s." text (quoted several)))
        | None ->
            match most scores |> List.partition isCopy with
            | _, [ prefix ]
            | [ prefix ], [] -> Ok prefix
            | [], [] -> Ok ""
            | copies, online ->
                let several = if online.IsEmpty then copies else online
                let advice =
                    sprintf "'%s' holds several networks, behind %s; choose one." path (quoted several)
                Error(Error.BadOption("--prefix", advice))
