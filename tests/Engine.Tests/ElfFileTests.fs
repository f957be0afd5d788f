module ElfFileTests

open System
open System.IO
open AdvContrast.Engine
open ElfImage
open Expecto
open AdvContrast.Testing
open FsCheck.FSharp

let private newest = WeakBridge.NewestVersion

/// The outcome of weakening a version in a copy of the bytes; any exception but InvalidDataException fails the test.
let private weaken version (bytes: byte[]) =
    let edited = Array.copy bytes

    try
        ElfFile.WeakenVersion(Span edited, version)
        Ok edited
    with :? InvalidDataException ->
        Expect.equal edited bytes "bytes after a failure"
        Error()

let private changes (before: byte[]) (after: byte[]) =
    Expect.hasLength after before.Length "bytes"
    [
        for i in 0 .. before.Length - 1 do
            if before[i] <> after[i] then i, before[i] ^^^ after[i]
    ]

let private versions = [ newest; "GLIBCXX_3.4.3"; "GLIBCXX_3.4.321"; "GLIBC_2.34"; "CXXABI_1.3"; "3.4.32" ]

let private images = gen {
    let! gap = Gen.elements [ 0; 0; 4; 16 ]
    let! headersFirst = Gen.elements [ true; false ]

    let! needed =
        Gen.nonEmptyListOf (
            gen {
                let! names = Gen.nonEmptyListOf (Gen.elements versions)
                return { File = "libstdc++.so.6"; Versions = List.distinct names }
            }
        )

    return create { Gap = gap; HeadersFirst = headersFirst } (List.truncate 6 needed), List.truncate 6 needed
}

let private property name law = testPropertyN 300 name (Prop.forAll (Arb.fromGen images) law)

let private weakens (image: Image, needed: Needed list) =
    let required = needed |> List.collect _.Versions

    for version in versions do
        match weaken version image.Bytes, List.tryFindIndex ((=) version) required with
        | Ok edited, Some first ->
            Expect.equal (changes image.Bytes edited) [ image.Flags[first], 2uy ] $"changes for {version}"
            Expect.equal (weaken version edited) (Ok edited) "weakened twice"
        | Error(), None -> ()
        | outcome -> failtestf "%s: %A" version outcome

let private isCutOff (image: Image, _) =
    for length in 0 .. image.Bytes.Length - 1 do
        let cut = image.Bytes[.. length - 1]

        match weaken newest cut with
        | Ok edited -> Expect.hasLength (changes cut edited) 1 $"changes in {length} bytes"
        | Error() -> ()

let private survivesDamage (image: Image, _) =
    for i in 0 .. image.Bytes.Length - 1 do
        for damage in [ 0x01uy; 0x80uy; 0xffuy ] do
            let damaged = Array.copy image.Bytes
            damaged[i] <- damaged[i] ^^^ damage

            match weaken newest damaged with
            | Ok edited ->
                Expect.isLessThanOrEqual (changes damaged edited).Length 1 $"changes, damaged at {i}"
            | Error() -> ()

let private two = { File = "libm.so.6"; Versions = [ "GLIBC_2.2.5"; "GLIBC_2.29" ] }
let private plain = { Gap = 0; HeadersFirst = false }

// The offsets of the fields vn_aux, vn_next and vna_next in an image of `two` and another library.
let private chains = [ "vn_aux", 8; "vn_next", 12; "vna_next", 16 + 12 ]

let private ends (offset: int) (field, at) =
    testCase $"a chain whose {field} is {offset} ends" (fun () ->
        let bytes = (create plain [ two; two ]).Bytes
        BitConverter.TryWriteBytes(Span(bytes, 64 + at, 4), offset) |> ignore
        Expect.equal (weaken newest bytes) (Error()) "outcome")

[<Tests>]
let tests =
    testList "ElfFile" [
        property "marks the version in the first library that requires it, and nothing else" weakens
        property "a file that is cut off anywhere is edited or refused" isCutOff
        testPropertyN 20 "a file with a damaged byte is edited or refused"
        <| Prop.forAll (Arb.fromGen images) survivesDamage

        for offset in [ 0; 1; 15; -16; -1; Int32.MinValue; Int32.MaxValue ] do
            yield! List.map (ends offset) chains

        testCase "a file of 32 bits, a big-endian one and a text are refused" (fun () ->
            let bytes = (create plain [ { two with Versions = [ newest ] } ]).Bytes
            Expect.isOk (weaken newest bytes) "the file as it is"

            for at, value in [ 4, 1uy; 5, 2uy; 0, byte '#' ] do
                let other = Array.copy bytes
                other[at] <- value
                Expect.equal (weaken newest other) (Error()) $"byte {at} is {value}")

        testCase "TorchSharp's library for Linux changes by one byte" (fun () ->
            let bytes = File.ReadAllBytes(Natives.Find "LibTorchSharp")

            match weaken newest bytes with
            | Ok edited -> Expect.equal (changes bytes edited |> List.map snd) [ 2uy ] "changes"
            | Error() -> failtest "it is refused")
        |> fun test -> if OperatingSystem.IsLinux() then test else testList "not on this platform" []
    ]
