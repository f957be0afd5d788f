using System.Runtime.InteropServices;

namespace AdvContrast.Torch.Binding;

/// <summary>What a tensor is, as the bridge fills it in one call (bridge.h, adv_info_t).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TensorInfo
{
    public void* Data;
    public long* Sizes;
    public long* Strides;
    public long Dim;
    public long Count;
    public long StorageOffset;
    public int DType;
    public int ElementSize;
    public int DeviceType;
    public int DeviceIndex;
    public int Layout;
    public TensorFlags Flags;
}

[System.Flags]
internal enum TensorFlags
{
    RequiresGrad = 1,
    IsLeaf = 2,
    Contiguous = 4,
    ChannelsLast = 8,
    Conjugated = 16,
    Negated = 32,
    Inference = 64,
}

/// <summary>Switches of the process or the thread (bridge.h, adv_flag_t).</summary>
internal enum Flag
{
    GradMode = 0,
    Deterministic = 1,
    Tf32Matmul = 2,
    Tf32Cudnn = 3,
    CudnnBenchmark = 4,
    InferenceMode = 5,
}

[StructLayout(LayoutKind.Sequential)]
internal struct AutocastState
{
    public int DeviceType;
    public int Enabled;
    public int DType;
    public int Cache;
}

/// <summary>The bridge's functions, as bridge.h declares them.</summary>
internal static unsafe partial class NativeMethods
{
    private const string Library = NativeLoader.LibraryName;

    static NativeMethods() => NativeLoader.Register();

    [LibraryImport(Library)] internal static partial byte* adv_error();
    [LibraryImport(Library)] internal static partial byte* adv_version();

    [LibraryImport(Library)] internal static partial nint adv_op(byte* name, byte* overload);

    [LibraryImport(Library)]
    internal static partial int adv_call(
        nint op, NativeValue* args, int n, int keep, NativeValue** results, int* count);

    [LibraryImport(Library)] internal static partial int adv_info(nint tensor, TensorInfo* info);
    [LibraryImport(Library)] internal static partial void adv_free(nint tensor);
    [LibraryImport(Library)] internal static partial long adv_live(int peak);

    [LibraryImport(Library)] internal static partial int adv_set_requires_grad(nint tensor, int on);
    [LibraryImport(Library)] internal static partial int adv_retain_grad(nint tensor);
    [LibraryImport(Library)] internal static partial int adv_get_grad(nint tensor, nint* grad);
    [LibraryImport(Library)] internal static partial int adv_set_grad(nint tensor, nint grad);

    [LibraryImport(Library)]
    internal static partial int adv_autograd_grad(
        nint* outputs, int outputCount, nint* inputs, int inputCount, nint* grads, int gradCount,
        int retain, int create, int allowUnused, nint* result);

    [LibraryImport(Library)]
    internal static partial int adv_autograd_backward(
        nint* tensors, int tensorCount, nint* grads, int gradCount, int retain, int create,
        nint* inputs, int inputCount);

    [LibraryImport(Library)]
    internal static partial int adv_autograd_attach(
        nint x, nint y, delegate* unmanaged<nint, nint, byte*, int, nint> pull,
        delegate* unmanaged<nint, void> drop, nint state);

    [LibraryImport(Library)] internal static partial int adv_flag(Flag flag, int value);
    [LibraryImport(Library)] internal static partial nint adv_inference_enter(int on);
    [LibraryImport(Library)] internal static partial void adv_inference_exit(nint guard);

    [LibraryImport(Library)]
    internal static partial int adv_autocast_enter(int deviceType, int dtype, AutocastState* before);

    [LibraryImport(Library)] internal static partial int adv_autocast_exit(AutocastState* before);
    [LibraryImport(Library)] internal static partial int adv_default_dtype(int dtype);

    [LibraryImport(Library)]
    internal static partial nint adv_generator_default(int deviceType, int deviceIndex);

    [LibraryImport(Library)]
    internal static partial nint adv_generator_new(int deviceType, int deviceIndex, ulong seed);

    [LibraryImport(Library)] internal static partial void adv_generator_free(nint generator);
    [LibraryImport(Library)] internal static partial int adv_generator_set_seed(nint generator, ulong seed);
    [LibraryImport(Library)]
    internal static partial int adv_generator_seed(nint generator, int renew, ulong* seed);
    [LibraryImport(Library)] internal static partial int adv_generator_get_state(nint generator, nint* state);
    [LibraryImport(Library)] internal static partial int adv_generator_set_state(nint generator, nint state);

    [LibraryImport(Library)] internal static partial int adv_threads(int which, int n);

    [LibraryImport(Library)] internal static partial int adv_keep_memory();

    [LibraryImport(Library)] internal static partial int adv_device_count(int deviceType);
    [LibraryImport(Library)] internal static partial int adv_synchronize(int deviceType, int deviceIndex);
    [LibraryImport(Library)]
    internal static partial int adv_memory(int deviceType, int deviceIndex, long* bytes);
    [LibraryImport(Library)] internal static partial int adv_empty_cache(int deviceType);

    /// <summary>The message of the last failure on this thread.</summary>
    internal static string Error => Marshal.PtrToStringUTF8((nint)adv_error()) ?? "";

    /// <summary>Throws the last failure's message unless the call succeeded.</summary>
    internal static void Check(int done)
    {
        if (done == 0) throw new ExternalException(Error);
    }

    /// <summary>Throws the last failure's message where a handle is missing.</summary>
    internal static nint Check(nint handle) => handle != 0 ? handle : throw new ExternalException(Error);

    /// <summary>Throws the last failure's message where a number is negative.</summary>
    internal static int CheckNumber(int value) => value >= 0 ? value : throw new ExternalException(Error);
}
