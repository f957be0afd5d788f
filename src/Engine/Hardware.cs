using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using TorchSharp;

namespace AdvContrast.Engine;

/// <summary>A device that libtorch can use.</summary>
/// <param name="Device">The device as TorchSharp names it.</param>
/// <param name="Name">The maker's name; the architecture where it is unknown.</param>
/// <param name="Memory">Bytes of memory; 0 where it is unknown.</param>
/// <param name="HasAvx512Bfloat16">Whether the processor multiplies bfloat16 vectors (AVX512_BF16).</param>
/// <param name="HasAmx">Whether the processor multiplies bfloat16 tiles (AMX_BF16).</param>
public sealed record DeviceDescription(
    torch.Device Device, string Name, long Memory, bool HasAvx512Bfloat16, bool HasAmx)
{
    /// <summary>Whether bfloat16 is faster than float32 on it.</summary>
    public bool HasFastBfloat16 => HasAvx512Bfloat16 || HasAmx || Device.type == DeviceType.CUDA;
}

/// <summary>The processor, the CUDA devices and the memory of this process.</summary>
public static class Hardware
{
    /// <summary>The CPU and each CUDA device.</summary>
    public static IReadOnlyList<DeviceDescription> Devices()
    {
        LibTorch.Load();
        var all = new List<DeviceDescription> { Cpu };
        for (var i = 0; i < torch.cuda.device_count(); i++) all.Add(Cuda(i));
        return all;
    }

    /// <summary>The CPU.</summary>
    public static DeviceDescription Cpu { get; } = new(
        torch.CPU, ProcessorName(), GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
        HasAvx512Bfloat16: Avx512F.IsSupported && HasFeature(subleaf: 1, register: 0, bit: 5),
        HasAmx: Avx512F.IsSupported && HasFeature(subleaf: 0, register: 3, bit: 22));

    /// <summary>The most resident memory that this process has had, in bytes; 0 where it is unknown.</summary>
    public static long PeakMemory()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    // Leaf 7 of CPUID (Intel's and AMD's manuals): extended features.
    private static bool HasFeature(int subleaf, int register, int bit)
    {
        if (!X86Base.IsSupported || X86Base.CpuId(0, 0).Eax < 7) return false;
        if (subleaf > X86Base.CpuId(7, 0).Eax) return false;
        var (a, b, c, d) = X86Base.CpuId(7, subleaf);
        return ((new[] { a, b, c, d }[register] >> bit) & 1) != 0;
    }

    // Leaves 0x80000002 to 0x80000004 of CPUID: the brand string.
    private static string ProcessorName()
    {
        const uint first = 0x80000002, last = 0x80000004;
        if (!X86Base.IsSupported || (uint)X86Base.CpuId(unchecked((int)0x80000000), 0).Eax < last)
            return RuntimeInformation.ProcessArchitecture.ToString();
        var text = new List<int>();
        for (var leaf = first; leaf <= last; leaf++)
        {
            var (a, b, c, d) = X86Base.CpuId((int)leaf, 0);
            text.AddRange([a, b, c, d]);
        }
        return Encoding.ASCII.GetString(MemoryMarshal.AsBytes<int>(text.ToArray())).Trim('\0', ' ');
    }

    // From the driver: TorchSharp has neither name nor size of a CUDA device.
    private static unsafe DeviceDescription Cuda(int index)
    {
        var unknown = new DeviceDescription(
            new torch.Device(DeviceType.CUDA, index), "CUDA device", 0, HasAvx512Bfloat16: false, HasAmx: false);
        var file = OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";
        if (!NativeLibrary.TryLoad(file, out var driver)) return unknown;
        nint Export(string name) => NativeLibrary.GetExport(driver, name);
        var initialise = (delegate* unmanaged<uint, int>)Export("cuInit");
        var getDevice = (delegate* unmanaged<int*, int, int>)Export("cuDeviceGet");
        var getName = (delegate* unmanaged<byte*, int, int, int>)Export("cuDeviceGetName");
        var getMemory = (delegate* unmanaged<nuint*, int, int>)Export("cuDeviceTotalMem_v2");
        const int longestName = 256;
        var text = stackalloc byte[longestName];
        int device = 0;
        nuint memory = 0;
        var succeeded = initialise(0) == 0 && getDevice(&device, index) == 0
            && getName(text, longestName, device) == 0 && getMemory(&memory, device) == 0;
        return succeeded
            ? unknown with { Name = Marshal.PtrToStringUTF8((nint)text)!, Memory = (long)memory }
            : unknown;
    }
}
