using System;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;

namespace TorchSharp;

// Tensors of complex values given by .NET; the values are copied.
public static partial class torch
{
    public static Tensor tensor(
        IList<Complex> rawArray, long dim0, long dim1, long dim2, long dim3, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Complex>)rawArray.ToArray(), [dim0, dim1, dim2, dim3], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<Complex> rawArray, long dim0, long dim1, long dim2, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Complex>)rawArray.ToArray(), [dim0, dim1, dim2], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<Complex> rawArray, long rows, long columns, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Complex>)rawArray.ToArray(), [rows, columns], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Complex> rawArray, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<Complex>)rawArray.ToArray(), [rawArray.Count], dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<Complex> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Complex>)rawArray.ToArray(), dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Memory<Complex> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Complex>)rawArray.Span, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        Complex scalar, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        FromScalar(scalar, dtype, device, requires_grad);

    public static Tensor tensor(
        Complex[] rawArray, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied((ReadOnlySpan<Complex>)rawArray, [rawArray.LongLength], dtype, device, requires_grad, names);

    public static Tensor tensor(
        Complex[] rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<Complex>)rawArray, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        IList<(float, float)> rawArray, long dim0, long dim1, long dim2, long dim3,
        ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray.ToArray(), [dim0, dim1, dim2, dim3], dtype, device,
            requires_grad, names);

    public static Tensor tensor(
        IList<(float, float)> rawArray, long dim0, long dim1, long dim2, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray.ToArray(), [dim0, dim1, dim2], dtype, device,
            requires_grad, names);

    public static Tensor tensor(
        IList<(float, float)> rawArray, long rows, long columns, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray.ToArray(), [rows, columns], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<(float, float)> rawArray, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray.ToArray(), [rawArray.Count], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        IList<(float, float)> rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray.ToArray(), dimensions, dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        (float, float) scalar, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        FromScalar(scalar, dtype, device, requires_grad);

    public static Tensor tensor(
        (float, float)[] rawArray, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Copied(
            (ReadOnlySpan<(float, float)>)rawArray, [rawArray.LongLength], dtype, device, requires_grad,
            names);

    public static Tensor tensor(
        (float, float)[] rawArray, ReadOnlySpan<long> dimensions, ScalarType? dtype = null,
        Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Copied((ReadOnlySpan<(float, float)>)rawArray, dimensions, dtype, device, requires_grad, names);

    public static Tensor tensor(
        (double, double) scalar, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        FromScalar(new Complex(scalar.Item1, scalar.Item2), dtype, device, requires_grad);
}
