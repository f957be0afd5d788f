using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench.Steps;

/// <summary>Prints figures of sides as tables in Markdown.</summary>
internal static class Report
{
    /// <summary>
    /// Prints each side's figures, and the ratios of AdvContrast's sides to those that they are beside.
    /// </summary>
    internal static void Print(string recipe, List<Side> sides, List<Figures> figures)
    {
        Console.WriteLine();
        Console.WriteLine("| step | side | libtorch, threads | time | GFLOP/s | peak memory |");
        Console.WriteLine("|---|---|---|---:|---:|---:|");
        foreach (var f in figures)
        {
            Console.WriteLine(
                $"| {recipe} | {f.Side} | {f.Torch.Replace(" ", ", ")} | {f.Median:F3} s "
                + $"({f.Seconds.Min():F3} to {f.Seconds.Max():F3}) | {f.GigaFlops:F0} "
                + $"| {f.PeakMemory:F0} MiB |");
        }
        Console.WriteLine();
        Console.WriteLine("| step | side | beside | speed | pairs | memory |");
        Console.WriteLine("|---|---|---|---:|---:|---:|");
        var all = sides.Zip(figures, (side, f) => (Side: side, Figures: f)).ToList();
        foreach (var own in all.Where(s => s.Side.Library == Library.Ours))
        {
            foreach (var other in all.Where(s => IsBeside(own.Side, s.Side)))
            {
                var speed = own.Figures.SpeedOver(other.Figures);
                Console.WriteLine(
                    $"| {recipe} | {own.Side} | {other.Side} | {speed[speed.Count / 2]:F2} "
                    + $"| {speed[0]:F2} to {speed[^1]:F2} "
                    + $"| {own.Figures.PeakMemory / other.Figures.PeakMemory:F2} |");
            }
        }
        Console.WriteLine();
    }

    // What trains by default is compared with the other ways to train, and what has every trick off with the
    // same operations.
    private static bool IsBeside(Side own, Side other) =>
        other.Library != Library.Ours && (own.Kind == Side.Plain) == (other.Kind == Side.Plain);
}
