using System;
using System.Numerics;
using static TorchSharp.torch;

namespace AdvContrast.Torch.Binding;

/// <summary>Which .NET type holds an element of which tensor.</summary>
internal static class ElementTypes
{
    internal static ScalarType Of(Type type)
    {
        if (type == typeof(float)) return ScalarType.Float32;
        if (type == typeof(double)) return ScalarType.Float64;
        if (type == typeof(long)) return ScalarType.Int64;
        if (type == typeof(int)) return ScalarType.Int32;
        if (type == typeof(short)) return ScalarType.Int16;
        if (type == typeof(sbyte)) return ScalarType.Int8;
        if (type == typeof(byte)) return ScalarType.Byte;
        if (type == typeof(bool)) return ScalarType.Bool;
        if (type == typeof(Half)) return ScalarType.Float16;
        if (type == typeof((float, float))) return ScalarType.ComplexFloat32;
        if (type == typeof(Complex)) return ScalarType.ComplexFloat64;
        throw new ArgumentException($"A tensor has no elements of type {type.Name}.");
    }

    /// <summary>Refuses a type that is not the tensor's own.</summary>
    internal static void Check<T>(Tensor tensor) where T : unmanaged
    {
        if (Of(typeof(T)) != tensor.dtype)
            throw new ArgumentException(
                $"{tensor.Describe()} does not hold elements of type {typeof(T).Name}.");
    }
}
