using System;

namespace TorchSharp;

// The methods of Tensor as functions.
public static partial class torch
{
    public static Tensor[] unbind(Tensor input, long dim = 0) => input.unbind(dim);
    public static Tensor[] unbind(Tensor tensor, int dim = 0) => tensor.unbind(dim);

    public static Tensor unsqueeze(Tensor input, long dim) => input.unsqueeze(dim);
    public static Tensor unsqueeze_(Tensor input, long dim) => input.unsqueeze_(dim);

    public static Tensor var(Tensor input, bool unbiased = true) => input.var(unbiased);

    public static Tensor var(
        Tensor input, long dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var(dimensions, unbiased, keepdim, type);

    public static Tensor var(
        Tensor input, long[] dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var(dimensions, unbiased, keepdim, type);

    public static Tensor var(
        Tensor input, (long, long, long) dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var(dimensions, unbiased, keepdim, type);

    public static Tensor var(
        Tensor input, (long, long) dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var(dimensions, unbiased, keepdim, type);

    public static (Tensor, Tensor) var_mean(Tensor input, bool unbiased = true) => input.var_mean(unbiased);

    public static (Tensor, Tensor) var_mean(
        Tensor input, long dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var_mean(dimensions, unbiased, keepdim, type);

    public static (Tensor, Tensor) var_mean(
        Tensor input, long[] dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var_mean(dimensions, unbiased, keepdim, type);

    public static (Tensor, Tensor) var_mean(
        Tensor input, ReadOnlySpan<long> dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var_mean(dimensions, unbiased, keepdim, type);

    public static (Tensor, Tensor) var_mean(
        Tensor input, (long, long, long) dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var_mean(dimensions, unbiased, keepdim, type);

    public static (Tensor, Tensor) var_mean(
        Tensor input, (long, long) dimensions, bool unbiased = true, bool keepdim = false,
        ScalarType? type = null) =>
        input.var_mean(dimensions, unbiased, keepdim, type);

    public static Tensor vdot(Tensor input, Tensor target) => input.vdot(target);
    public static Tensor view_as_complex(Tensor input) => input.view_as_complex();
    public static Tensor view_as_real(Tensor input) => input.view_as_real();

    public static Tensor xlogy(Tensor x, Scalar y) => x.xlogy(y);
    public static Tensor xlogy(Tensor x, Tensor y) => x.xlogy(y);

    public static Tensor xlogy_(Tensor x, Scalar y) => x.xlogy_(y);
    public static Tensor xlogy_(Tensor x, Tensor y) => x.xlogy_(y);
}
