using System;
using System.Buffers.Binary;
using System.IO;
using System.Text;

namespace AdvContrast.Engine;

/// <summary>Edits the symbol versions that a shared library of 64-bit Linux requires.</summary>
internal static class ElfFile
{
    // Names and values of the ELF specification and of the LSB's chapter on symbol versions.
    private const uint SectionVersionNeeds = 0x6ffffffe;
    private const ushort FlagWeak = 2;
    private const int SectionHeaderSize = 64, EntrySize = 16;

    // The magic number, 64 bits, little-endian.
    private static ReadOnlySpan<byte> Start => [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1];

    /// <summary>
    /// Marks a required symbol version as weak: the loader then accepts a library that lacks this version.
    /// </summary>
    /// <param name="file">The bytes of a shared library; one of them changes, and none where this fails.</param>
    /// <param name="version">The version's name, such as GLIBCXX_3.4.32.</param>
    /// <exception cref="InvalidDataException">
    /// The file is not a little-endian ELF file of 64 bits, is cut off or damaged, or requires no such version.
    /// </exception>
    internal static void WeakenVersion(Span<byte> file, string version)
    {
        if (!file.StartsWith(Start)) throw new InvalidDataException("it is not an ELF file of 64 bits");
        try
        {
            var flags = FindFlags(file, Encoding.ASCII.GetBytes(version + '\0'));
            if (flags.IsEmpty) throw new InvalidDataException($"it does not require {version}");
            BinaryPrimitives.WriteUInt16LittleEndian(flags, (ushort)(Read16(flags, 0) | FlagWeak));
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException)
        {
            throw new InvalidDataException("it is cut off or damaged", e);
        }
    }

    // The flags (vna_flags) of the version in the first section that requires it; empty where none does.
    private static Span<byte> FindFlags(Span<byte> file, ReadOnlySpan<byte> version)
    {
        var headers = file[Offset64(file, 0x28)..];
        for (var i = 0; i < Read16(file, 0x3c); i++)
        {
            var header = headers.Slice(i * SectionHeaderSize, SectionHeaderSize);
            if (Read32(header, 4) != SectionVersionNeeds) continue;
            var names = headers.Slice(checked(Offset32(header, 0x28) * SectionHeaderSize), SectionHeaderSize);
            var flags = FindFlags(Content(file, header), Content(file, names), version);
            if (!flags.IsEmpty) return flags;
        }
        return [];
    }

    private static Span<byte> Content(Span<byte> file, Span<byte> header) =>
        file.Slice(Offset64(header, 0x18), Offset64(header, 0x20));

    // A chain of needed files (Verneed), each with a chain of needed versions (Vernaux).
    private static Span<byte> FindFlags(Span<byte> files, Span<byte> names, ReadOnlySpan<byte> version)
    {
        for (var file = files; !file.IsEmpty; file = Next(file, 12))
            for (var entry = Next(file, 8); !entry.IsEmpty; entry = Next(entry, 12))
                if (names[Offset32(entry, 8)..].StartsWith(version))
                    return entry.Slice(4, 2);
        return [];
    }

    // The entry that the field points to, relative to the entry before; empty at the end of a chain, where it is 0.
    private static Span<byte> Next(Span<byte> entry, int field) => Offset32(entry, field) switch
    {
        0 => [],
        < EntrySize => throw new InvalidDataException("its entries overlap"),
        var offset => entry.Slice(offset, entry.Length - offset),
    };

    private static ushort Read16(Span<byte> bytes, int at) =>
        BinaryPrimitives.ReadUInt16LittleEndian(bytes.Slice(at, 2));

    private static uint Read32(Span<byte> bytes, int at) =>
        BinaryPrimitives.ReadUInt32LittleEndian(bytes.Slice(at, 4));

    private static int Offset32(Span<byte> bytes, int at) => checked((int)Read32(bytes, at));

    private static int Offset64(Span<byte> bytes, int at) =>
        checked((int)BinaryPrimitives.ReadUInt64LittleEndian(bytes.Slice(at, 8)));
}
