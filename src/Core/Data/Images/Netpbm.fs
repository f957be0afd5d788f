namespace AdvContrast.Core.Data

open System

/// Binary PGM and PPM images (P5 and P6) with 255 levels.
[<RequireQualifiedAccess>]
module Netpbm =

    let private isSpace (b: byte) = b = 32uy || (b >= 9uy && b <= 13uy)

    // A number of the header, after white space and comments, and where it ends.
    let private number (bytes: byte[]) start =
        let mutable at = start
        let mutable inComment = false

        while at < bytes.Length && (inComment || isSpace bytes[at] || bytes[at] = byte '#') do
            inComment <- (inComment || bytes[at] = byte '#') && bytes[at] <> byte '\n'
            at <- at + 1

        let from = at

        while at < bytes.Length && Char.IsAsciiDigit(char bytes[at]) do
            at <- at + 1

        if at = from || at - from > 6 then Raster.refuse "its header is not that of a PGM or PPM file."
        int (Text.Encoding.ASCII.GetString(bytes, from, at - from)), at

    /// Decodes a file. InvalidDataException, with a sentence, where it is damaged or of a kind that is not
    /// read.
    let decode (bytes: byte[]) : Raster =
        let channels = if bytes[1] = byte '6' then 3 else 1
        let width, at = number bytes 2
        let height, at = number bytes at
        let levels, at = number bytes at
        Raster.checkSize width height
        if levels <> 255 then Raster.refuse (sprintf "its largest level is %d; only 255 is read." levels)
        let expected, found = width * height * channels, bytes.Length - at - 1

        if expected <> found then
            Raster.refuse (sprintf "its header promises %d bytes, it holds %d." expected found)

        { Width = width; Height = height; Channels = channels; Pixels = bytes[at + 1 ..] }
