using System;
using System.Linq;

namespace AdvContrast.Bench.Converge;

/// <summary>
/// Whether training in bfloat16 reaches the losses of training in float32: the mean loss of the last steps
/// lies within two standard deviations of those of three float32 runs with other seeds.
/// </summary>
/// <remarks><c>converge [--steps 200] [--threads 2]</c></remarks>
internal static class Comparison
{
    private const int Last = 50;
    private const double Deviations = 2;

    private static readonly int[] Seeds = [1, 2, 3];

    /// <summary>Trains, and prints the losses. 1 where bfloat16 differs.</summary>
    internal static int Run(string[] args)
    {
        var options = new Options(args, ["--steps", "--threads"], []);
        var (steps, threads) = (options.Number("--steps", 200, Last), options.Number("--threads", 2, 1));
        Console.WriteLine(
            $"| precision | seed | first loss | mean loss of the last {Last} of {steps} steps |");
        Console.WriteLine("|---|---:|---:|---:|");
        var reference = Seeds.Select(seed => Train("float32", seed, steps, threads)).ToList();
        var low = Train("bfloat16", Seeds[0], steps, threads);

        var mean = reference.Average();
        var deviation = Math.Sqrt(reference.Sum(x => (x - mean) * (x - mean)) / (reference.Count - 1));
        var apart = Math.Abs(low - mean) / deviation;
        Console.WriteLine();
        Console.WriteLine(
            $"float32: mean {mean:F4}, standard deviation {deviation:F4}; "
            + $"bfloat16 is {apart:F2} standard deviations apart");
        return apart <= Deviations ? 0 : 1;
    }

    private static double Train(string precision, int seed, int steps, int threads)
    {
        using var worker = Worker.StartOurs(
            [TrainingWorker.Command, precision, $"{seed}", $"{steps}", $"{threads}"], threads, Malloc.Kept);
        var losses = worker.Check().Values;
        var mean = losses[^Last..].Average(x => (double)x);
        Console.WriteLine($"| {precision} | {seed} | {losses[0]:F4} | {mean:F4} |");
        return mean;
    }
}
