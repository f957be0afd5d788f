using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using TorchSharp;

namespace AdvContrast.Torch.Engine;

/// <summary>What the operating system says about the machine and this process.</summary>
internal static class Machine
{
    internal static DeviceDescription Cpu()
    {
        var lines = Lines("/proc/cpuinfo");
        var name = Value(lines, "model name") ?? RuntimeInformation.ProcessArchitecture.ToString();
        var flags = (Value(lines, "flags") ?? "").Split(' ');
        return new DeviceDescription(
            torch.CPU, name, Kilobytes(Lines("/proc/meminfo"), "MemTotal"), torch.get_num_threads(),
            flags.Contains("avx512_bf16"), flags.Contains("amx_bf16"));
    }

    /// <summary>Resident bytes of this process, now and at most.</summary>
    internal static MemoryStatistics Process()
    {
        var lines = Lines("/proc/self/status");
        var resident = Kilobytes(lines, "VmRSS");
        return new MemoryStatistics(resident, Kilobytes(lines, "VmHWM"), resident);
    }

    /// <summary>
    /// A CUDA device's name and bytes, from the driver: libtorch tells neither without CUDA's headers.
    /// </summary>
    internal static unsafe DeviceDescription Cuda(int index)
    {
        var device = new torch.Device(DeviceType.CUDA, index);
        var unknown = new DeviceDescription(device, "CUDA device", 0, 0, false, false);
        if (!NativeLibrary.TryLoad("libcuda.so.1", out var driver)) return unknown;
        nint Export(string name) => NativeLibrary.GetExport(driver, name);
        var init = (delegate* unmanaged<uint, int>)Export("cuInit");
        var get = (delegate* unmanaged<int*, int, int>)Export("cuDeviceGet");
        var getName = (delegate* unmanaged<byte*, int, int, int>)Export("cuDeviceGetName");
        var getTotal = (delegate* unmanaged<nuint*, int, int>)Export("cuDeviceTotalMem_v2");
        const int longestName = 256;
        var text = stackalloc byte[longestName];
        int handle;
        nuint total;
        if (init(0) != 0 || get(&handle, index) != 0 || getName(text, longestName, handle) != 0
            || getTotal(&total, handle) != 0) return unknown;
        return unknown with { Name = Marshal.PtrToStringUTF8((nint)text)!, Memory = (long)total };
    }

    private static string[] Lines(string file) => File.Exists(file) ? File.ReadAllLines(file) : [];

    private static string? Value(string[] lines, string key) =>
        lines.FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?.Split(':', 2)[1].Trim();

    private static long Kilobytes(string[] lines, string key) =>
        Value(lines, key)?.Split(' ')[0] is { } number && long.TryParse(number,
            out var count) ? count * 1024 : 0;
}
