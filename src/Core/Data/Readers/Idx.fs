namespace AdvContrast.Core.Data

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open AdvContrast.Core.Foundation

/// The idx layout of MNIST and Fashion-MNIST: a big-endian header (two zero bytes, a type, the number of
/// dimensions, then each size as an int32) and unsigned bytes; plain or gzip-compressed.
[<RequireQualifiedAccess>]
module Idx =

    let private damaged path problem = DataFile.damaged path problem

    // The sizes and the bytes of an idx stream of unsigned bytes with a number of dimensions.
    let private parse path dimensions (content: byte[]) =
        let header = 4 + 4 * dimensions

        if content.Length < header then
            damaged path (sprintf "it ends after %d bytes, before its header does." content.Length)
        elif content[0] <> 0uy || content[1] <> 0uy || content[2] <> 8uy || int content[3] <> dimensions then
            damaged path (sprintf "it is not an idx file of unsigned bytes with %d dimensions." dimensions)
        else
            let sizes =
                Array.init dimensions (fun i ->
                    int64 (BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan(content, 4 + 4 * i, 4))))

            let expected = Array.fold (*) 1L sizes

            if int64 (content.Length - header) <> expected then
                damaged
                    path
                    (sprintf "its header promises %d bytes, it holds %d." expected (content.Length - header))
            else
                Ok(sizes, content[header..])

    let private inflate path (stream: Stream) =
        try
            use whole = new MemoryStream()
            stream.CopyTo whole
            let bytes = whole.ToArray()

            if bytes.Length > 2 && bytes[0] = 0x1fuy && bytes[1] = 0x8buy then
                use source = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress)
                use plain = new MemoryStream()
                source.CopyTo plain
                Ok(plain.ToArray())
            else
                Ok bytes
        with
        | :? InvalidDataException -> damaged path "its compressed content is cut short or altered."
        | :? IOException as e -> damaged path e.Message

    /// Images [n; 1; h; w] and labels [n] from two streams, named for error texts.
    let read name classes mean std (imagesPath, images: Stream) (labelsPath, labels: Stream) =
        inflate imagesPath images
        |> Result.bind (parse imagesPath 3)
        |> Result.bind (fun (sizes, pixels) ->
            if pixels.Length > 0 then Ok(sizes, pixels) else damaged imagesPath "it holds no image.")
        |> Result.bind (fun (sizes, pixels) ->
            inflate labelsPath labels
            |> Result.bind (parse labelsPath 1)
            |> Result.bind (fun (count, labels) ->
                if count[0] <> sizes[0] then
                    damaged labelsPath (sprintf "it holds %d labels for %d images." count[0] sizes[0])
                else
                    match labels |> Array.tryFindIndex (fun label -> int label >= classes) with
                    | Some at ->
                        damaged
                            labelsPath
                            (sprintf "label %d of image %d is not below %d." labels[at] at classes)
                    | None ->
                        let shape = [| sizes[0]; 1L; sizes[1]; sizes[2] |]
                        Ok(Dataset.ofBytes name pixels shape labels classes mean std)))

    // Published names, in any case, with a dot in place of the last dash (as older copies have it), plain or gzipped.
    let private isNamed (target: string) (path: string) =
        let name = Path.GetFileName(path).ToLowerInvariant().Replace('.', '-')
        name = target || name = target + "-gz"

    // Folders that copies of the data set have on the way to its files: its name, torchvision's MNIST/raw, and those of
    // archives, which are named as the file in them.
    let private isOnTheWay name (target: string) (path: string) =
        let folder = Path.GetFileName(path).ToLowerInvariant()
        folder = name || folder = name.Replace("-", "") || folder = "raw" || isNamed target path

    let rec private find depth name target (folder: string) =
        if depth > 3 || not (Directory.Exists folder) then
            None
        else
            Directory.GetFiles folder
            |> DataFile.byName
            |> Array.tryFind (isNamed target)
            |> Option.orElseWith (fun () ->
                Directory.GetDirectories folder
                |> DataFile.byName
                |> Array.filter (isOnTheWay name target)
                |> Array.tryPick (find (depth + 1) name target))

    let private openFile what name (folder: string) target =
        DataFile.guarded folder (fun () ->
            match find 0 name target folder with
            | None ->
                let advice = sprintf "Give the folder that holds %s's four idx files with --data DIR." what
                Result.Error(Error.Missing(sprintf "A %s file" what, Path.Combine(folder, target), advice))
            | Some path -> DataFile.guarded path (fun () -> Ok(path, File.OpenRead path :> Stream)))

    /// The training or the test images from a folder with the four published files, plain or gzipped, or with a folder
    /// of the data set's name, torchvision's MNIST/raw or an unpacked archive's that has them. what: the data set, for
    /// error texts; name: that of its folder, in lower case.
    let readFolder what name classes mean std (folder: string) train =
        let openFile kind =
            openFile what name folder (sprintf "%s-%s-ubyte" (if train then "train" else "t10k") kind)

        openFile "images-idx3"
        |> Result.bind (fun (imagesPath, images) ->
            use images = images

            openFile "labels-idx1"
            |> Result.bind (fun (labelsPath, labels) ->
                use labels = labels
                read name classes mean std (imagesPath, images) (labelsPath, labels)))
