namespace AdvContrast.Core

open System

/// The parts of a JPEG decoder that know of no image: bits, Huffman codes, and blocks of 8x8 coefficients.
[<RequireQualifiedAccess>]
module JpegBlock =

    /// Bits of a scan, from a place in the file, without the bytes that are stuffed in.
    type Bits(bytes: byte[], start: int) =
        let mutable at = start
        let mutable held = 0
        let mutable count = 0

        /// The place behind the bytes that were taken up.
        member _.At = at

        member _.Next() =
            if count = 0 then
                if at + 1 >= bytes.Length then Raster.refuse "it was cut short."

                if bytes[at] = 0xFFuy && bytes[at + 1] <> 0uy then
                    Raster.refuse "its pixels end before their number is full."

                held <- int bytes[at]
                at <- at + (if bytes[at] = 0xFFuy then 2 else 1)
                count <- 8

            count <- count - 1
            (held >>> count) &&& 1

        /// A number of so many bits, as the standard extends them to signed ones (F.2.2.1).
        member bits.Signed size =
            let mutable value = 0

            for _ in 1..size do
                value <- (value <<< 1) ||| bits.Next()

            if size > 0 && value < (1 <<< (size - 1)) then value - (1 <<< size) + 1 else value

        /// Goes on behind the restart marker that must stand here.
        member _.Restart() =
            count <- 0

            if at + 1 >= bytes.Length then
                Raster.refuse "it was cut short."
            elif bytes[at] <> 0xFFuy || bytes[at + 1] < 0xD0uy || bytes[at + 1] > 0xD7uy then
                Raster.refuse "a restart marker is missing."
            else
                at <- at + 2

    /// A Huffman code: for each length the largest code, -1 for none, and what to add to a code for the place
    /// of its value.
    type Codes = { Largest: int[]; Offset: int[]; Values: byte[] }

    /// The code with so many words of each length 1 to 16 (C.2).
    let codes (counts: byte[]) (values: byte[]) =
        let largest, offset = Array.create 17 -1, Array.zeroCreate 17
        let mutable code = 0
        let mutable place = 0

        for length in 1..16 do
            let count = int counts[length - 1]
            offset[length] <- place - code
            if count > 0 then largest[length] <- code + count - 1
            code <- code + count
            place <- place + count
            if code > (1 <<< length) then Raster.refuse "a table of codes is not one."
            code <- code <<< 1

        { Largest = largest; Offset = offset; Values = values }

    let private symbol (bits: Bits) codes =
        let mutable code = bits.Next()
        let mutable length = 1

        while length <= 16 && code > codes.Largest[length] do
            code <- (code <<< 1) ||| bits.Next()
            length <- length + 1
            if length > 16 then Raster.refuse "a code is not in its table."

        int codes.Values[codes.Offset[length] + code]

    // The coefficients' places in the order in which they are stored (figure 5).
    let private zigzag = [|
        for diagonal in 0..14 do
            let along = [| for i in max 0 (diagonal - 7) .. min 7 diagonal -> 8 * i + diagonal - i |]
            yield! if diagonal % 2 = 0 then Array.rev along else along
    |]

    /// Reads a block's coefficients, times the quantiser (in stored order), and gives its first one, which
    /// the next block's is told from. previous: that of the block before.
    let read (bits: Bits) dc ac (quantiser: int[]) previous (into: float[]) =
        Array.Clear into
        let size = symbol bits dc
        if size > 15 then Raster.refuse "a coefficient is too large."
        let first = previous + bits.Signed size
        into[0] <- float (first * quantiser[0])
        let mutable place = 1

        while place < 64 do
            let code = symbol bits ac
            let run, size = code >>> 4, code &&& 15

            if size = 0 then
                place <- if run = 15 then place + 16 else 64
            else
                place <- place + run
                if place > 63 then Raster.refuse "a block has more than 64 coefficients."
                into[zigzag[place]] <- float (bits.Signed size * quantiser[place])
                place <- place + 1

        first

    // Of the cosine transform (A.3.3): [position; frequency].
    let private basis =
        Array2D.init 8 8 (fun x u ->
            (if u = 0 then sqrt 0.125 else 0.5) * cos (float ((2 * x + 1) * u) * Math.PI / 16.0))

    /// The pixels of a block of coefficients, 0 to 255, at a place in a plane with rows of some length.
    let pixels (coefficients: float[]) (work: float[]) (plane: byte[]) start stride =
        for v in 0..7 do
            for x in 0..7 do
                let mutable sum = 0.0

                for u in 0..7 do
                    sum <- sum + basis[x, u] * coefficients[8 * v + u]

                work[8 * v + x] <- sum

        for x in 0..7 do
            for y in 0..7 do
                let mutable sum = 0.0

                for v in 0..7 do
                    sum <- sum + basis[y, v] * work[8 * v + x]

                plane[start + y * stride + x] <- byte (Math.Clamp(Math.Round(sum) + 128.0, 0.0, 255.0))
