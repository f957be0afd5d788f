using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>
    /// One place in an index: a number, a slice, a mask or a tensor of indices, a new dimension, or "...".
    /// </summary>
    public struct TensorIndex
    {
        internal enum Form { None, Number, Slice, Truth, Tensor, Ellipsis }

        internal Form Kind;
        internal long? Start;
        internal long? Stop;
        internal long? Step;
        internal torch.Tensor? Indices;

        public static TensorIndex Ellipsis = new() { Kind = Form.Ellipsis };

        /// <summary>A new dimension of length one.</summary>
        public static TensorIndex None = new() { Kind = Form.None };

        /// <summary>A new dimension of length one.</summary>
        public static TensorIndex Null = new() { Kind = Form.None };

        /// <summary>The whole dimension.</summary>
        public static TensorIndex Colon = new() { Kind = Form.Slice };

        public static TensorIndex Slice(long? start = null, long? stop = null, long? step = null) =>
            new() { Kind = Form.Slice, Start = start, Stop = stop, Step = step };

        public static TensorIndex Slice((int? start, int? end) range) => Slice(range.start, range.end);

        public static TensorIndex Slice(Range range) =>
            Slice(From(range.Start), range.End.IsFromEnd && range.End.Value == 0 ? null : From(range.End));

        public static TensorIndex Bool(bool value) => new() { Kind = Form.Truth, Start = value ? 1 : 0 };

        public static TensorIndex Single(long? index) =>
            index is null ? None : new TensorIndex { Kind = Form.Number, Start = index };

        public static TensorIndex Tensor(torch.Tensor tensor) =>
            new() { Kind = Form.Tensor, Indices = tensor };

        public static implicit operator TensorIndex(long value) => Single(value);

        /// <summary>The tensor that the index holds, or its number as a tensor.</summary>
        public static implicit operator torch.Tensor(TensorIndex value) => value.Kind switch
        {
            Form.Tensor => value.Indices!,
            Form.Number => tensor(value.Start!.Value),
            _ => throw new InvalidOperationException($"An index of kind {value.Kind} is not a tensor."),
        };

        public static implicit operator TensorIndex((int? start, int? end) range) => Slice(range);
        public static implicit operator TensorIndex(Range range) => Slice(range);
        public static implicit operator TensorIndex(Index index) => Single(From(index));

        private static long From(Index index) => index.IsFromEnd ? -index.Value : index.Value;
    }

    public partial class Tensor
    {
        [IndexerName("TensorItems")]
        public Tensor this[params TensorIndex[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        [IndexerName("TensorItems")]
        public Tensor this[params Tensor[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1]
        {
            get => At([i1]);
            set => Put(value, [i1]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2]
        {
            get => At([i1, i2]);
            set => Put(value, [i1, i2]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3]
        {
            get => At([i1, i2, i3]);
            set => Put(value, [i1, i2, i3]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4]
        {
            get => At([i1, i2, i3, i4]);
            set => Put(value, [i1, i2, i3, i4]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4, long i5]
        {
            get => At([i1, i2, i3, i4, i5]);
            set => Put(value, [i1, i2, i3, i4, i5]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4, long i5, long i6]
        {
            get => At([i1, i2, i3, i4, i5, i6]);
            set => Put(value, [i1, i2, i3, i4, i5, i6]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[params long[] indices]
        {
            get => At(indices);
            set => Put(value, indices);
        }

        /// <summary>What the indices pick out: a view, or a copy where a tensor is among them.</summary>
        public Tensor index(params TensorIndex[] indices)
        {
            var (view, tensors) = Narrow(indices);
            if (tensors is null) return view;
            using (view) return Ops.index_Tensor.Call(view, tensors);
        }

        public Tensor index(params Tensor[] indices) => Ops.index_Tensor.Call(this, indices);

        public Tensor index_put_(Tensor value, TensorIndex[] indices, bool accumulate = false)
        {
            var (view, tensors) = Narrow(indices);
            using (view)
            {
                if (tensors is not null) Ops.index_put_.InPlace(view, tensors, value, accumulate);
                else if (accumulate) view.add_(value);
                else view.copy_(value);
            }
            return this;
        }

        public Tensor index_put_(Tensor value, Tensor[] indices, bool accumulate = false) =>
            Ops.index_put_.InPlace(this, indices, value, accumulate);

        public Tensor index_put_(Tensor value, params TensorIndex[] indices) =>
            index_put_(value, indices, false);

        public Tensor index_put_(Tensor value, params Tensor[] indices) => index_put_(value, indices, false);

        public Tensor index_put_(Scalar value, params TensorIndex[] indices)
        {
            using var number = Number(value);
            return index_put_(number, indices, false);
        }

        public Tensor index_put_(Scalar value, params Tensor[] indices)
        {
            using var number = Number(value);
            return index_put_(number, indices, false);
        }

        private Tensor Number(Scalar value) =>
            Ops.full.Call(Array.Empty<long>(), value, dtype, Arg.Default, device);

        private Tensor At(ReadOnlySpan<long> indices)
        {
            var found = select(0, indices[0]);
            foreach (var i in indices[1..])
            {
                var outer = found;
                using (outer) found = outer.select(0, i);
            }
            return found;
        }

        private void Put(Tensor value, ReadOnlySpan<long> indices)
        {
            using var place = At(indices);
            place.copy_(value);
        }

        /// <summary>
        /// Takes the numbers, slices and new dimensions as views. Tensors remain, each at the dimension of
        /// the view to which it belongs; null where there are none. </summary>
        private (Tensor View, Tensor?[]? Tensors) Narrow(TensorIndex[] indices)
        {
            var taken = 0L;
            foreach (var one in indices)
                taken += one.Kind switch
                {
                    TensorIndex.Form.Number or TensorIndex.Form.Slice => 1,
                    TensorIndex.Form.Tensor => Width(one.Indices!),
                    _ => 0,
                };
            var skipped = ndim - taken;
            if (skipped < 0)
                throw new ArgumentException($"{taken} dimensions are indexed of a tensor that has {ndim}");
            var view = alias();
            var tensors = new List<Tensor?>();
            var at = 0L;
            var covered = 0L;
            foreach (var one in indices)
            {
                switch (one.Kind)
                {
                    case TensorIndex.Form.Number:
                        Replace(ref view, view.select(at, one.Start!.Value));
                        break;
                    case TensorIndex.Form.Slice:
                        var part = Ops.slice_Tensor.Call(view, at++, one.Start, one.Stop, one.Step ?? 1);
                        Replace(ref view, part);
                        break;
                    case TensorIndex.Form.None:
                        Replace(ref view, view.unsqueeze(at++));
                        break;
                    case TensorIndex.Form.Ellipsis:
                        at += skipped;
                        skipped = 0;
                        break;
                    case TensorIndex.Form.Truth:
                        // as in Python, a truth value is a new dimension of length one or nought
                        Replace(ref view, view.unsqueeze(at));
                        Replace(ref view, view.narrow(at++, 0, one.Start!.Value));
                        break;
                    default:
                        for (; covered < at; covered++) tensors.Add(null);
                        tensors.Add(one.Indices);
                        at += Width(one.Indices!);
                        covered = at;
                        break;
                }
            }
            return (view, tensors.Count == 0 ? null : tensors.ToArray());
        }

        // a mask stands for as many dimensions as it has
        private static long Width(Tensor index) =>
            index.dtype is ScalarType.Bool or ScalarType.Byte ? index.ndim : 1;

        private static void Replace(ref Tensor old, Tensor by)
        {
            old.Dispose();
            old = by;
        }
    }
}
