namespace AdvContrast.Core.Data

open System
open System.Buffers.Binary
open System.IO
open System.Text
open System.Text.RegularExpressions
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation

/// Values of an array file.
type NpyValues =
    | Bytes of byte[]
    | Wholes of int64[]

/// NumPy's array files (.npy, versions 1 to 3): unsigned bytes and 64-bit integers in row-major order.
[<RequireQualifiedAccess>]
module Npy =

    let private refuse text = raise (InvalidDataException text)

    let private magic = [| 0x93uy; byte 'N'; byte 'U'; byte 'M'; byte 'P'; byte 'Y' |]

    // The header's text: a Python dictionary.
    let private header (file: Stream) =
        let start = Array.zeroCreate<byte> 8

        if file.ReadAtLeast(start, 8, false) < 8 || start[..5] <> magic then refuse "it is not an npy file."

        let size = Array.zeroCreate<byte>(if start[6] = 1uy then 2 else 4)

        if file.ReadAtLeast(size, size.Length, false) < size.Length then
            refuse "it ends before its header does."

        let length =
            if size.Length = 2 then
                int64 (BinaryPrimitives.ReadUInt16LittleEndian size)
            else
                int64 (BinaryPrimitives.ReadUInt32LittleEndian size)

        if length > file.Length - file.Position then refuse "it ends before its header does."
        let text = Array.zeroCreate<byte>(int length)
        file.ReadExactly text
        Encoding.UTF8.GetString text

    let private field (text: string) pattern =
        let found = Regex.Match(text, pattern)
        if found.Success then found.Groups[1].Value else refuse "its header is not that of an npy file."

    let private sizes (text: string) =
        (field text @"'shape':\s*\(([0-9, ]*)\)").Split(',', StringSplitOptions.TrimEntries)
        |> Array.filter (fun size -> size <> "")
        |> Array.map (fun size ->
            match Int64.TryParse size with
            | true, size when size < (1L <<< 31) -> size
            | _ -> refuse "its header is not that of an npy file.")

    /// Some rows of an array: rows is told the array's shape, and says the first row and how many. Gives the
    /// shape of what was read and its values. Damaged for another type or order, or where the file is not as
    /// long as its header says.
    let read (path: string) (rows: int64[] -> Result<int64 * int64, Error>) =
        DataFile.guarded path (fun () -> result {
            use file = File.OpenRead path
            let text = header file

            if field text @"'fortran_order':\s*(True|False)" = "True" then
                refuse "its values are column after column; only row-major arrays are read."

            let kind = field text @"'descr':\s*'([^']*)'"

            let width =
                match kind with
                | "|u1" -> 1L
                | "<i8" -> 8L
                | other -> refuse (sprintf "its values are of type '%s'; '|u1' and '<i8' are read." other)

            let shape = sizes text
            if shape.Length = 0 then refuse "it holds a single value, no array."
            let expected = shape |> Array.fold (fun product size -> product * bigint size) (bigint width)
            let found = file.Length - file.Position

            if expected <> bigint found then
                refuse (sprintf "its header promises %O bytes, it holds %d." expected found)

            let row = if shape[0] = 0L then 0L else found / shape[0]
            let! first, count = rows shape
            let bytes = Array.zeroCreate<byte>(int (count * row))
            file.Position <- file.Position + first * row
            file.ReadExactly bytes

            let values =
                if width = 1L then
                    Bytes bytes
                else
                    Wholes(
                        Array.init (bytes.Length / 8) (fun i ->
                            BinaryPrimitives.ReadInt64LittleEndian(ReadOnlySpan(bytes, 8 * i, 8)))
                    )

            return Array.append [| count |] shape[1..], values
        })
