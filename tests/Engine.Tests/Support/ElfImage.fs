/// Made-up shared libraries: the parts of an ELF file that say which symbol versions it requires.
module ElfImage

open System
open System.IO
open System.Text

/// A needed library and the versions that are required of it.
type Needed = { File: string; Versions: string list }

/// How an image is laid out.
type Layout = {
    /// Bytes between one entry of a chain and the next.
    Gap: int
    /// Whether the section headers come before the sections.
    HeadersFirst: bool
}

/// An image, and where the flags of each required version are in it, in the order of `needed`.
type Image = { Bytes: byte[]; Flags: int list }

let private headerSize, private sectionSize, private entrySize = 64, 64, 16

/// A little-endian image of 64 bits with a null section, one of required versions and one of names.
let create (layout: Layout) (needed: Needed list) : Image =
    let names = StringBuilder "\000"

    let nameAt (name: string) =
        let at = names.Length
        names.Append(name).Append '\000' |> ignore
        at

    let step = entrySize + layout.Gap
    use chain = new MemoryStream()
    use writer = new BinaryWriter(chain)

    let flags = [
        for i, file in List.indexed needed do
            let isLast = i = needed.Length - 1
            let size = step * (1 + file.Versions.Length)
            writer.Write 1us
            writer.Write(uint16 file.Versions.Length)
            writer.Write(nameAt file.File)
            writer.Write step
            writer.Write(if isLast then 0 else size)
            writer.Write(Array.zeroCreate<byte> layout.Gap)

            for j, version in List.indexed file.Versions do
                writer.Write 0
                int chain.Position
                writer.Write 0us
                writer.Write 2us
                writer.Write(nameAt version)
                writer.Write(if j = file.Versions.Length - 1 then 0 else step)
                writer.Write(Array.zeroCreate<byte> layout.Gap)
    ]

    let chain, names = chain.ToArray(), Encoding.ASCII.GetBytes(string names)
    let headers = 3 * sectionSize
    let needsAt = if layout.HeadersFirst then headerSize + headers else headerSize
    let namesAt = needsAt + chain.Length
    let headersAt = if layout.HeadersFirst then headerSize else namesAt + names.Length

    let section (kind: uint32) (at: int) (size: int) (link: int) =
        let header = Array.zeroCreate<byte> sectionSize
        BitConverter.TryWriteBytes(Span(header, 4, 4), kind) |> ignore
        BitConverter.TryWriteBytes(Span(header, 0x18, 8), int64 at) |> ignore
        BitConverter.TryWriteBytes(Span(header, 0x20, 8), int64 size) |> ignore
        BitConverter.TryWriteBytes(Span(header, 0x28, 4), link) |> ignore
        header

    let start = Array.zeroCreate<byte> headerSize
    [| 0x7fuy; byte 'E'; byte 'L'; byte 'F'; 2uy; 1uy; 1uy |].CopyTo(start, 0)
    BitConverter.TryWriteBytes(Span(start, 0x28, 8), int64 headersAt) |> ignore
    BitConverter.TryWriteBytes(Span(start, 0x3c, 2), 3us) |> ignore

    let sections =
        Array.concat [
            section 0u 0 0 0
            section 0x6ffffffeu needsAt chain.Length 2
            section 3u namesAt names.Length 0
        ]

    let parts =
        if layout.HeadersFirst then [ start; sections; chain; names ] else [ start; chain; names; sections ]

    { Bytes = Array.concat parts; Flags = flags |> List.map ((+) needsAt) }
