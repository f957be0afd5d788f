namespace AdvContrast.Core.Data

open System
open System.IO
open FsToolkit.ErrorHandling

/// The binary layout of CIFAR-10 and CIFAR-100: records of one label byte or two, then 3072 bytes (red, green
/// and blue planes of 32x32, row-major).
[<RequireQualifiedAccess>]
module CifarBinary =

    let private pixels = 3072

    // The records of a file, whose labels are below these limits.
    let private readFile what archive (limits: int list) path = result {
        let advice = sprintf "It is part of %s; unpack that whole." archive
        let! bytes = DataFile.read (sprintf "A %s file" what) advice path
        let record = limits.Length + pixels

        if bytes.Length = 0 || bytes.Length % record <> 0 then
            return!
                DataFile.damaged
                    path
                    (sprintf "%d bytes are not a whole number of %d-byte records." bytes.Length record)
        else
            let tooHigh = seq {
                for at in 0 .. bytes.Length / record - 1 do
                    for place, limit in List.indexed limits do
                        if int bytes[at * record + place] >= limit then at, bytes[at * record + place], limit
            }

            match Seq.tryHead tooHigh with
            | Some(at, label, limit) ->
                return!
                    DataFile.damaged
                        path
                        (sprintf "record %d has label %d, not 0 to %d." at label (limit - 1))
            | None -> return bytes
    }

    /// The folder of the binary version below the one given, or the one given. python: the folder of the Python version
    /// and a file in it; Damaged with a sentence where only those are found.
    let folder what advice (inner: string) (python: string, file: string) (given: string) =
        match DataFile.entry given [ inner ], DataFile.entry given [ python; file ] with
        | None, Some path ->
            DataFile.damaged
                path
                (sprintf "it is of the Python version of %s; the binary version is needed. %s" what advice)
        | _ -> DataFile.folder what advice inner given

    /// The images and labels of some files. what, archive: for error texts; limits: what each of a record's
    /// labels is below; place: that of the label wanted.
    let read what archive limits place (folder: string) (names: string list) = result {
        let! files =
            names
            |> List.traverseResultM (fun name ->
                DataFile.entry folder [ name ]
                |> Option.defaultValue (Path.Combine(folder, name))
                |> readFile what archive limits)

        let record = limits.Length + pixels
        let bytes = Array.concat files
        let n = bytes.Length / record
        let images = Array.zeroCreate<byte>(n * pixels)

        for i in 0 .. n - 1 do
            Buffer.BlockCopy(bytes, i * record + limits.Length, images, i * pixels, pixels)

        return images, Array.init n (fun i -> bytes[i * record + place])
    }
