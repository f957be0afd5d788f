using AdvContrast.Torch.Binding;

namespace TorchSharp;

// The methods of Tensor as functions.
public static partial class torch
{
    public static Tensor flip(Tensor input, params long[] dims) => input.flip(dims);
    public static Tensor fliplr(Tensor input) => input.fliplr();
    public static Tensor flipud(Tensor input) => input.flipud();
    public static Tensor floor(Tensor input) => input.floor();
    public static Tensor floor_(Tensor input) => input.floor_();
    public static Tensor floor_divide(Tensor input, Tensor other) => input.floor_divide(other);
    public static Tensor floor_divide_(Tensor input, Tensor other) => input.floor_divide_(other);
    public static Tensor fmax(Tensor input, Tensor other) => input.fmax(other);
    public static Tensor fmin(Tensor input, Tensor other) => input.fmin(other);

    public static Tensor fmod(Tensor left, Scalar right) => left.fmod(right);
    public static Tensor fmod(Tensor left, Tensor right) => left.fmod(right);

    public static Tensor fmod_(Tensor left, Scalar right) => left.fmod_(right);
    public static Tensor fmod_(Tensor left, Tensor right) => left.fmod_(right);

    public static Tensor frac(Tensor input) => input.frac();
    public static Tensor frac_(Tensor input) => input.frac_();

    public static Tensor gather(Tensor input, long dim, Tensor index) => input.gather(dim, index);

    public static Tensor gather(Tensor input, long dim, Tensor index, bool sparse_grad = false) =>
        Ops.gather.Call(input, dim, index, sparse_grad);

    public static Tensor ge(Tensor left, Tensor right) => left.ge(right);
    public static Tensor ger(Tensor input, Tensor vec2) => input.ger(vec2);
    public static Tensor greater(Tensor tensor, Tensor target) => tensor.greater(target);
    public static Tensor greater_equal(Tensor tensor, Tensor target) => tensor.greater_equal(target);
    public static Tensor gt(Tensor left, Tensor right) => left.gt(right);

    public static Tensor histc(Tensor input, long bins = 100, long min = 0, long max = 0) =>
        input.histc(bins, min, max);

    public static Tensor hypot(Tensor left, Tensor right) => left.hypot(right);

    public static Tensor index_add(Tensor input, long dim, Tensor index, Tensor source, Scalar alpha) =>
        input.index_add(dim, index, source, alpha);

    public static Tensor index_add_(Tensor input, long dim, Tensor index, Tensor source, Scalar alpha) =>
        input.index_add_(dim, index, source, alpha);

    public static Tensor index_copy(Tensor input, long dim, Tensor index, Tensor source) =>
        input.index_copy(dim, index, source);

    public static Tensor index_copy_(Tensor input, long dim, Tensor index, Tensor source) =>
        input.index_copy_(dim, index, source);

    public static Tensor index_fill(Tensor input, long dim, Tensor index, Scalar value) =>
        input.index_fill(dim, index, value);

    public static Tensor index_fill_(Tensor input, long dim, Tensor index, Scalar value) =>
        input.index_fill_(dim, index, value);

    public static Tensor index_select(Tensor input, long dim, Tensor index) => input.index_select(dim, index);
    public static Tensor inner(Tensor input, Tensor vec2) => input.inner(vec2);
    public static Tensor inverse(Tensor input) => input.inverse();
    public static bool is_nonzero(Tensor input) => input.is_nonzero();

    public static Tensor isclose(
        Tensor tensor, Tensor other, double rtol = 1e-5, double atol = 1e-8, bool nanEqual = false) =>
        tensor.isclose(other, rtol, atol, nanEqual);

    public static Tensor isfinite(Tensor tensor) => tensor.isfinite();

    public static Tensor isin(
        Tensor tensor, Tensor test_elements, bool assumeUnique = false, bool invert = false) =>
        tensor.isin(test_elements, assumeUnique, invert);

    public static Tensor isinf(Tensor tensor) => tensor.isinf();
    public static Tensor isnan(Tensor input) => input.isnan();
    public static Tensor isneginf(Tensor tensor) => tensor.isneginf();
    public static Tensor isposinf(Tensor tensor) => tensor.isposinf();
    public static Tensor isreal(Tensor tensor) => tensor.isreal();
    public static Tensor kron(Tensor input, Tensor other) => input.kron(other);

    public static (Tensor, Tensor) kthvalue(Tensor input, long k, long? dim, bool keepdim = false) =>
        input.kthvalue(k, dim, keepdim);

