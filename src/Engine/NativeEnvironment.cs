using System;
using System.Globalization;
using System.Runtime.InteropServices;

namespace AdvContrast.Engine;

/// <summary>The environment that native libraries read; .NET's own is a copy that they do not see.</summary>
internal static partial class NativeEnvironment
{
    /// <summary>
    /// Lets libtorch use as many threads as the process has processors, unless the environment sets a number.
    /// libtorch's own default is the number of physical cores.
    /// </summary>
    internal static void UseAllProcessors()
    {
        if (OperatingSystem.IsWindows()) return;
        var threads = Environment.ProcessorCount.ToString(CultureInfo.InvariantCulture);
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("MKL_NUM_THREADS")))
            _ = setenv("OMP_NUM_THREADS", threads, overwrite: 0);
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
