namespace AdvContrast.Core.Data

open System
open AdvContrast.Core.Foundation

/// Which images a figure was measured on.
type Coverage = {
    /// Images that were used.
    Images: int64
    /// Images in the set that they were drawn from.
    Of: int64
    /// Classes with an image among those used.
    Classes: int
    /// Classes that the labels can name.
    OfClasses: int
    /// The other classes by name, or by number where they have no names.
    Absent: string list
    /// What the reader of the set skipped, a phrase each: <c>"2 hidden files"</c>.
    Skipped: string list
}

[<RequireQualifiedAccess>]
module Coverage =

    /// The coverage of a figure that all images of a set are used for.
    let ofDataset (dataset: Dataset) : Coverage =
        let present =
            if dataset.IsLabelled then
                Scope.value (fun () -> dataset.Labels.cpu().data<int64>().ToArray() |> Set.ofArray)
            else
                Set.empty

        let names =
            match dataset.ClassNames with
            | [] -> List.init dataset.Classes string
            | names -> names

        let known = if dataset.IsLabelled then names else []

        {
            Images = dataset.Count
            Of = dataset.Whole
            Classes = present.Count
            OfClasses = known.Length
            Absent =
                known
                |> List.indexed
                |> List.filter (fun (label, _) -> not (present.Contains(int64 label)))
                |> List.map snd
            Skipped = dataset.Skipped
        }

    // Names in a note.
    let private shown = 10

    /// <c>"100 of 1000 images of sample, 10 of 10 classes"</c>.
    let text name (coverage: Coverage) =
        let images = sprintf "%d of %d images of %s" coverage.Images coverage.Of name

        if coverage.OfClasses = 0 then
            images
        else
            sprintf "%s, %d of %d classes" images coverage.Classes coverage.OfClasses

    /// Notes beside a figure, a sentence each: classes without an image, and what was skipped.
    let notes (coverage: Coverage) = [
        if not coverage.Absent.IsEmpty then
            sprintf "No image of %s is among them." (ShortList.text shown coverage.Absent)

        if not coverage.Skipped.IsEmpty then sprintf "Skipped: %s." (String.Join("; ", coverage.Skipped))
    ]

    /// The lines below a table of figures: which images they are of, whether fewer than `asked`, and the notes.
    let sentences name (asked: int option) (coverage: Coverage) = [
        sprintf "On %s." (text name coverage)

        match asked with
        | Some asked when int64 asked > coverage.Images ->
            sprintf "%d images were asked for; there are %d." asked coverage.Of
        | _ -> ()

        yield! notes coverage
    ]
