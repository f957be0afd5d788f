using System;
using System.Runtime.InteropServices;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>The values of an array of any rank, copied, in its own type of element.</summary>
    public static Tensor from_array(Array rawArray, Device? device = null) =>
        from_array(rawArray, null, device);

    public static Tensor from_array(
        Array rawArray, ScalarType? dtype, Device? device = null, bool requires_grad = false,
        string[]? names = null)
    {
        var type = ElementTypes.Of(rawArray.GetType().GetElementType()!);
        var size = new long[rawArray.Rank];
        for (var d = 0; d < size.Length; d++) size[d] = rawArray.GetLongLength(d);
        return Finish(Host(ArrayBytes(rawArray), size, type), dtype, device, requires_grad, names);
    }

    /// <summary>An array's memory read as elements of a type; the values are copied.</summary>
    public static Tensor frombuffer(
        Array rawArray, ScalarType dtype, long count = -1, long offset = 0, bool requires_grad = false)
    {
        var memory = ArrayBytes(rawArray);
        var width = dtype.ElementSize();
        // the offset counts elements of the array, the count elements of the tensor
        var start = offset * (memory.Length / Math.Max(rawArray.LongLength, 1));
        var available = (memory.Length - start) / width;
        if (count < 0) count = available;
        if (start < 0 || count > available)
            throw new ArgumentException($"{count} elements from {offset} on do not lie in the buffer.");
        var chosen = memory.Slice((int)start, (int)(count * width));
        return Host(chosen, [count], dtype).requires_grad_(requires_grad);
    }

    private static Tensor FromScalar<T>(T value, ScalarType? dtype, Device? device, bool requires_grad)
        where T : unmanaged =>
        Copied(new ReadOnlySpan<T>(in value), [], dtype, device, requires_grad, null);

    private static Tensor Copied<T>(
        ReadOnlySpan<T> values, ReadOnlySpan<long> size, ScalarType? dtype, Device? device,
        bool requires_grad, string[]? names) where T : unmanaged
    {
        var count = 1L;
        foreach (var length in size) count *= length;
        if (count != values.Length)
        {
            var shape = string.Join(", ", size.ToArray());
            throw new ArgumentException($"{values.Length} values do not fill a tensor of shape [{shape}].");
        }
        var host = Host(MemoryMarshal.AsBytes(values), size, ElementTypes.Of(typeof(T)));
        return Finish(host, dtype, device, requires_grad, names);
    }

    private static unsafe Tensor Host(ReadOnlySpan<byte> values, ReadOnlySpan<long> size, ScalarType type)
    {
        var host = Ops.empty_memory_format.Call(size, type, Arg.None, CPU);
        values.CopyTo(new Span<byte>(host.Info().Data, values.Length));
        return host;
    }

    private static Tensor Finish(
        Tensor host, ScalarType? dtype, Device? device, bool requires_grad, string[]? names)
    {
        host.Checked(names);
        if ((dtype is null || dtype == host.dtype) && (device is null || device.type == DeviceType.CPU))
            return host.requires_grad_(requires_grad);
        using (host) return host.to(dtype ?? host.dtype, device ?? CPU).requires_grad_(requires_grad);
    }

    private static ReadOnlySpan<byte> ArrayBytes(Array array) => MemoryMarshal.CreateReadOnlySpan(
        ref MemoryMarshal.GetArrayDataReference(array),
        checked((int)(array.LongLength * ElementTypes.Of(array.GetType().GetElementType()!).ElementSize())));

    private static Tensor Make(
        Op op, ReadOnlySpan<long> size, ScalarType? dtype, Device? device, bool requires_grad,
        string[]? names) =>
        op.Call(size, dtype, Arg.None, device).Checked(names).requires_grad_(requires_grad);

    private static Tensor Filled(
        ReadOnlySpan<long> size, Scalar value, ScalarType? dtype, Device? device, bool requires_grad,
        string[]? names) =>
        Ops.full.Call(size, value, dtype ?? get_default_dtype(), Arg.None, device)
            .Checked(names).requires_grad_(requires_grad);

    private static Tensor Draw(
        Op op, ReadOnlySpan<long> size, ScalarType? dtype, Device? device, bool requires_grad,
        Generator? generator, string[]? names) =>
        op.Call(size, generator, dtype, Arg.None, device).Checked(names).requires_grad_(requires_grad);

    private static Tensor Integers(
        long low, long high, long[] size, ScalarType? dtype, Device? device, bool requires_grad,
        Generator? generator, string[]? names) =>
        Ops.randint_low_generator
            .Call(low, high, size, generator, dtype ?? ScalarType.Int64, Arg.None, device)
            .Checked(names).requires_grad_(requires_grad);
}
