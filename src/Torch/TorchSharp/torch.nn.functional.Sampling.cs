using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>Layers and losses.</summary>
    public static partial class nn
    {
        /// <summary>Layers and losses as functions.</summary>
        public static partial class functional
        {
            /// <summary>Resamples the spatial dimensions to a size, or by a factor.</summary>
            public static Tensor interpolate(
                Tensor x, long[]? size = null, double[]? scale_factor = null,
                InterpolationMode mode = InterpolationMode.Nearest, bool? align_corners = null,
                bool recompute_scale_factor = false, bool antialias = false)
            {
                if (size is null == scale_factor is null)
                    throw new ArgumentException("interpolate needs either a size or a scale factor.");
                var spatial = (int)x.ndim - 2;
                if (spatial is < 1 or > 3)
                    throw new ArgumentException($"interpolate takes 3 to 5 dimensions, not {x.Describe()}");
                if (size is { Length: 1 }) Array.Resize(ref size, spatial);
                size = size is null ? null : Array.ConvertAll(size, length => length == 0 ? size[0] : length);
                if (scale_factor is { Length: 1 } one) scale_factor = Array.ConvertAll(new double[spatial],
                    _ => one[0]);
                if (scale_factor is not null && (recompute_scale_factor || mode == InterpolationMode.Area))
                {
                    size = Scaled(x.shape, scale_factor);
                    scale_factor = null;
                }
                var corners = align_corners ?? false;
                Tensor Plain(Op op) => op.Call(x, size, scale_factor);
                Tensor Linear(Op op) => op.Call(x, size, corners, scale_factor);
                return (mode, spatial) switch
                {
                    (InterpolationMode.Nearest, 1) => Plain(Ops.upsample_nearest1d_vec),
                    (InterpolationMode.Nearest, 2) => Plain(Ops.upsample_nearest2d_vec),
                    (InterpolationMode.Nearest, 3) => Plain(Ops.upsample_nearest3d_vec),
                    (InterpolationMode.NearestExact, 1) => Plain(Ops._upsample_nearest_exact1d_vec),
                    (InterpolationMode.NearestExact, 2) => Plain(Ops._upsample_nearest_exact2d_vec),
                    (InterpolationMode.NearestExact, 3) => Plain(Ops._upsample_nearest_exact3d_vec),
                    (InterpolationMode.Linear, 1) => Linear(Ops.upsample_linear1d_vec),
                    (InterpolationMode.Bilinear, 2) when antialias => Linear(Ops._upsample_bilinear2d_aa_vec),
                    (InterpolationMode.Bilinear, 2) => Linear(Ops.upsample_bilinear2d_vec),
                    (InterpolationMode.Bicubic, 2) when antialias => Linear(Ops._upsample_bicubic2d_aa_vec),
                    (InterpolationMode.Bicubic, 2) => Linear(Ops.upsample_bicubic2d_vec),
                    (InterpolationMode.Trilinear, 3) => Linear(Ops.upsample_trilinear3d_vec),
                    (InterpolationMode.Area, 1) => Ops.adaptive_avg_pool1d.Call(x, size),
                    (InterpolationMode.Area, 2) => Ops.adaptive_avg_pool2d.Call(x, size),
                    (InterpolationMode.Area, 3) => Ops.adaptive_avg_pool3d.Call(x, size),
                    _ => throw new ArgumentException($"interpolate by {mode} does not take {x.Describe()}"),
                };
            }

            private static long[] Scaled(long[] shape, double[] factors)
            {
                var size = new long[factors.Length];
                for (var d = 0; d < size.Length; d++) size[d] = (long)Math.Floor(shape[d + 2] * factors[d]);
                return size;
            }

            private static Tensor Padded(Tensor input, long[] widths, PaddingModes mode,
                double value) => mode switch
                {
                    PaddingModes.Reflect => Ops.pad.Call(input, widths, "reflect"),
                    PaddingModes.Replicate => Ops.pad.Call(input, widths, "replicate"),
                    PaddingModes.Circular => Ops.pad.Call(input, widths, "circular"),
                    PaddingModes.Zeros => Ops.pad.Call(input, widths, "constant", 0.0),
                    _ => Ops.pad.Call(input, widths, "constant", value),
                };

            // libtorch counts zeros, border, reflection
            private static int Outside(GridSamplePaddingMode mode) => mode switch
            {
                GridSamplePaddingMode.Border => 1,
                GridSamplePaddingMode.Reflection => 2,
                _ => 0,
            };

            private static Arg One(long? value) => value is { } v ? v : Arg.Default;
            private static Arg Two((long, long) pair) => new[] { pair.Item1, pair.Item2 };
            private static Arg Two((long, long)? pair) => pair is { } p ? Two(p) : Arg.Default;
        }
    }
}
