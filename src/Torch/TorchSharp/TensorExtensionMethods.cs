using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Numerics;
using AdvContrast.Torch.Binding;
using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>Numbers out of one-element tensors, and printing.</summary>
public static class TensorExtensionMethods
{
    public static Half ToHalf(this Tensor value) => Number(value).ToHalf();
    public static float ToSingle(this Tensor value) => Number(value).ToSingle();
    public static double ToDouble(this Tensor value) => Number(value).ToDouble();
    public static sbyte ToSByte(this Tensor value) => Number(value).ToSByte();
    public static byte ToByte(this Tensor value) => Number(value).ToByte();
    public static short ToInt16(this Tensor value) => Number(value).ToInt16();
    public static int ToInt32(this Tensor value) => Number(value).ToInt32();
    public static long ToInt64(this Tensor value) => Number(value).ToInt64();
    public static bool ToBoolean(this Tensor value) => Number(value).ToBoolean();

    public static (float Real, float Imaginary) ToComplexFloat32(this Tensor value) =>
        Number(value).ToComplexFloat32();

    public static Complex ToComplexFloat64(this Tensor value) => Number(value).ToComplexFloat64();

    /// <summary>The product of the lengths.</summary>
    public static long TotalSize(this IEnumerable<long> shape) =>
        shape.Aggregate(1L, (all, length) => all * length);

    /// <summary>Bytes an element takes.</summary>
    public static int ElementSize(this ScalarType type) => type switch
    {
        ScalarType.Byte or ScalarType.Int8 or ScalarType.Bool => 1,
        ScalarType.Int16 or ScalarType.Float16 or ScalarType.BFloat16 => 2,
        ScalarType.Int32 or ScalarType.Float32 => 4,
        ScalarType.Int64 or ScalarType.Float64 or ScalarType.ComplexFloat32 => 8,
        ScalarType.ComplexFloat64 => 16,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a type of element"),
    };

    public static string metastr(this Tensor tensor) =>
        TensorPrinter.Print(tensor, TensorStringStyle.Metadata);

    public static string str(
        this Tensor tensor, string? fltFormat = null, int? width = null, string? newLine = null,
        CultureInfo? cultureInfo = null, TensorStringStyle style = TensorStringStyle.Default) =>
        TensorPrinter.Print(tensor, style, fltFormat, cultureInfo, newLine);

    public static string npstr(
        this Tensor tensor, string? fltFormat = "g5", int? width = 100, string? newLine = null,
        CultureInfo? cultureInfo = null) =>
        TensorPrinter.Print(tensor, TensorStringStyle.Numpy, fltFormat, cultureInfo, newLine);

    private static Scalar Number(Tensor value) => value.ToScalar();
}