    public static Tensor le(Tensor left, Tensor right) => left.le(right);
    public static Tensor lerp(Tensor input, Tensor end, Tensor weight) => input.lerp(end, weight);
    public static Tensor less(Tensor tensor, Tensor target) => tensor.less(target);
    public static Tensor less_equal(Tensor tensor, Tensor target) => tensor.less_equal(target);
    public static Tensor lgamma(Tensor input) => input.lgamma();
    public static Tensor lgamma_(Tensor input) => input.lgamma_();
    public static Tensor log(Tensor input) => input.log();
    public static Tensor log10(Tensor input) => input.log10();
    public static Tensor log10_(Tensor input) => input.log10_();
    public static Tensor log1p(Tensor input) => input.log1p();
    public static Tensor log1p_(Tensor input) => input.log1p_();
    public static Tensor log2(Tensor input) => input.log2();
    public static Tensor log2_(Tensor input) => input.log2_();
    public static Tensor log_(Tensor input) => input.log_();
    public static Tensor logaddexp(Tensor left, Tensor right) => left.logaddexp(right);
    public static Tensor logaddexp2(Tensor left, Tensor right) => left.logaddexp2(right);
    public static Tensor logcumsumexp(Tensor input, long dim) => input.logcumsumexp(dim);
    public static Tensor logical_and(Tensor left, Tensor right) => left.logical_and(right);
    public static Tensor logical_and_(Tensor left, Tensor right) => left.logical_and_(right);
    public static Tensor logical_not(Tensor input) => input.logical_not();
    public static Tensor logical_or(Tensor left, Tensor right) => left.logical_or(right);
    public static Tensor logical_or_(Tensor left, Tensor right) => left.logical_or_(right);
    public static Tensor logical_xor(Tensor left, Tensor right) => left.logical_xor(right);
    public static Tensor logical_xor_(Tensor left, Tensor right) => left.logical_xor_(right);
    public static Tensor logit(Tensor input, double? eps = null) => input.logit(eps);

    public static Tensor logsumexp(Tensor input, long dim, bool keepdim = false) =>
        input.logsumexp(dim, keepdim);

    public static Tensor lt(Tensor left, Tensor right) => left.lt(right);
    public static Tensor masked_select(Tensor input, Tensor mask) => input.masked_select(mask);
    public static Tensor matmul(Tensor input, Tensor target) => input.matmul(target);
    public static Tensor matrix_power(Tensor input, int n) => input.matrix_power(n);

    public static Tensor max(Tensor input) => input.max();

    public static (Tensor, Tensor) max(Tensor input, long dim, bool keepdim = false) =>
        input.max(dim, keepdim);

    public static Tensor max(Tensor input, Tensor other) => input.max(other);

    public static Tensor maximum(Tensor input, Tensor other) => input.maximum(other);

    public static Tensor mean(Tensor input) => input.mean();

    public static Tensor mean(
        Tensor input, long[] dimensions, bool keepdim = false, ScalarType? type = null) =>
        input.mean(dimensions, keepdim, type);

    public static Tensor median(Tensor input) => input.median();

    public static Tensor min(Tensor input) => input.min();

    public static (Tensor, Tensor) min(Tensor input, long dim, bool keepdim = false) =>
        input.min(dim, keepdim);

    public static Tensor min(Tensor input, Tensor other) => input.min(other);

    public static Tensor minimum(Tensor input, Tensor other) => input.minimum(other);
    public static Tensor mm(Tensor input, Tensor target) => input.mm(target);

    public static (Tensor, Tensor) mode(Tensor input, long dim = -1, bool keepdim = false) =>
        input.mode(dim, keepdim);

    public static Tensor msort(Tensor tensor) => tensor.msort();

    public static Tensor mul(Tensor left, Scalar right) => left.mul(right);
    public static Tensor mul(Tensor left, Tensor right) => left.mul(right);

    public static Tensor mul_(Tensor left, Scalar right) => left.mul_(right);
    public static Tensor mul_(Tensor left, Tensor right) => left.mul_(right);

    public static Tensor multinomial(
        Tensor input, long num_samples, bool replacement = false, Generator? generator = null) =>
        input.multinomial(num_samples, replacement, generator);

    public static Tensor multiply(Tensor left, Scalar right) => left.multiply(right);
    public static Tensor multiply(Tensor left, Tensor right) => left.multiply(right);

    public static Tensor mv(Tensor input, Tensor target) => input.mv(target);

    public static Tensor nan_to_num(
        Tensor input, double nan = 0, double? posinf = null, double? neginf = null) =>
        input.nan_to_num(nan, posinf, neginf);

    public static Tensor nansum(Tensor input) => input.nansum();

    public static Tensor narrow(Tensor input, long dim, long start, long length) =>
        input.narrow(dim, start, length);

    public static Tensor ne(Tensor left, Tensor right) => left.ne(right);
    public static Tensor neg(Tensor input) => input.neg();
    public static Tensor neg_(Tensor input) => input.neg_();
    public static Tensor negative(Tensor input) => input.negative();
    public static Tensor nonzero(Tensor input) => input.nonzero();

    public static Tensor norm(Tensor input) => input.norm();

    public static Tensor norm(Tensor input, int dimension, bool keepdim = false, float p = 2) =>
        input.norm(dimension, keepdim, p);

    public static Tensor norm(Tensor input, float p = 2) => input.norm(p);

    public static Tensor not_equal(Tensor tensor, Tensor target) => tensor.not_equal(target);
}
