namespace AdvContrast.Core

open System
open System.IO
open System.Text

/// Image files of the formats that are read, told apart by how they begin.
[<RequireQualifiedAccess>]
module ImageFile =

    /// The formats that are read, for lists and error texts.
    let formats = "PNG (not interlaced, up to 8 bits a channel), baseline JPEG, binary PGM and PPM"

    /// The endings that files of these formats have.
    let endings = set [ ".png"; ".jpg"; ".jpeg"; ".pgm"; ".ppm" ]

    // Formats that are not read, by how they begin.
    let private others = [
        "GIF8", "a GIF"
        "RIFF", "a WebP"
        "BM", "a BMP"
        "II*\000", "a TIFF"
        "MM\000*", "a TIFF"
        "P1", "a text PBM"
        "P2", "a text PGM"
        "P3", "a text PPM"
        "P4", "a PBM"
    ]

    let private decode (path: string) (bytes: byte[]) =
        let start = Encoding.Latin1.GetString(bytes, 0, min 8 bytes.Length)

        if Png.isPng bytes then
            Png.decode bytes
        elif start.StartsWith("\255\216", StringComparison.Ordinal) then
            Jpeg.decode bytes
        elif
            start.StartsWith("P5", StringComparison.Ordinal)
            || start.StartsWith("P6", StringComparison.Ordinal)
        then
            Netpbm.decode bytes
        else
            let kind =
                others
                |> List.tryPick (fun (sign, kind) ->
                    if start.StartsWith(sign, StringComparison.Ordinal) then Some kind else None)
                |> Option.defaultValue (
                    match Path.GetExtension path with
                    | "" -> "no image"
                    | ending when endings.Contains(ending.ToLowerInvariant()) ->
                        sprintf "no %s" (ending.TrimStart('.').ToUpperInvariant())
                    | ending -> sprintf "a %s" (ending.TrimStart('.').ToUpperInvariant())
                )

            Raster.refuse (sprintf "it is %s file; what is read is %s." kind formats)

    /// Reads an image. Damaged, with a sentence, where it cannot be read.
    let read (path: string) : Result<Raster, Error> =
        DataFile.guarded path (fun () -> Ok(decode path (File.ReadAllBytes path)))
