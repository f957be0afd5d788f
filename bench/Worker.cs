using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace AdvContrast.Bench;

/// <summary>A worker's process has ended before its time; it has printed the reason itself.</summary>
internal sealed class WorkerEndedException(string message) : Exception(message);

/// <summary>Whether malloc keeps the memory of freed tensors.</summary>
internal enum Malloc
{
    /// <summary>As AdvContrast sets it: freed memory is kept.</summary>
    Kept,

    /// <summary>As the C library has it by default.</summary>
    Default,
}

/// <summary>One side of a comparison, in a process of its own that computes only when asked.</summary>
internal sealed class Worker : IDisposable
{
    /// <summary>Python with PyTorch, for the peers in bench/peers.</summary>
    internal static readonly string Python =
        Environment.GetEnvironmentVariable("ADVCONTRAST_PYTHON") ?? "/usr/bin/python3";

    // The command that starts this program once more: by dotnet, or by its own launcher.
    private static readonly string[] Ourselves =
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [Environment.ProcessPath!, typeof(Worker).Assembly.Location]
            : [Environment.ProcessPath!];

    // mallopt's settings of the engine, for a process that the engine is not in.
    private static readonly Dictionary<string, string> KeptMemory = new()
    {
        ["MALLOC_MMAP_MAX_"] = "0",
        ["MALLOC_TRIM_THRESHOLD_"] = $"{int.MaxValue}",
        ["MALLOC_ARENA_MAX"] = "1",
    };

    private readonly Process process;

    private Worker(IEnumerable<string> command, int threads, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(command.First(), command.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (var variable in new[] { "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS" })
            start.Environment[variable] = $"{threads}";
        foreach (var (name, value) in environment) start.Environment[name] = value;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new UsageException($"{start.FileName} cannot be started: {e.Message}");
        }
        Torch = Ask(Requests.Version);
    }

    /// <summary>The version of libtorch in the process, and its number of threads.</summary>
    internal string Torch { get; }

    /// <summary>Starts this program with a command of its own.</summary>
    internal static Worker StartOurs(IEnumerable<string> command, int threads, Malloc malloc) =>
        new(
            [.. Ourselves, .. command], threads,
            new() { ["ADVCONTRAST_MALLOC"] = $"{malloc}".ToLowerInvariant() });

    /// <summary>Starts a peer in Python.</summary>
    internal static Worker StartPython(IEnumerable<string> command, int threads, Malloc malloc)
    {
        var environment = malloc == Malloc.Kept ? new(KeptMemory) : new Dictionary<string, string>();
        // OpenBLAS 0.3.21 does not know newer processors and takes its slowest kernels there.
        if (Avx512F.IsSupported) environment["OPENBLAS_CORETYPE"] = "SkylakeX";
        return new([Python, .. command], threads, environment);
    }

    /// <summary>Sends a request.</summary>
    /// <returns>The line that the process answers.</returns>
    internal string Ask(string request)
    {
        process.StandardInput.WriteLine(request);
        process.StandardInput.Flush();
        return process.StandardOutput.ReadLine()
            ?? throw new WorkerEndedException(
                $"{process.StartInfo.FileName} ended at the request '{request}'");
    }

    /// <summary>Seconds a call, over a number of calls.</summary>
    internal double Seconds(int calls) => Number(Ask($"{Requests.Time} {calls}"));

    /// <summary>The results of a first call: numbers, and a float32 array that comes in a file.</summary>
    internal (double[] Numbers, float[] Values) Check()
    {
        var file = Path.GetTempFileName();
        try
        {
            var words = Ask($"{Requests.Check} {file}").Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var numbers = Array.ConvertAll(words, Number);
            return (numbers, MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray());
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>
    /// The most memory that the process has had so far, in MiB, runtime and libraries included.
    /// </summary>
    internal double PeakMemory()
    {
        process.Refresh();
        return process.PeakWorkingSet64 / 1024.0 / 1024.0;
    }

    /// <summary>Ends the process: it reads no further request.</summary>
    public void Dispose()
    {
        process.StandardInput.Close();
        process.WaitForExit();
        process.Dispose();
    }

    private static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
}
