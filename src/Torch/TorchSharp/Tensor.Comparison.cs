using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Comparisons, logic and bits.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor eq(Scalar target) => Ops.eq_Scalar.Call(this, target);
        public Tensor eq(Tensor target) => Ops.eq_Tensor.Call(this, target);

        public Tensor eq_(Scalar target) => Ops.eq__Scalar.InPlace(this, target);
        public Tensor eq_(Tensor target) => Ops.eq__Tensor.InPlace(this, target);

        public Tensor ne(Scalar target) => Ops.ne_Scalar.Call(this, target);
        public Tensor ne(Tensor target) => Ops.ne_Tensor.Call(this, target);

        public Tensor ne_(Scalar target) => Ops.ne__Scalar.InPlace(this, target);
        public Tensor ne_(Tensor target) => Ops.ne__Tensor.InPlace(this, target);

        public Tensor gt(Scalar target) => Ops.gt_Scalar.Call(this, target);
        public Tensor gt(Tensor target) => Ops.gt_Tensor.Call(this, target);

        public Tensor gt_(Scalar target) => Ops.gt__Scalar.InPlace(this, target);
        public Tensor gt_(Tensor target) => Ops.gt__Tensor.InPlace(this, target);

        public Tensor lt(Scalar target) => Ops.lt_Scalar.Call(this, target);
        public Tensor lt(Tensor target) => Ops.lt_Tensor.Call(this, target);

        public Tensor lt_(Scalar target) => Ops.lt__Scalar.InPlace(this, target);
        public Tensor lt_(Tensor target) => Ops.lt__Tensor.InPlace(this, target);

        public Tensor ge(Scalar target) => Ops.ge_Scalar.Call(this, target);
        public Tensor ge(Tensor target) => Ops.ge_Tensor.Call(this, target);

        public Tensor ge_(Scalar target) => Ops.ge__Scalar.InPlace(this, target);
        public Tensor ge_(Tensor target) => Ops.ge__Tensor.InPlace(this, target);

        public Tensor le(Scalar target) => Ops.le_Scalar.Call(this, target);
        public Tensor le(Tensor target) => Ops.le_Tensor.Call(this, target);

        public Tensor le_(Scalar target) => Ops.le__Scalar.InPlace(this, target);
        public Tensor le_(Tensor target) => Ops.le__Tensor.InPlace(this, target);

        public Tensor greater(Tensor target) => Ops.greater_Tensor.Call(this, target);
        public Tensor greater_equal(Tensor target) => Ops.greater_equal_Tensor.Call(this, target);
        public Tensor less(Tensor target) => Ops.less_Tensor.Call(this, target);
        public Tensor less_equal(Tensor target) => Ops.less_equal_Tensor.Call(this, target);
        public Tensor not_equal(Tensor target) => Ops.not_equal_Tensor.Call(this, target);
        public Tensor equal(Tensor target) => eq(target);

        public bool allclose(Tensor target, double rtol = 1e-5, double atol = 1e-8, bool equal_nan = false) =>
            Ops.allclose.CallBool(this, target, rtol, atol, equal_nan);

        public Tensor isclose(Tensor other, double rtol = 1e-5, double atol = 1e-8, bool nanEqual = false) =>
            Ops.isclose.Call(this, other, rtol, atol, nanEqual);

        public Tensor isin(Tensor test_elements, bool assumeUnique = false, bool invert = false) =>
            Ops.isin_Tensor_Tensor.Call(this, test_elements, assumeUnique, invert);

        public Tensor isnan() => Ops.isnan.Call(this);
        public Tensor isfinite() => Ops.isfinite.Call(this);
        public Tensor isinf() => Ops.isinf.Call(this);
        public Tensor isneginf() => Ops.isneginf.Call(this);
        public Tensor isposinf() => Ops.isposinf.Call(this);
        public Tensor isreal() => Ops.isreal.Call(this);
        public Tensor logical_not() => Ops.logical_not.Call(this);
        public Tensor bitwise_not() => Ops.bitwise_not.Call(this);
        public Tensor logical_not_() => Ops.logical_not_.InPlace(this);
        public Tensor bitwise_not_() => Ops.bitwise_not_.InPlace(this);
        public Tensor logical_and(Tensor other) => Ops.logical_and.Call(this, other);
        public Tensor logical_or(Tensor other) => Ops.logical_or.Call(this, other);
        public Tensor logical_xor(Tensor other) => Ops.logical_xor.Call(this, other);
        public Tensor bitwise_and(Tensor other) => Ops.bitwise_and_Tensor.Call(this, other);
        public Tensor bitwise_or(Tensor other) => Ops.bitwise_or_Tensor.Call(this, other);
        public Tensor bitwise_xor(Tensor other) => Ops.bitwise_xor_Tensor.Call(this, other);
        public Tensor logical_and_(Tensor other) => Ops.logical_and_.InPlace(this, other);
        public Tensor logical_or_(Tensor other) => Ops.logical_or_.InPlace(this, other);
        public Tensor logical_xor_(Tensor other) => Ops.logical_xor_.InPlace(this, other);
        public Tensor bitwise_and_(Tensor other) => Ops.bitwise_and__Tensor.InPlace(this, other);
        public Tensor bitwise_or_(Tensor other) => Ops.bitwise_or__Tensor.InPlace(this, other);
        public Tensor bitwise_xor_(Tensor other) => Ops.bitwise_xor__Tensor.InPlace(this, other);
        public Tensor bitwise_left_shift(Tensor other) => Ops.bitwise_left_shift_Tensor.Call(this, other);
        public Tensor bitwise_right_shift(Tensor other) => Ops.bitwise_right_shift_Tensor.Call(this, other);
        public bool is_nonzero() => Ops.is_nonzero.CallBool(this);
    }
}
