using System;
using System.Diagnostics;
using TorchSharp;

namespace AdvContrast.Bench;

/// <summary>The same by a stopwatch, in seconds: the median of several runs.</summary>
internal static class Quick
{
    private const int Runs = 15;
    private const int Calls = 200_000;

    internal static void Run()
    {
        var add = new Add();
        Console.WriteLine($"add of two tensors  {Nanoseconds(add.Tensors):F0} ns");
        Console.WriteLine($"add of a number     {Nanoseconds(add.Number):F0} ns");
    }

    /// <summary>Nanoseconds a call, freeing included.</summary>
    private static double Nanoseconds(Action call)
    {
        var times = new double[Runs];
        for (var run = 0; run < Runs; run++)
        {
            using var scope = torch.NewDisposeScope();
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < Calls; i++) call();
            times[run] = Stopwatch.GetElapsedTime(start).TotalNanoseconds / Calls;
        }
        Array.Sort(times);
        return times[Runs / 2];
    }
}
