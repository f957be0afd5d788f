namespace AdvContrast.Core.Runs

open System
open System.Globalization
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core.Foundation

/// What a file of weights says that images are normalised by.
[<RequireQualifiedAccess>]
module FileNormalisation =

    // A file may round the numbers of a data set otherwise than another program.
    let private tolerance = 0.002

    let private agree (mean: float list, std: float list) (otherMean: float list, otherStd: float list) =
        let near (a: float list) (b: float list) =
            let spread (values: float list) count =
                if values.Length = 1 then List.replicate count values.Head else values

            let a, b = spread a b.Length, spread b a.Length
            a.Length = b.Length && List.forall2 (fun x y -> abs (x - y) <= tolerance) a b

        near mean otherMean && near std otherStd

    /// Mean and standard deviation as --normalise takes them.
    let text (mean: float list, std: float list) =
        let number (value: float) = value.ToString("0.####", CultureInfo.InvariantCulture)
        let numbers values = values |> List.map number |> String.concat ","
        if List.forall ((=) 0.0) mean && List.forall ((=) 1.0) std then
            "none"
        else
            sprintf "%s/%s" (numbers mean) (numbers std)

    // The values of a layer that normalises, for pixels from 0 to 1.
    let private valuesOf path (stored: Map<string, StoredTensor>) (meanName: string, stdName: string) =
        let values name =
            if StoredTensor.count stored[name].Shape > 16L then
                []
            else
                Scope.value (fun () ->
                    let x = stored[name].Read().``to``(torch.float64).flatten()
                    List.ofArray (x.data<float>().ToArray()))

        let mean, std = values meanName, values stdName
        // Means of pixels from 0 to 255 are above 1.
        let scale = if List.exists (fun m -> m > 1.0) mean then 255.0 else 1.0
        let mean, std = List.map (fun m -> m / scale) mean, List.map (fun s -> s / scale) std
        let isPositive s = s > 0.0 && Double.IsFinite s

        if
            not mean.IsEmpty
            && mean.Length = std.Length
            && List.forall Double.IsFinite mean
            && List.forall isPositive std
        then
            Ok(mean, std)
        else
            let problem =
                sprintf "'%s' and '%s' are no mean and standard deviation of channels." meanName stdName
            Error(Error.Damaged(path, problem))

    /// What images are normalised by, and why: the file's own layer where it has one.
    let choose path usual (names: StateNames) stored given = result {
        let! own = names.Normalisations |> List.traverseResultM (valuesOf path stored)

        match List.distinct own, given with
        | [], Some given -> return given, ""
        | [], None -> return! usual |> Result.map (fun values -> values, ", ImageNet's")
        | [ own ], Some given when not (agree own given) ->
            let name = fst names.Normalisations.Head
            let problem =
                sprintf "'%s' normalises by %s itself ('%s'), not by %s." path (text own) name (text given)
            return! Error(Error.BadOption("--normalise", problem))
        | [ own ], _ -> return own, sprintf ", from '%s' of the file" (fst names.Normalisations.Head)
        | _ ->
            let all = names.Normalisations |> List.map fst |> String.concat ", "
            return! Error(Error.Damaged(path, sprintf "it normalises in several ways: %s." all))
    }
