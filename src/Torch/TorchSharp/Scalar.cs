using System;
using System.Numerics;
using AdvContrast.Torch.Binding;
using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>A number that an operator takes beside tensors.</summary>
public sealed class Scalar : IDisposable
{
    private readonly long whole;
    private readonly Complex number;

    private Scalar(ScalarType type, long whole)
    {
        Type = type;
        this.whole = whole;
        number = whole;
    }

    private Scalar(ScalarType type, Complex number)
    {
        Type = type;
        this.number = number;
        // out of range it has no meaning as an integer, and nothing asks for one
        whole = double.IsFinite(number.Real) ? (long)number.Real : 0;
    }

    public ScalarType Type { get; }

    internal bool IsWhole => Type is <= ScalarType.Int64 or ScalarType.Bool;
    internal bool IsComplex => Type is ScalarType.ComplexFloat32 or ScalarType.ComplexFloat64;
    internal long Whole => whole;
    internal Complex Number => number;

    internal static Scalar BFloat16(float value) => new(ScalarType.BFloat16, new Complex(value, 0));

    public static implicit operator Scalar(byte value) => new(ScalarType.Byte, value);
    public static implicit operator Scalar(sbyte value) => new(ScalarType.Int8, value);
    public static implicit operator Scalar(short value) => new(ScalarType.Int16, value);
    public static implicit operator Scalar(int value) => new(ScalarType.Int32, value);
    public static implicit operator Scalar(long value) => new(ScalarType.Int64, value);
    public static implicit operator Scalar(Half value) =>
        new(ScalarType.Float16, new Complex((double)value, 0));
    public static implicit operator Scalar(float value) => new(ScalarType.Float32, new Complex(value, 0));
    public static implicit operator Scalar(double value) => new(ScalarType.Float64, new Complex(value, 0));
    public static implicit operator Scalar(bool value) => new(ScalarType.Bool, value ? 1L : 0L);

    public static implicit operator Scalar((float, float) value) =>
        new(ScalarType.ComplexFloat32, new Complex(value.Item1, value.Item2));

    public static implicit operator Scalar(Complex value) => new(ScalarType.ComplexFloat64, value);

    /// <summary>Nothing to free: the value lives in .NET.</summary>
    public void Dispose() { }

    internal Arg ToArg()
    {
        if (Type == ScalarType.Bool) return whole != 0;
        if (IsWhole) return whole;
        if (IsComplex) return number;
        return number.Real;
    }
}

/// <summary>Numbers to scalars and back.</summary>
public static class ScalarExtensionMethods
{
    public static Scalar ToScalar(this byte value) => value;
    public static Scalar ToScalar(this sbyte value) => value;
    public static Scalar ToScalar(this short value) => value;
    public static Scalar ToScalar(this int value) => value;
    public static Scalar ToScalar(this long value) => value;
    public static Scalar ToScalar(this float value) => value;
    public static Scalar ToScalar(this double value) => value;
    public static Scalar ToScalar(this (float, float) value) => value;
    public static Scalar ToScalar(this Complex value) => value;
    public static Scalar ToScalar(this bool value) => value;
    public static Scalar ToScalar(this Half value) => value;
    public static Scalar ToBFloat16Scalar(this float value) => Scalar.BFloat16(value);

    public static Half ToHalf(this Scalar value) => (Half)value.Number.Real;
    public static float ToSingle(this Scalar value) => (float)value.Number.Real;
    public static double ToDouble(this Scalar value) => value.Number.Real;
    public static sbyte ToSByte(this Scalar value) => (sbyte)value.Whole;
    public static byte ToByte(this Scalar value) => (byte)value.Whole;
    public static short ToInt16(this Scalar value) => (short)value.Whole;
    public static int ToInt32(this Scalar value) => (int)value.Whole;
    public static long ToInt64(this Scalar value) => value.Whole;
    public static bool ToBoolean(this Scalar value) => value.Number != Complex.Zero;

    public static (float Real, float Imaginary) ToComplexFloat32(this Scalar value) =>
        ((float)value.Number.Real, (float)value.Number.Imaginary);

    public static Complex ToComplexFloat64(this Scalar value) => value.Number;
}
