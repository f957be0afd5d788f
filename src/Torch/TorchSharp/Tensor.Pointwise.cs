using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Functions of one tensor, element by element.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor abs() => Ops.abs.Call(this);
        public Tensor absolute() => Ops.absolute.Call(this);
        public Tensor acos() => Ops.acos.Call(this);
        public Tensor acosh() => Ops.acosh.Call(this);
        public Tensor angle() => Ops.angle.Call(this);
        public Tensor asin() => Ops.asin.Call(this);
        public Tensor asinh() => Ops.asinh.Call(this);
        public Tensor atan() => Ops.atan.Call(this);
        public Tensor atanh() => Ops.atanh.Call(this);
        public Tensor ceil() => Ops.ceil.Call(this);
        public Tensor cos() => Ops.cos.Call(this);
        public Tensor cosh() => Ops.cosh.Call(this);
        public Tensor deg2rad() => Ops.deg2rad.Call(this);
        public Tensor digamma() => Ops.digamma.Call(this);
        public Tensor erf() => Ops.erf.Call(this);
        public Tensor erfc() => Ops.erfc.Call(this);
        public Tensor erfinv() => Ops.erfinv.Call(this);
        public Tensor exp() => Ops.exp.Call(this);
        public Tensor exp2() => Ops.exp2.Call(this);
        public Tensor expm1() => Ops.expm1.Call(this);
        public Tensor floor() => Ops.floor.Call(this);
        public Tensor frac() => Ops.frac.Call(this);
        public Tensor lgamma() => Ops.lgamma.Call(this);
        public Tensor log() => Ops.log.Call(this);
        public Tensor log10() => Ops.log10.Call(this);
        public Tensor log1p() => Ops.log1p.Call(this);
        public Tensor log2() => Ops.log2.Call(this);
        public Tensor neg() => Ops.neg.Call(this);
        public Tensor negative() => Ops.negative.Call(this);
        public Tensor positive() => Ops.positive.Call(this);
        public Tensor rad2deg() => Ops.rad2deg.Call(this);
        public Tensor reciprocal() => Ops.reciprocal.Call(this);
        public Tensor relu() => Ops.relu.Call(this);
        public Tensor rsqrt() => Ops.rsqrt.Call(this);
        public Tensor sgn() => Ops.sgn.Call(this);
        public Tensor sigmoid() => Ops.sigmoid.Call(this);
        public Tensor sign() => Ops.sign.Call(this);
        public Tensor signbit() => Ops.signbit.Call(this);
        public Tensor sin() => Ops.sin.Call(this);
        public Tensor sinc() => Ops.sinc.Call(this);
        public Tensor sinh() => Ops.sinh.Call(this);
        public Tensor sqrt() => Ops.sqrt.Call(this);
        public Tensor square() => Ops.square.Call(this);
        public Tensor tan() => Ops.tan.Call(this);
        public Tensor tanh() => Ops.tanh.Call(this);
        public Tensor trunc() => Ops.trunc.Call(this);
        public Tensor abs_() => Ops.abs_.InPlace(this);
        public Tensor absolute_() => Ops.absolute_.InPlace(this);
        public Tensor acos_() => Ops.acos_.InPlace(this);
        public Tensor acosh_() => Ops.acosh_.InPlace(this);
        public Tensor asin_() => Ops.asin_.InPlace(this);
        public Tensor asinh_() => Ops.asinh_.InPlace(this);
        public Tensor atanh_() => Ops.atanh_.InPlace(this);
        public Tensor ceil_() => Ops.ceil_.InPlace(this);
        public Tensor cos_() => Ops.cos_.InPlace(this);
        public Tensor cosh_() => Ops.cosh_.InPlace(this);
        public Tensor digamma_() => Ops.digamma_.InPlace(this);
        public Tensor erf_() => Ops.erf_.InPlace(this);
        public Tensor erfc_() => Ops.erfc_.InPlace(this);
        public Tensor erfinv_() => Ops.erfinv_.InPlace(this);
        public Tensor exp_() => Ops.exp_.InPlace(this);
        public Tensor expm1_() => Ops.expm1_.InPlace(this);
        public Tensor floor_() => Ops.floor_.InPlace(this);
        public Tensor frac_() => Ops.frac_.InPlace(this);
        public Tensor lgamma_() => Ops.lgamma_.InPlace(this);
        public Tensor log_() => Ops.log_.InPlace(this);
        public Tensor log10_() => Ops.log10_.InPlace(this);
        public Tensor log1p_() => Ops.log1p_.InPlace(this);
        public Tensor log2_() => Ops.log2_.InPlace(this);
        public Tensor neg_() => Ops.neg_.InPlace(this);
        public Tensor reciprocal_() => Ops.reciprocal_.InPlace(this);
        public Tensor relu_() => Ops.relu_.InPlace(this);
        public Tensor rsqrt_() => Ops.rsqrt_.InPlace(this);
        public Tensor sgn_() => Ops.sgn_.InPlace(this);
        public Tensor sigmoid_() => Ops.sigmoid_.InPlace(this);
        public Tensor sign_() => Ops.sign_.InPlace(this);
        public Tensor sin_() => Ops.sin_.InPlace(this);
        public Tensor sinc_() => Ops.sinc_.InPlace(this);
        public Tensor sinh_() => Ops.sinh_.InPlace(this);
        public Tensor sqrt_() => Ops.sqrt_.InPlace(this);
        public Tensor tan_() => Ops.tan_.InPlace(this);
        public Tensor tanh_() => Ops.tanh_.InPlace(this);
        public Tensor trunc_() => Ops.trunc_.InPlace(this);

        public Tensor round(long decimals = 0) =>
            decimals == 0 ? Ops.round.Call(this) : Ops.round_decimals.Call(this, decimals);

        public Tensor round_(long decimals = 0) =>
            decimals == 0 ? Ops.round_.InPlace(this) : Ops.round__decimals.InPlace(this, decimals);

        public Tensor logit(double? eps = null) => Ops.logit.Call(this, eps);

        public Tensor softplus(double beta = 1, double threshold = 20) =>
            Ops.softplus.Call(this, beta, threshold);

        public Tensor leaky_relu(Scalar negative_slope) => Ops.leaky_relu.Call(this, negative_slope);
        public Tensor leaky_relu_(Scalar negative_slope) => Ops.leaky_relu_.InPlace(this, negative_slope);

        public Tensor elu(double alpha = 1) => Ops.elu.Call(this, alpha);

        public Tensor elu(Scalar alpha, Scalar scale, Scalar input_scale) =>
            Ops.elu.Call(this, alpha, scale, input_scale);

        public Tensor elu_(double alpha = 1) => Ops.elu_.InPlace(this, alpha);

        public Tensor elu_(Scalar alpha, Scalar scale, Scalar input_scale) =>
            Ops.elu_.InPlace(this, alpha, scale, input_scale);

        public Tensor gelu() => Ops.gelu.Call(this);
        public Tensor silu() => Ops.silu.Call(this);
        public Tensor silu_() => Ops.silu_.InPlace(this);
        public Tensor relu6() => Ops.relu6.Call(this);
        public Tensor hardtanh(Scalar min, Scalar max) => Ops.hardtanh.Call(this, min, max);
        public Tensor softmax(long dim, ScalarType? dtype = null) => Ops.softmax_int.Call(this, dim, dtype);

        public Tensor log_softmax(long dim, ScalarType? dtype = null) =>
            Ops.log_softmax_int.Call(this, dim, dtype);

        public Tensor log_sigmoid() => Ops.log_sigmoid.Call(this);
    }
}
