namespace AdvContrast.Core.Data

open System.IO
open AdvContrast.Core.Foundation

/// A folder of classes below a part of an image folder.
type ImageClass = {
    Name: string
    /// Paths in the order of folders and names.
    Images: string[]
}

/// The entries below train or test of an image folder, by the rules of torchvision's ImageFolder (0.25): a class is a
/// folder, its images are all files below it with the ending of an image. Beyond those rules, hidden files and folders
/// and folders without images are skipped.
type ImageTree = {
    Folder: string
    /// In the order of their names; those without images too.
    Classes: ImageClass list
    Hidden: int
    /// Files beside the class folders, which are of no class.
    Classless: int
    /// Files with other endings, by their endings.
    Others: Map<string, int>
}

[<RequireQualifiedAccess>]
module ImageTree =

    let private endings =
        Set [ ".jpg"; ".jpeg"; ".png"; ".ppm"; ".pgm"; ".bmp"; ".tif"; ".tiff"; ".webp"; ".gif" ]

    let private ending (path: string) = Path.GetExtension(path).ToLowerInvariant()
    let private isImage path = endings.Contains(ending path)

    // What systems and archives leave behind.
    let private isHidden (path: string) =
        let name = Path.GetFileName path

        name.StartsWith '.'
        || List.contains name [
            "Thumbs.db"
            "desktop.ini"
            "__MACOSX"
            "lost+found"
            "@eaDir"
            "$RECYCLE.BIN"
        ]

    // Where a folder really is: a link to a folder on the way to it would be read for ever.
    let private target (folder: string) =
        match Directory.ResolveLinkTarget(folder, true) with
        | null -> Path.GetFullPath folder
        | link -> link.FullName

    // The files and the folders in a folder, and how many hidden entries there are.
    let private entries folder =
        let hiddenFiles, files = Directory.GetFiles folder |> DataFile.byName |> Array.partition isHidden
        let hiddenFolders, folders =
            Directory.GetDirectories folder |> DataFile.byName |> Array.partition isHidden

        List.ofArray files, List.ofArray folders, hiddenFiles.Length + hiddenFolders.Length

    // The files below a folder, each folder's before those of the folders in it, and how many entries are hidden.
    let rec private filesBelow (above: string list) folder : string list * int =
        let here = target folder

        if List.contains here above then
            [], 0
        else
            let files, folders, hidden = entries folder
            let below = folders |> List.map (filesBelow (here :: above))
            files @ List.collect fst below, hidden + List.sumBy snd below

    /// Reads the names below a folder. IOException and UnauthorizedAccessException where they cannot be read.
    let read (folder: string) : ImageTree =
        let beside, folders, hidden = entries folder
        let found = folders |> List.map (fun path -> Path.GetFileName path, filesBelow [ target folder ] path)

        {
            Folder = folder
            Classes = [
                for name, (files, _) in found ->
                    { Name = name; Images = files |> List.filter isImage |> Array.ofList }
            ]
            Hidden = hidden + List.sumBy (snd >> snd) found
            Classless = beside |> List.filter isImage |> List.length
            Others =
                found
                |> List.collect (snd >> fst)
                |> List.append beside
                |> List.filter (isImage >> not)
                |> List.countBy ending
                |> Map.ofList
        }

    // Folders without images in a phrase.
    let private shown = 10

    /// The entries that are no image of a class, a phrase each: <c>"2 hidden files"</c>.
    let skipped (tree: ImageTree) = [
        let count n (one: string) (many: string) = sprintf "%d %s" n (if n = 1 then one else many)
        let empty = tree.Classes |> List.filter (fun c -> c.Images.Length = 0)

        if tree.Hidden > 0 then count tree.Hidden "hidden file or folder" "hidden files and folders"

        if not empty.IsEmpty then
            sprintf
                "%s (%s)"
                (count empty.Length "folder without images" "folders without images")
                (ShortList.text shown (List.map _.Name empty))

        if tree.Classless > 0 then
            count tree.Classless "image beside the class folders" "images beside the class folders"

        for KeyValue(ending, n) in tree.Others do
            let kind = if ending = "" then "without an ending" else sprintf "with the ending %s" ending
            count n ("file " + kind) ("files " + kind)
    ]
