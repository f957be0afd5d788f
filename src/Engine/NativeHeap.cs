using System;
using System.Linq;
using System.Runtime.InteropServices;

namespace AdvContrast.Engine;

/// <summary>How glibc's malloc treats the memory of freed tensors.</summary>
internal static partial class NativeHeap
{
    // Names and numbers of malloc.h.
    private const int TrimThreshold = -1;
    private const int MaximumOfMappings = -4;
    private const int MaximumOfArenas = -8;

    private static readonly string[] Settings =
    [
        "GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
        "MALLOC_ARENA_MAX",
    ];

    /// <summary>
    /// Keeps the memory of freed tensors for the next ones, on Linux with glibc, unless the environment sets malloc
    /// or <c>ADVCONTRAST_MALLOC=default</c>. Without it each large tensor gets new pages, which the system clears
    /// first; on virtual machines that takes longer than float32 convolutions.
    /// </summary>
    internal static void KeepFreedMemory()
    {
        if (!OperatingSystem.IsLinux() || Environment.GetEnvironmentVariable("ADVCONTRAST_MALLOC") == "default") return;
        if (Settings.Any(name => !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(name)))) return;
        try
        {
            _ = mallopt(MaximumOfMappings, 0);
            _ = mallopt(TrimThreshold, int.MaxValue);
            _ = mallopt(MaximumOfArenas, 1);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library than glibc has no mallopt.
        }
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);
}
