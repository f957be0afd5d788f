/// Damaged copies of sound files, for tests of readers.
module AdvContrast.Mutation

open System

// Values at which lengths and counts overflow, change sign or become huge.
let private extremes = [|
    0UL
    1UL
    0x7FUL
    0x80UL
    0xFFFFUL
    0x7FFFFFFFUL
    0x80000000UL
    0xFFFFFFFFUL
    UInt64.MaxValue
|]

let private flip (random: Random) (bytes: byte[]) =
    let copy = Array.copy bytes

    for _ in 0 .. random.Next 4 do
        let at = random.Next copy.Length
        copy[at] <- copy[at] ^^^ (1uy <<< random.Next 8)

    copy

let private cut (random: Random) (bytes: byte[]) = Array.truncate (random.Next bytes.Length) bytes

// A block of the file: its start and its length, 1 to 64 bytes.
let private block (random: Random) (bytes: byte[]) =
    let length = 1 + random.Next(min 64 bytes.Length)
    random.Next(bytes.Length - length + 1), length

let private remove (random: Random) (bytes: byte[]) =
    let start, length = block random bytes
    Array.append bytes[.. start - 1] bytes[start + length ..]

let private duplicate (random: Random) (bytes: byte[]) =
    let start, length = block random bytes
    Array.concat [ bytes[.. start + length - 1]; bytes[start..] ]

let private insert (random: Random) (bytes: byte[]) =
    let noise = Array.zeroCreate<byte>(1 + random.Next 64)
    random.NextBytes noise
    let at = random.Next(bytes.Length + 1)
    Array.concat [ bytes[.. at - 1]; noise; bytes[at..] ]

// Overwrites 1, 2, 4 or 8 bytes with an extreme number in either byte order. Headers hold the sizes, so half of
// the changes are among the first 64 bytes.
let private resize (random: Random) (bytes: byte[]) =
    let copy = Array.copy bytes
    let width = min copy.Length (1 <<< random.Next 4)
    let limit = if random.Next 2 = 0 then min 64 copy.Length else copy.Length
    let at = random.Next(max 1 (limit - width + 1))
    let number = BitConverter.GetBytes extremes[random.Next extremes.Length] |> Array.truncate width
    Array.blit (if random.Next 2 = 0 then number else Array.rev number) 0 copy at width
    copy

// Replaces a decimal digit, as in the headers of text.
let private redigit (random: Random) (bytes: byte[]) =
    let copy = Array.copy bytes
    let digits = [|
        for i in 0 .. min 4095 (copy.Length - 1) do
            if Char.IsAsciiDigit(char copy[i]) then i
    |]
    if digits.Length > 0 then copy[digits[random.Next digits.Length]] <- byte (int '0' + random.Next 10)
    copy

let private changes = [| flip; cut; remove; duplicate; insert; resize; redigit |]

/// A damaged copy of a file: one to three random changes (bits flipped, the end cut off, blocks removed,
/// duplicated or inserted, numbers replaced by extreme ones, digits replaced). The same seed gives the same
/// copy; it may equal the original.
let mutate (seed: int) (bytes: byte[]) : byte[] =
    let random = Random seed

    (bytes, [ 0 .. random.Next 3 ])
    ||> List.fold (fun bytes _ ->
        if bytes.Length = 0 then bytes else changes[random.Next changes.Length] random bytes)
