using System;
using System.Numerics;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace AdvContrast.Torch.Binding;

/// <summary>What a value is; the numbers are those of bridge.h.</summary>
internal enum Tag
{
    None = 0,
    Int = 1,
    Double = 2,
    Bool = 3,
    Tensor = 4,
    Ints = 5,
    Doubles = 6,
    Tensors = 7,
    String = 8,
    Device = 9,
    Generator = 10,
    Complex = 11,
    Default = 12,
}

/// <summary>A value as it crosses to the bridge: sixteen bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal unsafe struct NativeValue
{
    [FieldOffset(0)] public long Int;
    [FieldOffset(0)] public double Double;
    [FieldOffset(0)] public void* Pointer;
    [FieldOffset(8)] public Tag Tag;
    [FieldOffset(12)] public int Count;
}

/// <summary>
/// An operator's argument. What it refers to (a tensor, a list) lives as long as the argument does: until the
/// native call has returned.
/// </summary>
internal readonly struct Arg
{
    internal readonly object? Reference;
    internal readonly long Bits;
    internal readonly Tag Tag;
    internal readonly int Count;

    private Arg(Tag tag, long bits = 0, object? reference = null, int count = 0)
    {
        Tag = tag;
        Bits = bits;
        Reference = reference;
        Count = count;
    }

    /// <summary>The schema's own default.</summary>
    internal static Arg Default => new(Tag.Default);

    /// <summary>No value where the schema allows none.</summary>
    internal static Arg None => default;

    /// <summary>What is given, or else the schema's default.</summary>
    internal static Arg Or(long[]? values) => values is null ? Default : values;

    /// <summary>How many eight-byte cells its list takes.</summary>
    internal int Cells => Tag switch
    {
        Tag.Ints or Tag.Doubles or Tag.Tensors => Count,
        Tag.Complex => 2,
        Tag.String => ((string)Reference!).Length / 2 + 1,
        _ => 0,
    };

    public static implicit operator Arg(Tensor? value) =>
        new(value is null ? Tag.None : Tag.Tensor, 0, value);

    public static implicit operator Arg(Tensor?[]? value) =>
        value is null ? default : new(Tag.Tensors, 0, value, value.Length);

    public static implicit operator Arg(bool value) => new(Tag.Bool, value ? 1 : 0);
    public static implicit operator Arg(bool? value) => value is { } v ? v : default(Arg);
    public static implicit operator Arg(int value) => new(Tag.Int, value);
    public static implicit operator Arg(long value) => new(Tag.Int, value);
    public static implicit operator Arg(long? value) => value is { } v ? v : default(Arg);
    public static implicit operator Arg(float value) => (double)value;
    public static implicit operator Arg(double value) =>
        new(Tag.Double, BitConverter.DoubleToInt64Bits(value));
    public static implicit operator Arg(double? value) => value is { } v ? v : default(Arg);

    public static implicit operator Arg(long[]? value) =>
        value is null ? default : new(Tag.Ints, 0, value, value.Length);

    public static implicit operator Arg(ReadOnlySpan<long> value) => value.ToArray();
    public static implicit operator Arg(Size value) => value.Shape;

    public static implicit operator Arg(double[]? value) =>
        value is null ? default : new(Tag.Doubles, 0, value, value.Length);

    public static implicit operator Arg(string? value) => value is null ? default : new(Tag.String, 0, value);
    public static implicit operator Arg(ScalarType value) => new(Tag.Int, (long)value);
    public static implicit operator Arg(ScalarType? value) => value is { } v ? v : default(Arg);

    public static implicit operator Arg(Device? value) =>
        value is null ? default : new(Tag.Device, (long)value.type, null, value.index);

    public static implicit operator Arg(Generator? value) =>
        value is null ? default : new(Tag.Generator, 0, value);

    public static implicit operator Arg(Complex value) => new(Tag.Complex, 0, value);

    public static implicit operator Arg(Scalar? value) => value is null ? default : value.ToArg();
}
