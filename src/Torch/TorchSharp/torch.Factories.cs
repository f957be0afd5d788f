using System;
using System.Collections.Generic;
using System.Linq;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Ranges, copies of a form, and joins.
public static partial class torch
{
    public static Tensor arange(
        Scalar start, Scalar stop, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        Ops.arange_start.Call(start, stop, dtype, Arg.None, device).requires_grad_(requires_grad);

    public static Tensor arange(
        Scalar start, Scalar stop, Scalar step, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        Ops.arange_start_step.Call(start, stop, step, dtype, Arg.None, device).requires_grad_(requires_grad);

    public static Tensor arange(
        Scalar stop, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        Ops.arange.Call(stop, dtype, Arg.None, device).requires_grad_(requires_grad);

    public static Tensor linspace(
        double start, double end, long steps, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false) =>
        Ops.linspace.Call(start, end, steps, dtype, Arg.None, device).requires_grad_(requires_grad);

    public static Tensor eye(
        long rows, long columns = -1, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        Ops.eye_m.Call(rows, columns < 0
            ? rows
            : columns, dtype, Arg.None, device).Checked(names).requires_grad_(requires_grad);

    public static Tensor zeros_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        input.zeros_like(dtype, device, requires_grad).Checked(names);

    public static Tensor ones_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        input.ones_like(dtype, device, requires_grad).Checked(names);

    public static Tensor empty_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false,
        string[]? names = null) =>
        input.empty_like(dtype, device, requires_grad).Checked(names);

    public static Tensor full_like(
        Tensor input, Scalar value, ScalarType? dtype = null, Device? device = null,
        bool requires_grad = false, string[]? names = null) =>
        input.full_like(value, dtype, device, requires_grad).Checked(names);

    public static Tensor cat(IList<Tensor> tensors, long dim = 0) => Ops.cat.Call(tensors.ToArray(), dim);

    public static Tensor cat(ReadOnlySpan<Tensor> tensors, long dim = 0) =>
        Ops.cat.Call(tensors.ToArray(), dim);

    public static Tensor cat(Tensor[] tensors, long dim = 0) => Ops.cat.Call(tensors, dim);

    public static Tensor concat(IList<Tensor> tensors, long dim = 0) => cat(tensors, dim);
    public static Tensor concat(ReadOnlySpan<Tensor> tensors, long dim = 0) => cat(tensors, dim);
    public static Tensor concat(Tensor[] tensors, long dim = 0) => cat(tensors, dim);

    public static Tensor concatenate(IList<Tensor> tensors, long axis = 0) => cat(tensors, axis);
    public static Tensor concatenate(ReadOnlySpan<Tensor> tensors, long axis = 0) => cat(tensors, axis);
    public static Tensor concatenate(Tensor[] tensors, long axis = 0) => cat(tensors, axis);

    public static Tensor stack(IEnumerable<Tensor> tensors, long dim = 0) =>
        Ops.stack.Call(tensors.ToArray(), dim);

    public static Tensor hstack(IEnumerable<Tensor> tensors) => Ops.hstack.Call(tensors.ToArray());
    public static Tensor hstack(IList<Tensor> tensors) => Ops.hstack.Call(tensors.ToArray());
    public static Tensor hstack(ReadOnlySpan<Tensor> tensors) => Ops.hstack.Call(tensors.ToArray());
    public static Tensor hstack(params Tensor[] tensors) => Ops.hstack.Call(tensors);

    public static Tensor vstack(IList<Tensor> tensors) => Ops.vstack.Call(tensors.ToArray());
    public static Tensor vstack(ReadOnlySpan<Tensor> tensors) => Ops.vstack.Call(tensors.ToArray());
    public static Tensor vstack(Tensor[] tensors) => Ops.vstack.Call(tensors);

    public static Tensor[] where(Tensor condition) => Ops.where.CallMany(condition);
    public static Tensor where(Tensor condition, Tensor x, Tensor y) => Ops.where_self.Call(condition, x, y);

    public static Tensor[] meshgrid(IEnumerable<Tensor> tensors, string indexing = "ij") =>
        Ops.meshgrid_indexing.CallMany(tensors.ToArray(), indexing);

    public static Tensor einsum(string equation, params Tensor[] tensors) =>
        Ops.einsum.Call(equation, tensors);

    public static Tensor block_diag(params Tensor[] tensors) => Ops.block_diag.Call(tensors);

    public static IList<Tensor> broadcast_tensors(params Tensor[] tensors) =>
        Ops.broadcast_tensors.CallMany(tensors);

    public static Tensor cartesian_prod(IList<Tensor> tensors) => Ops.cartesian_prod.Call(tensors.ToArray());

    public static Tensor cartesian_prod(ReadOnlySpan<Tensor> tensors) =>
        Ops.cartesian_prod.Call(tensors.ToArray());

    public static Tensor cartesian_prod(params Tensor[] tensors) => Ops.cartesian_prod.Call(tensors);

    public static Tensor tril_indices(
        long row, long col, long offset = 0, ScalarType dtype = ScalarType.Int64, Device? device = null) =>
        Ops.tril_indices.Call(row, col, offset, dtype, Arg.None, device);

    public static Tensor triu_indices(
        long row, long col, long offset = 0, ScalarType dtype = ScalarType.Int64, Device? device = null) =>
        Ops.triu_indices.Call(row, col, offset, dtype, Arg.None, device);

    public static bool is_floating_point(ScalarType type) =>
        type is ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64;

    public static bool is_floating_point(Tensor input) => is_floating_point(input.dtype);

    public static bool is_complex(ScalarType type) =>
        type is ScalarType.ComplexFloat32 or ScalarType.ComplexFloat64;

    public static bool is_complex(Tensor input) => is_complex(input.dtype);

    public static bool is_integral(ScalarType type) => type is <= ScalarType.Int64;
    public static bool is_integral(Tensor t) => is_integral(t.dtype);
}
