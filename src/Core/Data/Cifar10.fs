namespace AdvContrast.Core

open System.IO

/// CIFAR-10 in its binary layout: records of one label byte and 3072 bytes (red, green and blue planes of
/// 32x32, row-major), 10,000 records a file, in a folder cifar-10-batches-bin.
[<RequireQualifiedAccess>]
module Cifar10 =

    let private record = 3073

    let private readFile (path: string) =
        if not (File.Exists path) then
            Result.Error(
                Error.Missing(
                    "A CIFAR-10 file",
                    path,
                    "It is part of cifar-10-binary.tar.gz; unpack that whole."
                )
            )
        else
            try
                let bytes = File.ReadAllBytes path

                if bytes.Length = 0 || bytes.Length % record <> 0 then
                    let problem =
                        sprintf "%d bytes are not a whole number of %d-byte records." bytes.Length record
                    Result.Error(Error.Damaged(path, problem))
                else
                    match
                        Seq.tryFind
                            (fun at -> bytes[at * record] > 9uy)
                            (seq { 0 .. bytes.Length / record - 1 })
                    with
                    | Some at ->
                        let problem = sprintf "record %d has label %d, not 0 to 9." at bytes[at * record]
                        Result.Error(Error.Damaged(path, problem))
                    | None -> Ok bytes
            with
            | :? IOException
            | :? System.UnauthorizedAccessException as e -> Result.Error(Error.Damaged(path, e.Message))

    let private ofRecords name (files: byte[] list) =
        let bytes = Array.concat files
        let n = bytes.Length / record
        let pixels = Array.zeroCreate<byte>(n * (record - 1))

        for i in 0 .. n - 1 do
            System.Buffer.BlockCopy(bytes, i * record + 1, pixels, i * (record - 1), record - 1)

        let labels = Array.init n (fun i -> bytes[i * record])
        // The ImageNet statistics, which the ACL family uses on CIFAR too.
        Dataset.ofBytes name pixels [| int64 n; 3L; 32L; 32L |] labels 10 [ 0.485; 0.456; 0.406 ] [
            0.229
            0.224
            0.225
        ]

    /// The training or the test images below a folder that holds cifar-10-batches-bin, or is it.
    let read (folder: string) train =
        let inner = Path.Combine(folder, "cifar-10-batches-bin")
        let folder = if Directory.Exists inner then inner else folder

        if not (Directory.Exists folder) then
            Result.Error(
                Error.Missing(
                    "CIFAR-10",
                    folder,
                    "Give the folder that holds cifar-10-batches-bin with --data DIR."
                )
            )
        else
            let names =
                if train then [ for i in 1..5 -> sprintf "data_batch_%d.bin" i ] else [ "test_batch.bin" ]

            (Ok [], names)
            ||> List.fold (fun files name ->
                files
                |> Result.bind (fun files ->
                    readFile (Path.Combine(folder, name)) |> Result.map (fun f -> files @ [ f ])))
            |> Result.map (ofRecords "cifar10")
