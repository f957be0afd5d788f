namespace AdvContrast.Core

open System

/// Baseline JPEG images (ISO/IEC 10918-1): 8 bits, Huffman codes, grey or three channels in one scan. Pixels
/// are within 3 levels of libjpeg's, 99.6 % of them within 1: the cosine transform is in real numbers where
/// libjpeg's is in whole ones, and halved channels are widened by libjpeg's rule.
[<RequireQualifiedAccess>]
module Jpeg =

    type private Channel = {
        Id: byte
        // How many blocks of it a unit of the scan has, across and down.
        Across: int
        Down: int
        Quantiser: int
        // Its own size, and its samples in whole blocks.
        Width: int
        Height: int
        Stride: int
        Samples: byte[]
    }

    type private Frame = { Width: int; Height: int; Units: int * int; Channels: Channel[] }

    let private at (bytes: byte[]) place =
        if place < bytes.Length then int bytes[place] else Raster.refuse "it was cut short."

    let private word bytes place = (at bytes place <<< 8) ||| at bytes (place + 1)
    let private upTo whole part = (whole + part - 1) / part

    let private frame bytes start =
        if at bytes start <> 8 then Raster.refuse "it has more than 8 bits a channel."
        let height, width, count = word bytes (start + 1), word bytes (start + 3), at bytes (start + 5)
        Raster.checkSize width height

        if count <> 1 && count <> 3 then
            Raster.refuse (sprintf "it has %d channels; 1 and 3 are read." count)

        let place i = start + 6 + 3 * i
        // A single channel is stored block after block, whatever its sampling says.
        let sampling i =
            let factors = at bytes (place i + 1)
            if count = 1 then 1, 1 else factors >>> 4, factors &&& 15

        let factors = Array.init count sampling

        if
            factors |> Array.exists (fun (across, down) -> across < 1 || across > 4 || down < 1 || down > 4)
        then
            Raster.refuse "its sampling is not one."

        let most, highest = factors |> Array.map fst |> Array.max, factors |> Array.map snd |> Array.max

        if factors |> Array.exists (fun (across, down) -> most % across <> 0 || highest % down <> 0) then
            Raster.refuse "its channels are sampled in a way that is not read."

        let units = upTo width (8 * most), upTo height (8 * highest)

        {
            Width = width
            Height = height
            Units = units
            Channels =
                factors
                |> Array.mapi (fun i (across, down) ->
                    let stride = 8 * across * fst units

                    {
                        Id = byte (at bytes (place i))
                        Across = across
                        Down = down
                        Quantiser = at bytes (place i + 2)
                        Width = upTo (width * across) most
                        Height = upTo (height * down) highest
                        Stride = stride
                        Samples = Array.zeroCreate (stride * 8 * down * snd units)
                    })
        }

    // Fills the channels' samples from the scan; gives the place behind it.
    let private scan bytes start restarts frame (quantisers: Map<int, int[]>) codes =
        let count = at bytes (start + 2)

        if count <> frame.Channels.Length then
            Raster.refuse "its channels are stored apart, which is not read."

        let table kind name =
            match Map.tryFind (kind, name) codes with
            | Some(found: JpegBlock.Codes) -> found
            | None -> Raster.refuse "a table of codes is missing."

        let tables =
            frame.Channels
            |> Array.mapi (fun i channel ->
                if byte (at bytes (start + 3 + 2 * i)) <> channel.Id then
                    Raster.refuse "its channels are in another order than it says."

                let names = at bytes (start + 4 + 2 * i)

                match Map.tryFind channel.Quantiser quantisers with
                | Some quantiser -> table 0 (names >>> 4), table 1 (names &&& 15), quantiser
                | None -> Raster.refuse "a table of quantisers is missing.")

        let bits = JpegBlock.Bits(bytes, start + word bytes start)
        let firsts = Array.zeroCreate<int> count
        let coefficients, work = Array.zeroCreate 64, Array.zeroCreate 64
        let across, down = frame.Units

        for unit in 0 .. across * down - 1 do
            if restarts > 0 && unit > 0 && unit % restarts = 0 then
                bits.Restart()
                Array.Clear firsts

            for i in 0 .. count - 1 do
                let channel = frame.Channels[i]
                let dc, ac, quantiser = tables[i]

                for y in 0 .. channel.Down - 1 do
                    for x in 0 .. channel.Across - 1 do
                        firsts[i] <- JpegBlock.read bits dc ac quantiser firsts[i] coefficients
                        let column = 8 * (unit % across * channel.Across + x)
                        let row = 8 * (unit / across * channel.Down + y)
                        let place = row * channel.Stride + column
                        JpegBlock.pixels coefficients work channel.Samples place channel.Stride

        bits.At

    // A channel's sample at a pixel of the image. A halved channel is widened by a triangle of 3/4 and 1/4,
    // rounded as libjpeg does; other ratios repeat samples.
    let private widened frame (channel: Channel) =
        let most = frame.Channels |> Array.map _.Across |> Array.max
        let highest = frame.Channels |> Array.map _.Down |> Array.max
        let wide, high = most / channel.Across, highest / channel.Down

        let sample row column =
            let row, column = Math.Clamp(row, 0, channel.Height - 1), Math.Clamp(column, 0, channel.Width - 1)
            int channel.Samples[row * channel.Stride + column]

        // The sample next to that of a pixel, on the pixel's side of it.
        let beside at = at / 2 + (if at % 2 = 0 then -1 else 1)
        let smooth = channel.Width > 2

        match wide, high with
        | 1, 1 -> sample
        | 2, 1 when smooth ->
            fun y x -> (3 * sample y (x / 2) + sample y (beside x) + (if x % 2 = 0 then 1 else 2)) >>> 2
        | 1, 2 -> fun y x -> (3 * sample (y / 2) x + sample (beside y) x + (if y % 2 = 0 then 1 else 2)) >>> 2
        | 2, 2 when smooth ->
            fun y x ->
                let sum column = 3 * sample (y / 2) column + sample (beside y) column
                (3 * sum (x / 2) + sum (beside x) + (if x % 2 = 0 then 8 else 7)) >>> 4
        | _ -> fun y x -> sample (y / high) (x / wide)

    let private level (value: float) = byte (Math.Clamp(Math.Round value, 0.0, 255.0))

    let private paint frame isRgb : Raster =
        let planes = frame.Channels |> Array.map (widened frame)
        let pixels = Array.zeroCreate<byte>(frame.Width * frame.Height * planes.Length)

        for y in 0 .. frame.Height - 1 do
            for x in 0 .. frame.Width - 1 do
                let place = (y * frame.Width + x) * planes.Length

                if planes.Length = 1 || isRgb then
                    for i in 0 .. planes.Length - 1 do
                        pixels[place + i] <- byte (planes[i] y x)
                else
                    let luma = float (planes[0] y x)
                    let blue, red = float (planes[1] y x - 128), float (planes[2] y x - 128)
                    pixels[place] <- level (luma + 1.402 * red)
                    pixels[place + 1] <- level (luma - 0.344136286 * blue - 0.714136286 * red)
                    pixels[place + 2] <- level (luma + 1.772 * blue)

        { Width = frame.Width; Height = frame.Height; Channels = planes.Length; Pixels = pixels }

    // Tables of quantisers (DQT) or codes (DHT) in a segment, added to those known.
    let rec private quantisersOf bytes from until known =
        if from >= until then
            known
        else
            let kind = at bytes from
            let wide = kind >>> 4 <> 0
            let value i = if wide then word bytes (from + 1 + 2 * i) else at bytes (from + 1 + i)
            let next = from + 1 + (if wide then 128 else 64)
            quantisersOf bytes next until (Map.add (kind &&& 15) (Array.init 64 value) known)

    let rec private codesOf bytes from until known =
        if from >= until then
            known
        else
            let kind = at bytes from
            let counts = Array.init 16 (fun i -> byte (at bytes (from + 1 + i)))
            let total = Array.sumBy int counts
            let values = Array.init total (fun i -> byte (at bytes (from + 17 + i)))
            let codes = JpegBlock.codes counts values
            codesOf bytes (from + 17 + total) until (Map.add (kind >>> 4, kind &&& 15) codes known)

    let private endsAfter (bytes: byte[]) place =
        seq { place .. bytes.Length - 2 }
        |> Seq.exists (fun i -> bytes[i] = 0xFFuy && bytes[i + 1] = 0xD9uy)

    /// Decodes a file. InvalidDataException, with a sentence, where it is damaged or of a kind that is not
    /// read.
    let decode (bytes: byte[]) : Raster =
        let mutable place = 2
        let mutable found = None
        let mutable quantisers, codes = Map.empty, Map.empty
        let mutable restarts = 0
        let mutable isRgb = false
        let mutable picture = None

        while picture.IsNone do
            if at bytes place <> 0xFF then Raster.refuse "something stands between its parts."
            let marker = at bytes (place + 1)

            if marker = 0xFF then
                place <- place + 1
            else
                let start = place + 2
                let until = start + (if marker = 0xD9 then 0 else word bytes start)

                match marker, found with
                | (0xC0 | 0xC1), _ -> found <- Some(frame bytes (start + 2))
                | 0xC2, _ -> Raster.refuse "it is a progressive JPEG, which is not read; save it as baseline."
                | 0xC4, _ -> codes <- codesOf bytes (start + 2) until codes
                | 0xDB, _ -> quantisers <- quantisersOf bytes (start + 2) until quantisers
                | 0xDD, _ -> restarts <- word bytes (start + 2)
                // Adobe's marker says whether the channels are red, green and blue themselves.
                | 0xEE, _ when until - start >= 14 && at bytes (start + 2) = int 'A' ->
                    isRgb <- at bytes (start + 13) = 0
                | 0xDA, Some frame ->
                    let behind = scan bytes start restarts frame quantisers codes
                    if not (endsAfter bytes behind) then Raster.refuse "it was cut short."
                    picture <- Some(paint frame isRgb)
                | (0xDA | 0xD9), _ -> Raster.refuse "it holds no image."
                | other, _ when other >= 0xC3 && other <= 0xCF && other <> 0xC8 && other <> 0xCC ->
                    Raster.refuse "it is a JPEG of a kind that is not read; save it as baseline."
                | _ -> ()

                place <- until

        picture.Value
