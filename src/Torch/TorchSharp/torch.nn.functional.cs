using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Layers and losses as functions.
public static partial class torch
{
    public static partial class nn
    {
        public static partial class functional
        {
            public static Tensor conv2d(
                Tensor input, Tensor weight, Tensor? bias = null, long[]? strides = null,
                long[]? padding = null, long[]? dilation = null, long groups = 1) =>
                Ops.conv2d.Call(
                    input, weight, bias, Arg.Or(strides), Arg.Or(padding), Arg.Or(dilation), groups);

            public static Tensor linear(Tensor input, Tensor weights, Tensor? bias = null) =>
                Ops.linear.Call(input, weights, bias);

            public static Tensor batch_norm(
                Tensor input, Tensor running_mean, Tensor running_var, Tensor? weight = null,
                Tensor? bias = null, bool training = false, double momentum = 0.1, double eps = 1e-5) =>
                Ops.batch_norm.Call(
                    input, weight, bias, running_mean, running_var, training, momentum, eps, true);

            public static Tensor relu(Tensor x, bool inplace = false) => inplace ? x.relu_() : x.relu();

            public static Tensor softmax(Tensor input, long dim, ScalarType? dtype = null) =>
                input.softmax(dim, dtype);

            public static Tensor log_softmax(Tensor x, long dim) => x.log_softmax(dim);

            public static Tensor max_pool2d(
                Tensor input, long kernel_size, long? stride = null, long? padding = null,
                long? dilation = null, bool ceil_mode = false) =>
                Ops.max_pool2d.Call(input, kernel_size, One(stride), One(padding), One(dilation), ceil_mode);

            public static Tensor max_pool2d(
                Tensor input, long[] kernel_size, long[]? strides = null, long[]? padding = null,
                long[]? dilation = null, bool ceil_mode = false) =>
                Ops.max_pool2d.Call(
                    input, kernel_size, Arg.Or(strides), Arg.Or(padding), Arg.Or(dilation), ceil_mode);

            public static Tensor max_pool2d(
                Tensor input, (long, long) kernel_size, (long, long)? stride = null,
                (long, long)? padding = null, (long, long)? dilation = null, bool ceil_mode = false) =>
                Ops.max_pool2d.Call(
                    input, Two(kernel_size), Two(stride), Two(padding), Two(dilation), ceil_mode);

            public static Tensor avg_pool2d(
                Tensor input, long kernel_size, long? stride = null, long padding = 0,
                bool ceil_mode = false, bool count_include_pad = true, long? divisor_override = null) =>
                Ops.avg_pool2d.Call(
                    input, kernel_size, One(stride), padding, ceil_mode, count_include_pad, divisor_override);

            public static Tensor avg_pool2d(
                Tensor input, long[] kernel_size, long[]? stride = null, long[]? padding = null,
                bool ceil_mode = false, bool count_include_pad = true, long? divisor_override = null) =>
                Ops.avg_pool2d.Call(
                    input, kernel_size, Arg.Or(stride), Arg.Or(padding), ceil_mode, count_include_pad,
                    divisor_override);

            public static Tensor avg_pool2d(
                Tensor input, (long, long) kernel_size, (long, long)? stride = null,
                (long, long)? padding = null, bool ceil_mode = false, bool count_include_pad = true,
                long? divisor_override = null) =>
                Ops.avg_pool2d.Call(
                    input, Two(kernel_size), Two(stride), Two(padding), ceil_mode, count_include_pad,
                    divisor_override);

            public static Tensor adaptive_avg_pool2d(Tensor input, long output_size) =>
                Ops.adaptive_avg_pool2d.Call(input, new[] { output_size, output_size });

            public static Tensor adaptive_avg_pool2d(Tensor input, long[] output_size) =>
                Ops.adaptive_avg_pool2d.Call(input, output_size);

            public static Tensor adaptive_avg_pool2d(Tensor input, (long, long) output_size) =>
                Ops.adaptive_avg_pool2d.Call(input, Two(output_size));

            public static Tensor cross_entropy(
                Tensor input, Tensor target, Tensor? weight = null, long ignore_index = -100,
                nn.Reduction reduction = nn.Reduction.Mean, double label_smoothing = 0) =>
                Ops.cross_entropy_loss.Call(
                    input, target, weight, (long)reduction, ignore_index, label_smoothing);

            public static Tensor nll_loss(
                Tensor input, Tensor target, Tensor? weight = null,
                nn.Reduction reduction = nn.Reduction.Mean) =>
                Ops.nll_loss_nd.Call(input, target, weight, (long)reduction);

            public static Tensor kl_div(
                Tensor input, Tensor target, bool log_target = true,
                nn.Reduction reduction = nn.Reduction.Mean) =>
                Ops.kl_div.Call(input, target, (long)reduction, log_target);

            public static Tensor normalize(Tensor input, double p = 2, long dim = 1, double eps = 1e-12)
            {
                using var scope = NewDisposeScope();
                var length = Ops.norm_ScalarOpt_dim.Call(input, p, dim, true).clamp_min(eps);
                return input.div(length.expand_as(input)).MoveToOuterDisposeScope();
            }

            public static Tensor cosine_similarity(Tensor x1, Tensor x2, long dim = 1, double eps = 1e-8) =>
                Ops.cosine_similarity.Call(x1, x2, dim, eps);

            public static Tensor one_hot(Tensor x, long num_classes = -1) => Ops.one_hot.Call(x, num_classes);

            public static Tensor pad(
                Tensor input, long pad, PaddingModes mode = PaddingModes.Constant, double value = 0) =>
                Padded(input, [pad, pad], mode, value);

            public static Tensor pad(
                Tensor input, long[] pad, PaddingModes mode = PaddingModes.Constant, double value = 0) =>
                Padded(input, pad, mode, value);

            public static Tensor pad(
                Tensor input, ReadOnlySpan<long> pad, PaddingModes mode = PaddingModes.Constant,
                double value = 0) =>
                Padded(input, pad.ToArray(), mode, value);

            public static Tensor pad(
                Tensor input, (long, long, long, long) pad, PaddingModes mode = PaddingModes.Constant,
                double value = 0) =>
                Padded(input, [pad.Item1, pad.Item2, pad.Item3, pad.Item4], mode, value);

            public static Tensor pad(
                Tensor input, (long, long) pad, PaddingModes mode = PaddingModes.Constant,
                double value = 0) =>
                Padded(input, [pad.Item1, pad.Item2], mode, value);

            public static Tensor grid_sample(
                Tensor input, Tensor grid, GridSampleMode mode = GridSampleMode.Bilinear,
                GridSamplePaddingMode padding_mode = GridSamplePaddingMode.Zeros,
                bool? align_corners = null) =>
                Ops.grid_sampler.Call(input, grid, mode == GridSampleMode.Nearest
                    ? 1
                    : 0, Outside(padding_mode), align_corners ?? false);

            public static Tensor affine_grid(Tensor theta, long[]? size = null, bool align_corners = false) =>
                Ops.affine_grid_generator.Call(theta, size, align_corners);
        }
    }
}
