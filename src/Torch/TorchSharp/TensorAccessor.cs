using System;
using System.Collections;
using System.Collections.Generic;
using AdvContrast.Torch.Binding;

namespace TorchSharp.Utils;

/// <summary>The values of a tensor on the CPU, in the order of its indices.</summary>
public sealed unsafe class TensorAccessor<T> : IDisposable, IEnumerable<T> where T : unmanaged
{
    private readonly torch.Tensor tensor;
    private readonly long[] shape;
    private readonly long[] strides;
    private readonly bool contiguous;
    private T* data;

    internal TensorAccessor(torch.Tensor tensor)
    {
        ElementTypes.Check<T>(tensor);
        var info = tensor.Info();
        if (info.DeviceType != (int)DeviceType.CPU)
            throw new InvalidOperationException(
                "Only the values of a tensor on the CPU can be read: use cpu().");
        this.tensor = tensor;
        shape = tensor.shape;
        strides = tensor.stride();
        contiguous = tensor.is_contiguous();
        data = (T*)info.Data;
        Count = info.Count;
    }

    public long Count { get; }

    public bool IsReadOnly => false;

    public T this[params long[] indices]
    {
        get => data[Offset(indices)];
        set => data[Offset(indices)] = value;
    }

    public T[] ToArray()
    {
        var values = new T[Count];
        CopyTo(values.AsSpan());
        return values;
    }

    /// <summary>An array with the tensor's dimensions; of a scalar, one of one element.</summary>
    public Array ToNDArray()
    {
        if (shape.Length == 0) return ToArray();
        var values = Array.CreateInstance(typeof(T), shape);
        var index = new long[shape.Length];
        for (long i = 0; i < Count; i++)
        {
            var rest = i;
            for (var d = shape.Length - 1; d >= 0; d--) (rest, index[d]) = Math.DivRem(rest, shape[d]);
            values.SetValue(data[OffsetOf(i)], index);
        }
        return values;
    }

    public void CopyTo(T[] array, int arrayIndex = 0, long tensorIndex = 0) =>
        CopyTo(array.AsSpan(), arrayIndex, tensorIndex);

    public void CopyTo(Span<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        Open();
        var into = array[arrayIndex..];
        var n = (int)Math.Min(into.Length, Count - tensorIndex);
        if (contiguous) new ReadOnlySpan<T>(data + tensorIndex, n).CopyTo(into);
        else
            for (var i = 0; i < n; i++) into[i] = data[OffsetOf(tensorIndex + i)];
    }

    public void CopyFrom(T[] array, int arrayIndex = 0, long tensorIndex = 0) =>
        CopyFrom((ReadOnlySpan<T>)array, arrayIndex, tensorIndex);

    public void CopyFrom(ReadOnlySpan<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        Open();
        var from = array[arrayIndex..];
        var n = (int)Math.Min(from.Length, Count - tensorIndex);
        if (contiguous) from[..n].CopyTo(new Span<T>(data + tensorIndex, n));
        else
            for (var i = 0; i < n; i++) data[OffsetOf(tensorIndex + i)] = from[i];
    }

    public IEnumerator<T> GetEnumerator()
    {
        for (long i = 0; i < Count; i++) yield return At(i);
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Whether both hold the same values in the same order.</summary>
    public static bool operator ==(TensorAccessor<T> left, TensorAccessor<T> right)
    {
        if (ReferenceEquals(left, right)) return true;
        if (left is null || right is null || left.Count != right.Count) return false;
        for (long i = 0; i < left.Count; i++)
            if (!left.At(i).Equals(right.At(i))) return false;
        return true;
    }

    public static bool operator !=(TensorAccessor<T> left, TensorAccessor<T> right) => !(left == right);

    public override bool Equals(object? obj) => obj is TensorAccessor<T> other && this == other;
    public override int GetHashCode() => System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(this);

    /// <summary>Lets go of the tensor, which is its owner's.</summary>
    public void Dispose() => data = null;

    private T At(long i)
    {
        Open();
        return data[OffsetOf(i)];
    }

    // the memory is the tensor's, and goes with it
    private void Open() =>
        ObjectDisposedException.ThrowIf(Count > 0 && (data == null || tensor.IsInvalid), this);

    private long OffsetOf(long i)
    {
        if (contiguous) return i;
        long offset = 0;
        for (var d = shape.Length - 1; d >= 0; d--)
        {
            (i, var index) = Math.DivRem(i, shape[d]);
            offset += index * strides[d];
        }
        return offset;
    }

    private long Offset(long[] indices)
    {
        Open();
        if (indices.Length == 1 && shape.Length != 1)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)indices[0], (ulong)Count,
                nameof(indices));
            return OffsetOf(indices[0]);
        }
        if (indices.Length != shape.Length)
            throw new ArgumentException(
                $"{indices.Length} indices for {shape.Length} dimensions", nameof(indices));
        long offset = 0;
        for (var d = 0; d < indices.Length; d++)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)indices[d], (ulong)shape[d],
                nameof(indices));
            offset += indices[d] * strides[d];
        }
        return offset;
    }
}
