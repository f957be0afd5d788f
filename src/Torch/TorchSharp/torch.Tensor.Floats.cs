using System;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;

namespace TorchSharp;

// Tensors of floating-point values given by .NET; the values are copied.
public static partial class torch
{
    public static Tensor tensor(
        IList<double> rawArray, long dim0, long dim1, long dim2, long dim3, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<double>)rawArray.ToArray(), [dim0, dim1, dim2, dim3], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<double> rawArray, long dim0, long dim1, long dim2, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<double>)rawArray.ToArray(), [dim0, dim1, dim2], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<double> rawArray, long rows, long columns, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<double>)rawArray.ToArray(), [rows, columns], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<double> rawArray, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<double>)rawArray.ToArray(), [rawArray.Count], dtype, device, requires_grad, names);

    public static Tensor tensor(
        double real, double imaginary, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        FromScalar<Complex>(new Complex(real, imaginary), dtype, device, requires_grad);

    public static Tensor tensor(
        double scalar, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        FromScalar(scalar, dtype, device, requires_grad);

    public static Tensor tensor(
        double[] rawArray, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied((ReadOnlySpan<double>)rawArray, [rawArray.LongLength], dtype, device, requires_grad, names);

    public static Tensor tensor(
        double[] rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<double>)rawArray, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Memory<double> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<double>)rawArray.Span, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Half> rawArray, long dim0, long dim1, long dim2, long dim3, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Half>)rawArray.ToArray(), [dim0, dim1, dim2, dim3], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<Half> rawArray, long dim0, long dim1, long dim2, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Half>)rawArray.ToArray(), [dim0, dim1, dim2], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Half> rawArray, long rows, long columns, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray.ToArray(), [rows, columns], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Half> rawArray, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray.ToArray(), [rawArray.Count], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Half> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray.ToArray(), dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Half[] rawArray, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray, [rawArray.LongLength], dtype, device, requires_grad, names);

    public static Tensor tensor(
        Half[] rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Memory<Half> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Half>)rawArray.Span, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<float> rawArray, long dim0, long dim1, long dim2, long dim3, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<float>)rawArray.ToArray(), [dim0, dim1, dim2, dim3], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<float> rawArray, long dim0, long dim1, long dim2, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<float>)rawArray.ToArray(), [dim0, dim1, dim2], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<float> rawArray, long rows, long columns, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<float>)rawArray.ToArray(), [rows, columns], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<float> rawArray, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<float>)rawArray.ToArray(), [rawArray.Count], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<float> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<float>)rawArray.ToArray(), dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Memory<float> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<float>)rawArray.Span, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        float real, float imaginary, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        FromScalar<(float, float)>((real, imaginary), dtype, device, requires_grad);

    public static Tensor tensor(float scalar, Device? device = null, bool requires_grad = false) =>
        FromScalar(scalar, null, device, requires_grad);

    public static Tensor tensor(
        float[] rawArray, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied((ReadOnlySpan<float>)rawArray, [rawArray.LongLength], dtype, device, requires_grad, names);

    public static Tensor tensor(
        float[] rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<float>)rawArray, dimensions, dtype, device, requires_grad, names);
}
