using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

// What becomes of a tensor over some or all of its dimensions.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor sum(long dim, bool keepdim = false, ScalarType? type = null) =>
            Ops.sum_dim_IntList.Call(this, dim, keepdim, type);

        public Tensor sum(long dim0, long dim1, bool keepdim = false, ScalarType? type = null) =>
            Ops.sum_dim_IntList.Call(this, new[] { dim0, dim1 }, keepdim, type);

        public Tensor sum(long dim0, long dim1, long dim2, bool keepdim = false, ScalarType? type = null) =>
            Ops.sum_dim_IntList.Call(this, new[] { dim0, dim1, dim2 }, keepdim, type);

        public Tensor sum(long[] dim, bool keepdim = false, ScalarType? type = null) =>
            Ops.sum_dim_IntList.Call(this, dim, keepdim, type);

        public Tensor sum(ScalarType? type = null) => Ops.sum.Call(this, type);

        public Tensor sum(ReadOnlySpan<long> dim, bool keepdim = false, ScalarType? type = null) =>
            Ops.sum_dim_IntList.Call(this, dim, keepdim, type);

        public Tensor mean() => Ops.mean.Call(this);

        public Tensor mean(long[] dimensions, bool keepdim = false, ScalarType? type = null) =>
            Ops.mean_dim.Call(this, dimensions, keepdim, type);

        public Tensor nansum() => Ops.nansum.Call(this);

        public Tensor prod(long dim, bool keepdim = false, ScalarType? type = null) =>
            Ops.prod_dim_int.Call(this, dim, keepdim, type);

        public Tensor prod(ScalarType? type = null) => Ops.prod.Call(this, type);

        public Tensor std(bool unbiased = true) => Ops.std.Call(this, unbiased);

        public Tensor std(long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.std_dim, [dim], unbiased, keepdim, type);

        public Tensor std(
            long[] dimensions, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.std_dim, dimensions, unbiased, keepdim, type);

        public Tensor std(
            ReadOnlySpan<long> dimensions, bool unbiased = true, bool keepdim = false,
            ScalarType? type = null) =>
            Spread(Ops.std_dim, dimensions.ToArray(), unbiased, keepdim, type);

        public Tensor std(
            (long, long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.std_dim, [dim.Item1, dim.Item2, dim.Item3], unbiased, keepdim, type);

        public Tensor std(
            (long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.std_dim, [dim.Item1, dim.Item2], unbiased, keepdim, type);

        public Tensor var(bool unbiased = true) => Ops.var.Call(this, unbiased);

        public Tensor var(long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.var_dim, [dim], unbiased, keepdim, type);

        public Tensor var(
            long[] dimensions, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.var_dim, dimensions, unbiased, keepdim, type);

        public Tensor var(
            ReadOnlySpan<long> dimensions, bool unbiased = true, bool keepdim = false,
            ScalarType? type = null) =>
            Spread(Ops.var_dim, dimensions.ToArray(), unbiased, keepdim, type);

        public Tensor var(
            (long, long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.var_dim, [dim.Item1, dim.Item2, dim.Item3], unbiased, keepdim, type);

        public Tensor var(
            (long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Spread(Ops.var_dim, [dim.Item1, dim.Item2], unbiased, keepdim, type);

        public (Tensor, Tensor) std_mean(bool unbiased = true) => Ops.std_mean.Call2(this, unbiased);

        public (Tensor, Tensor) std_mean(
            long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.std_mean_dim, [dim], unbiased, keepdim, type);

        public (Tensor, Tensor) std_mean(
            long[] dimensions, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.std_mean_dim, dimensions, unbiased, keepdim, type);

        public (Tensor, Tensor) std_mean(
            ReadOnlySpan<long> dimensions, bool unbiased = true, bool keepdim = false,
            ScalarType? type = null) =>
            SpreadAndMean(Ops.std_mean_dim, dimensions.ToArray(), unbiased, keepdim, type);

        public (Tensor, Tensor) std_mean(
            (long, long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.std_mean_dim, [dim.Item1, dim.Item2, dim.Item3], unbiased, keepdim, type);

        public (Tensor, Tensor) std_mean(
            (long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.std_mean_dim, [dim.Item1, dim.Item2], unbiased, keepdim, type);

        public (Tensor, Tensor) var_mean(bool unbiased = true) => Ops.var_mean.Call2(this, unbiased);

        public (Tensor, Tensor) var_mean(
            long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.var_mean_dim, [dim], unbiased, keepdim, type);

        public (Tensor, Tensor) var_mean(
            long[] dimensions, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.var_mean_dim, dimensions, unbiased, keepdim, type);

        public (Tensor, Tensor) var_mean(
            ReadOnlySpan<long> dimensions, bool unbiased = true, bool keepdim = false,
            ScalarType? type = null) =>
            SpreadAndMean(Ops.var_mean_dim, dimensions.ToArray(), unbiased, keepdim, type);

        public (Tensor, Tensor) var_mean(
            (long, long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.var_mean_dim, [dim.Item1, dim.Item2, dim.Item3], unbiased, keepdim, type);

        public (Tensor, Tensor) var_mean(
            (long, long) dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            SpreadAndMean(Ops.var_mean_dim, [dim.Item1, dim.Item2], unbiased, keepdim, type);

        public Tensor max() => Ops.max.Call(this);
        public (Tensor, Tensor) max(long dim, bool keepdim = false) => Ops.max_dim.Call2(this, dim, keepdim);
        public Tensor max(Tensor other) => Ops.max_other.Call(this, other);

        public Tensor min() => Ops.min.Call(this);
        public (Tensor, Tensor) min(long dim, bool keepdim = false) => Ops.min_dim.Call2(this, dim, keepdim);
        public Tensor min(Tensor other) => Ops.min_other.Call(this, other);

        public Tensor amax(long[] dims, bool keepdim = false, Tensor? @out = null) =>
            @out is null ? Ops.amax.Call(this, dims, keepdim) : Ops.amax_out.Into(this, dims, keepdim, @out);

        public Tensor amax(ReadOnlySpan<long> dims, bool keepdim = false, Tensor? @out = null) =>
            @out is null ? Ops.amax.Call(this, dims, keepdim) : Ops.amax_out.Into(this, dims, keepdim, @out);

        public Tensor amax(params long[] dims) => Ops.amax.Call(this, dims);

        public Tensor amin(long[] dims, bool keepdim = false, Tensor? @out = null) =>
            @out is null ? Ops.amin.Call(this, dims, keepdim) : Ops.amin_out.Into(this, dims, keepdim, @out);

        public Tensor amin(ReadOnlySpan<long> dims, bool keepdim = false, Tensor? @out = null) =>
            @out is null ? Ops.amin.Call(this, dims, keepdim) : Ops.amin_out.Into(this, dims, keepdim, @out);

        public Tensor amin(params long[] dims) => Ops.amin.Call(this, dims);

        public (Tensor, Tensor) aminmax(long? dim = null, bool keepdim = false) =>
            Ops.aminmax.Call2(this, dim, keepdim);

        public Tensor argmax() => Ops.argmax.Call(this);
        public Tensor argmax(long dim, bool keepdim = false) => Ops.argmax.Call(this, dim, keepdim);

        public Tensor argmin() => Ops.argmin.Call(this);
        public Tensor argmin(long dim, bool keepdim = false) => Ops.argmin.Call(this, dim, keepdim);

        public Tensor all() => Ops.all.Call(this);
        public Tensor all(long dim, bool keepdim = false) => Ops.all_dim.Call(this, dim, keepdim);

        public Tensor any() => Ops.any.Call(this);
        public Tensor any(long dim, bool keepdim = false) => Ops.any_dim.Call(this, dim, keepdim);

        public Tensor count_nonzero(long[]? dims = null) =>
            dims is null ? Ops.count_nonzero.Call(this) : Ops.count_nonzero_dim_IntList.Call(this, dims);

        public Tensor median() => Ops.median.Call(this);

        public (Tensor, Tensor) mode(long dim = -1, bool keepdim = false) =>
            Ops.mode.Call2(this, dim, keepdim);

        public Tensor quantile(Tensor q, long dim = -1, bool keepdim = false) =>
            Ops.quantile.Call(this, q, dim, keepdim);

        public Tensor logsumexp(long dim, bool keepdim = false) => Ops.logsumexp.Call(this, dim, keepdim);
        public Tensor logcumsumexp(long dim) => Ops.logcumsumexp.Call(this, dim);
        public Tensor cumsum(long dim, ScalarType? type = null) => Ops.cumsum.Call(this, dim, type);
        public Tensor cumprod(long dim, ScalarType? type = null) => Ops.cumprod.Call(this, dim, type);
        public (Tensor, Tensor) cummax(long dim) => Ops.cummax.Call2(this, dim);
        public (Tensor, Tensor) cummin(long dim) => Ops.cummin.Call2(this, dim);

        public Tensor norm(int dim, bool keepdim = false, float p = 2) =>
            Ops.norm_ScalarOpt_dim.Call(this, p, dim, keepdim);

        public Tensor norm(float p = 2) => Ops.norm_Scalar.Call(this, p);

        public Tensor dist(Tensor other, float p = 2) => Ops.dist.Call(this, other, p);
        public Tensor trace() => Ops.trace.Call(this);

        public (Tensor, Tensor) sort(long dim = -1, bool descending = false, bool stable = false) =>
            Ops.sort_stable.Call2(this, stable, dim, descending);

        public Tensor argsort(long dim = -1, bool descending = false) =>
            Ops.argsort.Call(this, dim, descending);

        public Tensor msort() => Ops.msort.Call(this);

        public (Tensor, Tensor) topk(int k, int dim = -1, bool largest = true, bool sorted = true) =>
            Ops.topk.Call2(this, k, dim, largest, sorted);

        public Tensor bincount(Tensor? weights, long minlength = 0) =>
            Ops.bincount.Call(this, weights, minlength);

        public Tensor histc(long bins = 100, long min = 0, long max = 0) =>
            Ops.histc.Call(this, bins, min, max);
    }
}
