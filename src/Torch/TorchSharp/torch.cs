using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

/// <summary>libtorch under TorchSharp's names.</summary>
public static partial class torch
{
    public static ScalarType @bool = ScalarType.Bool;
    public static ScalarType uint8 = ScalarType.Byte;
    public static ScalarType int8 = ScalarType.Int8;
    public static ScalarType int16 = ScalarType.Int16;
    public static ScalarType @short = ScalarType.Int16;
    public static ScalarType int32 = ScalarType.Int32;
    public static ScalarType @int = ScalarType.Int32;
    public static ScalarType int64 = ScalarType.Int64;
    public static ScalarType @long = ScalarType.Int64;
    public static ScalarType float16 = ScalarType.Float16;
    public static ScalarType half = ScalarType.Float16;
    public static ScalarType bfloat16 = ScalarType.BFloat16;
    public static ScalarType float32 = ScalarType.Float32;
    public static ScalarType @float = ScalarType.Float32;
    public static ScalarType float64 = ScalarType.Float64;
    public static ScalarType @double = ScalarType.Float64;
    public static ScalarType complex64 = ScalarType.ComplexFloat32;
    public static ScalarType cfloat = ScalarType.ComplexFloat32;
    public static ScalarType complex128 = ScalarType.ComplexFloat64;
    public static ScalarType cdouble = ScalarType.ComplexFloat64;

    /// <summary>libtorch's version.</summary>
    public static unsafe string __version__ => new((sbyte*)NativeMethods.adv_version());

    /// <summary>Opens a scope on this thread; what is created until its end is disposed then.</summary>
    public static DisposeScope NewDisposeScope() => DisposeScopeManager.OfThread.Open();

    /// <summary>This thread's innermost open scope, or null.</summary>
    public static DisposeScope? CurrentDisposeScope => DisposeScopeManager.OfThread.Innermost;

    /// <summary>Runs a function in a scope of its own, from which only its result gets out.</summary>
    public static Tensor WrappedTensorDisposeScope(Func<Tensor> expr)
    {
        using var scope = NewDisposeScope();
        return expr().MoveToOuterDisposeScope();
    }

    public static ScalarType get_default_dtype() =>
        (ScalarType)NativeMethods.CheckNumber(NativeMethods.adv_default_dtype(-1));

    public static void set_default_dtype(ScalarType dtype) =>
        NativeMethods.CheckNumber(NativeMethods.adv_default_dtype((int)dtype));

    public static int get_num_threads() => NativeMethods.CheckNumber(NativeMethods.adv_threads(0, 0));

    public static void set_num_threads(int num) =>
        NativeMethods.CheckNumber(NativeMethods.adv_threads(0, num));

    public static int get_num_interop_threads() => NativeMethods.CheckNumber(NativeMethods.adv_threads(1, 0));

    public static void set_num_interop_threads(int num) =>
        NativeMethods.CheckNumber(NativeMethods.adv_threads(1, num));

    public static bool is_tensor(object obj) => obj is Tensor;

    /// <summary>The limits of the default floating type.</summary>
    public static FInfo finfo() => finfo(get_default_dtype());

    /// <summary>The limits of a floating type.</summary>
    public static FInfo finfo(ScalarType dtype) => dtype switch
    {
        ScalarType.Float16 => new FInfo(16, Math.ScaleB(1, -10), 65504, Math.ScaleB(1, -14), 1e-3),
        ScalarType.BFloat16 => new FInfo(
            16, Math.ScaleB(1, -7), Math.ScaleB(2 - Math.ScaleB(1, -7), 127), Math.ScaleB(1, -126), 1e-2),
        ScalarType.Float32 or ScalarType.ComplexFloat32 =>
            new FInfo(32, Math.ScaleB(1, -23), float.MaxValue, Math.ScaleB(1, -126), 1e-6),
        ScalarType.Float64 or ScalarType.ComplexFloat64 =>
            new FInfo(64, Math.ScaleB(1, -52), double.MaxValue, Math.ScaleB(1, -1022), 1e-15),
        _ => throw new ArgumentException($"finfo is for floating types, not for {dtype}", nameof(dtype)),
    };

    /// <summary>The limits of a floating type.</summary>
    public struct FInfo
    {
        public int bits;
        public double eps;
        public double max;
        public double min;
        public double tiny;
        public double smallest_normal;
        public double resolution;

        internal FInfo(int bits, double eps, double max, double tiny, double resolution)
        {
            this.bits = bits;
            this.eps = eps;
            this.max = max;
            min = -max;
            this.tiny = tiny;
            smallest_normal = tiny;
            this.resolution = resolution;
        }
    }
}
