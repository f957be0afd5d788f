using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace AdvContrast.Bench;

/// <summary>A side's process ended although it was to go on: what PyTorch lacks, it has said itself.</summary>
internal sealed class SideEndedException(string message) : Exception(message);

/// <summary>One side of a comparison, in a process of its own that computes only when asked.</summary>
internal sealed class Side : IDisposable
{
    internal static readonly string Python =
        Environment.GetEnvironmentVariable("ADVCONTRAST_PYTHON") ?? "/usr/bin/python3";

    /// <summary>
    /// The command that starts this program once more: dotnet's, or its own where it lies beside its runtime.
    /// </summary>
    internal static readonly string[] Ourselves =
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [Environment.ProcessPath!, typeof(Side).Assembly.Location]
            : [Environment.ProcessPath!];

    private readonly Process process;

    /// <summary>Both sides get the same threads, for libtorch and for the BLAS under it, and the same BLAS.</summary>
    internal Side(string[] command, int threads)
    {
        var start = new ProcessStartInfo(command[0], command[1..])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (var variable in new[] { "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS" })
            start.Environment[variable] = threads.ToString();
        // as the binding does: OpenBLAS alone may not know the processor
        if (Avx512F.IsSupported) start.Environment.TryAdd("OPENBLAS_CORETYPE", "SkylakeX");
        process = Process.Start(start)!;
        Torch = Ask("start");
    }

    /// <summary>Version of libtorch, and its number of threads.</summary>
    internal string Torch { get; }

    /// <summary>Whether this side has what it was asked for.</summary>
    internal bool Has => Torch != "none";

    /// <summary>Seconds a call.</summary>
    internal double Seconds(int calls) => Number(Ask($"time {calls}"));

    /// <summary>The loss and its gradient.</summary>
    internal (double Loss, float[] Gradient) Check()
    {
        var file = Path.GetTempFileName();
        try
        {
            var loss = Number(Ask($"check {file}"));
            return (loss, MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray());
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>The most memory that the process has had so far, in MiB: VmHWM.</summary>
    internal double PeakMemory()
    {
        var line = File.ReadLines($"/proc/{process.Id}/status").First(line => line.StartsWith("VmHWM:"));
        return Number(line.Split(':')[1].Replace("kB", "")) / 1024;
    }

    /// <summary>The most memory that its tensors have had on a card so far, in MiB.</summary>
    internal double PeakOnCard() => Number(Ask("peak")) / 1024 / 1024;

    /// <summary>Ends the process: it reads no further request.</summary>
    public void Dispose()
    {
        process.StandardInput.Close();
        process.WaitForExit();
        process.Dispose();
    }

    internal string Ask(string request)
    {
        process.StandardInput.WriteLine(request);
        process.StandardInput.Flush();
        return process.StandardOutput.ReadLine()
            ?? throw new SideEndedException($"{process.StartInfo.FileName} ended at '{request}'");
    }

    internal static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
}
