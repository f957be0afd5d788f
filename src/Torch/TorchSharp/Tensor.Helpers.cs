using System;
using System.Collections.Generic;
using System.Linq;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

// What several of the wrappers share.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor T => Ops.numpy_T.Call(this);
        public Tensor H => Ops.matrix_H.Call(this);
        public Tensor mT => Ops.mT.Call(this);
        public Tensor mH => Ops.mH.Call(this);

        public Tensor flatten(long start_dim = 0, long end_dim = -1) =>
            Ops.flatten_using_ints.Call(this, start_dim, end_dim);

        public Tensor flatten(IList<string> dims, string out_dim) => throw Named();

        public static (Tensor, Tensor) kthvalue(Tensor input, long k, long? dim, bool keepdim = false) =>
            Ops.kthvalue.Call2(input, k, dim ?? -1, keepdim);

        public (Tensor, Tensor) kthvalue(long k, long? dim, bool keepdim = false) =>
            kthvalue(this, k, dim, keepdim);

        /// <summary>Itself; names for dimensions are TorchSharp's alone.</summary>
        internal Tensor Checked(string[]? names)
        {
            if (names is null) return this;
            Dispose();
            throw Named();
        }

        private static NotSupportedException Named() => new("Named dimensions need TorchSource=nuget.");

        private static string? Rounding(RoundingMode mode) => mode == RoundingMode.floor ? "floor" : "trunc";

        // as in PyTorch: a number over a tensor is the number times the reciprocal
        private static Tensor Quotient(Arg left, Tensor right)
        {
            using var reciprocal = Ops.reciprocal.Call(right);
            return Ops.mul_Scalar.Call(reciprocal, left);
        }

        private Tensor Spread(Op op, long[] dims, bool unbiased, bool keepdim, ScalarType? type)
        {
            if (type is null || type == dtype) return op.Call(this, dims, unbiased, keepdim);
            using var converted = to(type.Value);
            return op.Call(converted, dims, unbiased, keepdim);
        }

        private (Tensor, Tensor) SpreadAndMean(
            Op op, long[] dims, bool unbiased, bool keepdim, ScalarType? type)
        {
            if (type is null || type == dtype) return op.Call2(this, dims, unbiased, keepdim);
            using var converted = to(type.Value);
            return op.Call2(converted, dims, unbiased, keepdim);
        }

        private Tensor Along(IEnumerable<long> indices, long? dim)
        {
            using var chosen = tensor(indices.ToArray(), device: device);
            return Ops.take_along_dim.Call(this, chosen, dim);
        }

        private Tensor After(Tensor result, bool disposeAfter)
        {
            if (disposeAfter) Dispose();
            return result;
        }

        private long[] Unflattened(long dim, long[] sizes)
        {
            var lengths = shape;
            var at = Wrap(dim, lengths.Length);
            return [.. lengths[..at], .. sizes, .. lengths[(at + 1)..]];
        }

        private static long[] Longs((long, long) pair) => [pair.Item1, pair.Item2];
        private static long[] Longs((long, long, long) triple) => [triple.Item1, triple.Item2, triple.Item3];

        public static implicit operator Tensor(byte value) => tensor(value);
        public static implicit operator Tensor(sbyte value) => tensor(value);
        public static implicit operator Tensor(short value) => tensor(value);
        public static implicit operator Tensor(int value) => tensor(value);
        public static implicit operator Tensor(long value) => tensor(value);
        public static implicit operator Tensor(float value) => tensor(value);
        public static implicit operator Tensor(double value) => tensor(value);
        public static implicit operator Tensor(bool value) => tensor(value);
        public static implicit operator Tensor((float, float) value) => tensor(value);
        public static implicit operator Tensor(System.Numerics.Complex value) => tensor(value);
        public static implicit operator Tensor(byte[] value) => tensor(value);
        public static implicit operator Tensor(sbyte[] value) => tensor(value);
        public static implicit operator Tensor(short[] value) => tensor(value);
        public static implicit operator Tensor(int[] value) => tensor(value);
        public static implicit operator Tensor(long[] value) => tensor(value, dtype: null);
        public static implicit operator Tensor(float[] value) => tensor(value);
        public static implicit operator Tensor(double[] value) => tensor(value);
        public static implicit operator Tensor(bool[] value) => tensor(value);
        public static implicit operator Tensor((float, float)[] value) => tensor(value);
        public static implicit operator Tensor(System.Numerics.Complex[] value) => tensor(value);

        public static implicit operator Tensor(Scalar scalar) =>
            Ops.full.Call(Array.Empty<long>(), scalar, scalar.Type);
    }
}
