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
    private const int SectionHeaderSize = 64;

    // The magic number, 64 bits, little-endian.
    private static ReadOnlySpan<byte> Start => [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1];

    /// <summary>
    /// Marks a required symbol version as weak: the loader then accepts a library that lacks this version.
    /// </summary>
    /// <param name="file">The bytes of a shared library; they are changed in place.</param>
    /// <param name="version">The version's name, such as GLIBCXX_3.4.32.</param>
    /// <exception cref="InvalidDataException">
    /// The file is not a little-endian ELF file of 64 bits, is cut off, or requires no such version.
    /// </exception>
    internal static void WeakenVersion(Span<byte> file, string version)
    {
        try
        {
            if (!file.StartsWith(Start)) throw Unexpected("it is not an ELF file of 64 bits");
            var sections = (int)Read64(file, 0x28);
            var count = Read16(file, 0x3c);
            for (var i = 0; i < count; i++)
            {
                var header = file.Slice(checked(sections + i * SectionHeaderSize), SectionHeaderSize);
                if (Read32(header, 4) != SectionVersionNeeds) continue;
                var names = file.Slice(
                    checked(sections + (int)Read32(header, 0x28) * SectionHeaderSize), SectionHeaderSize);
                if (WeakenIn(Content(file, header), Content(file, names), version)) return;
            }
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException)
        {
            throw Unexpected("it is cut off or damaged");
        }
        throw Unexpected($"it does not require {version}");
    }

    private static InvalidDataException Unexpected(string problem) => new(problem);

    private static Span<byte> Content(Span<byte> file, Span<byte> header) =>
        file.Slice(checked((int)Read64(header, 0x18)), checked((int)Read64(header, 0x20)));

    // A chain of needed files, each with a chain of needed versions; offsets are relative to the entry before.
    private static bool WeakenIn(Span<byte> needs, Span<byte> names, string version)
    {
        for (var file = needs; ; file = file[Next(file, 12)..])
        {
            for (var entry = file[Next(file, 8)..]; ; entry = entry[Next(entry, 12)..])
            {
                if (Name(names, Read32(entry, 8)) == version)
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(
                        entry.Slice(4, 2), (ushort)(Read16(entry, 4) | FlagWeak));
                    return true;
                }
                if (Next(entry, 12) == 0) break;
            }
            if (Next(file, 12) == 0) return false;
        }
    }

    private static int Next(Span<byte> entry, int at) => checked((int)Read32(entry, at));

    private static string Name(Span<byte> names, uint at)
    {
        var name = names[checked((int)at)..];
        var end = name.IndexOf((byte)0);
        return end < 0 ? throw Unexpected("it is cut off or damaged") : Encoding.ASCII.GetString(name[..end]);
    }

    private static ushort Read16(Span<byte> bytes, int at) =>
        BinaryPrimitives.ReadUInt16LittleEndian(bytes.Slice(at, 2));

    private static uint Read32(Span<byte> bytes, int at) =>
        BinaryPrimitives.ReadUInt32LittleEndian(bytes.Slice(at, 4));

    private static long Read64(Span<byte> bytes, int at) =>
        checked((long)BinaryPrimitives.ReadUInt64LittleEndian(bytes.Slice(at, 8)));
}
