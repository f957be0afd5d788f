using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;

namespace AdvContrast.Bench.Kernel;

/// <summary>
/// The kernel's losses, forward and backward in float32, beside plain PyTorch: time and memory, as ratios.
/// </summary>
internal static class Comparison
{
    private const int Width = 128;
    private const int Threads = 1;
    private const int Rounds = 3;
    private const int PairsARound = 3;
    private const int WarmUp = 20;
    private const double LongEnough = 0.3;
    private const string Peer = "bench/peers/kernel.py";
    private const string Results = "bench/results/kernel.json";

    private static readonly int[] Embeddings = [512, 1024, 4096];

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    /// <summary>One side: milliseconds a call, in turn, and the most memory that it took, in MiB.</summary>
    internal sealed record Figures(string Torch, List<double> Milliseconds)
    {
        public double Start { get; set; }
        public double Peak { get; set; }

        internal double Median => Milliseconds.Order().ElementAt(Milliseconds.Count / 2);

        internal void Time(Side side, int calls) => Milliseconds.Add(side.Seconds(calls) * 1000);
    }

    /// <summary>A loss of so many embeddings, on both sides where PyTorch has it.</summary>
    internal sealed record Row(string Loss, int Embeddings)
    {
        public Figures? Ours { get; init; }
        public Figures? PyTorch { get; init; }

        /// <summary>How far apart the losses are, and the gradients, as parts of PyTorch's.</summary>
        public double? LossDifference { get; init; }
        public double? GradientDifference { get; init; }

        /// <summary>PyTorch's median time over ours, and our peak over PyTorch's.</summary>
        public double? Speed => PyTorch?.Median / Ours?.Median;
        public double? Memory => Ours?.Peak / PyTorch?.Peak;

        /// <summary>What differs by more than sums in another order do is another function.</summary>
        internal bool Differs => LossDifference > 1e-5 || GradientDifference > 1e-5;
    }

    /// <summary>Compares the losses named, or all. 1 where the two sides do not agree.</summary>
    internal static int Run(string[] names)
    {
        var losses = Loss.All.Where(loss => names.Length == 0 || names.Contains(loss.Name)).ToList();
        var unknown = names.Except(losses.Select(loss => loss.Name)).ToList();
        if (unknown.Count > 0)
        {
            var known = string.Join(", ", Loss.All.Select(loss => loss.Name));
            Console.Error.WriteLine($"no loss is called {unknown[0]}; there are: {known}");
            return 2;
        }

        Console.WriteLine("| loss | embeddings | ours | PyTorch | speed | pairs | our peak | its | memory |");
        Console.WriteLine("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        var rows = new List<Row>();
        foreach (var loss in losses)
        {
            foreach (var embeddings in Embeddings)
            {
                try
                {
                    rows.Add(Compare(loss, embeddings));
                }
                catch (SideEndedException e)
                {
                    Console.Error.WriteLine(e.Message);
                    return 1;
                }
                Console.WriteLine(Text(rows[^1]));
            }
        }
        if (rows.Exists(row => row.Differs)) return 1;

        Directory.CreateDirectory(Path.GetDirectoryName(Results)!);
        File.WriteAllText(Results, JsonSerializer.Serialize(rows, Json) + "\n");
        return 0;
    }

    private static Row Compare(Loss loss, int embeddings)
    {
        var row = new Row(loss.Name, embeddings);
        int calls;
        using (var ours = Ours(loss, embeddings))
        using (var theirs = Theirs(loss, embeddings))
        {
            ours.Seconds(WarmUp);
            calls = Math.Max(1, (int)(LongEnough / ours.Seconds(3)));
            row = row with { Ours = new(ours.Torch, []) };
            if (theirs.Has)
            {
                var (mine, its) = (ours.Check(), theirs.Check());
                row = row with
                {
                    PyTorch = new(theirs.Torch, []),
                    LossDifference = Math.Abs(mine.Loss - its.Loss) / Math.Abs(its.Loss),
                    GradientDifference = Distance(mine.Gradient, its.Gradient),
                };
            }
        }

        // Where memory happens to lie makes a process faster or slower for good, so there are several.
        for (var round = 0; round < Rounds && !row.Differs; round++) Measure(loss, row, calls);
        return row;
    }

    private static Side Ours(Loss loss, int embeddings) =>
        Start(loss, embeddings, [.. Side.Ourselves, Answers.Command]);

    private static Side Theirs(Loss loss, int embeddings) => Start(loss, embeddings, Side.Python, Peer);

    private static Side Start(Loss loss, int embeddings, params string[] command) =>
        new([.. command, loss.Name, .. Numbers(loss, embeddings)], Threads);

    private static IEnumerable<string> Numbers(Loss loss, int embeddings) =>
        new[] { loss.Views, embeddings / loss.Views, Width, Threads }.Select(number => number.ToString());

    /// <summary>Times both sides in turn, in processes of their own.</summary>
    private static void Measure(Loss loss, Row row, int calls)
    {
        using var ours = Ours(loss, row.Embeddings);
        using var theirs = row.PyTorch is null ? null : Theirs(loss, row.Embeddings);
        var both = new List<(Figures Figures, Side Side)> { (row.Ours!, ours) };
        if (theirs is not null) both.Add((row.PyTorch!, theirs));

        foreach (var (figures, side) in both)
        {
            figures.Start = Math.Max(figures.Start, side.PeakMemory());
            side.Seconds(WarmUp);
        }
        for (var pair = 0; pair < PairsARound; pair++)
        {
            foreach (var (figures, side) in both) figures.Time(side, calls);
            // Turn about, so that neither is always the second.
            both.Reverse();
        }
        foreach (var (figures, side) in both) figures.Peak = Math.Max(figures.Peak, side.PeakMemory());
    }

    /// <summary>The largest difference, as a part of the largest value.</summary>
    private static double Distance(float[] a, float[] b) =>
        a.Length != b.Length
            ? double.PositiveInfinity
            : a.Zip(b, (x, y) => (double)MathF.Abs(x - y)).Max() / b.Max(MathF.Abs);

    private static string Text(Row row)
    {
        if (row.Differs)
        {
            return $"{row.Loss} of {row.Embeddings} embeddings is not PyTorch's: the losses are "
                + $"{row.LossDifference:G2} apart, the gradients {row.GradientDifference:G2}";
        }

        var (ours, peer) = (row.Ours!, row.PyTorch);
        var start = $"| {row.Loss} | {row.Embeddings} | {ours.Median:F2} ms";
        if (peer is null) return $"{start} | | | | {ours.Peak:F0} MiB | | |";

        var pairs = peer.Milliseconds.Zip(ours.Milliseconds, (its, mine) => its / mine).Order().ToList();
        return $"{start} | {peer.Median:F2} ms | {row.Speed:F2} | {pairs[0]:F2} to {pairs[^1]:F2} "
            + $"| {ours.Peak:F0} MiB | {peer.Peak:F0} MiB | {row.Memory:F2} |";
    }
}
