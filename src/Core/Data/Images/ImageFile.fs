namespace AdvContrast.Core.Data

open System
open System.IO
open System.Text
open AdvContrast.Core.Foundation

/// Image files. The format is recognised by the file's first bytes, not by the ending of its name.
[<RequireQualifiedAccess>]
module ImageFile =

    /// The formats that are read, for lists and error texts.
    let formats = "PNG, JPEG, WebP, BMP, GIF, binary PGM and PPM"

    // The bytes by which a format is recognised, their offset in the file, and its decoder.
    let private decoders = [
        0, "\137PNG\r\n\026\n", SkiaCodec.decode
        0, "\255\216\255", SkiaCodec.decode
        8, "WEBP", SkiaCodec.decode
        0, "BM", SkiaCodec.decode
        0, "GIF8", SkiaCodec.decode
        0, "P5", Netpbm.decode
        0, "P6", Netpbm.decode
    ]

    // The same for formats that are not read.
    let private others = [
        0, "II*\000", "a TIFF file"
        0, "MM\000*", "a TIFF file"
        4, "ftypavif", "an AVIF file"
        4, "ftyphei", "a HEIC file"
        0, "P1", "a text PBM file"
        0, "P2", "a text PGM file"
        0, "P3", "a text PPM file"
        0, "P4", "a PBM file"
    ]

    let private find (bytes: byte[]) signatures =
        let start = Encoding.Latin1.GetString(bytes, 0, min 16 bytes.Length)

        signatures
        |> List.tryPick (fun (offset, signature: string, found) ->
            let part = start.Substring(min offset start.Length)
            if part.StartsWith(signature, StringComparison.Ordinal) then Some found else None)

    let private decode (bytes: byte[]) =
        match find bytes decoders with
        | Some decode -> decode bytes
        | None ->
            let kind = find bytes others |> Option.defaultValue "not an image file"
            Raster.refuse (sprintf "it is %s; the formats read are %s." kind formats)

    /// Reads an image. Damaged, with a sentence, if it cannot be read.
    let read (path: string) : Result<Raster, Error> =
        DataFile.guarded path (fun () -> Ok(decode (File.ReadAllBytes path)))
