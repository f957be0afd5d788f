using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;

namespace AdvContrast.Bench.Kernel;

/// <summary>
/// Contrastive losses, forward and backward in float32, beside the same losses written out in TorchSharp, or
/// in PyTorch: time and memory, as ratios.
/// </summary>
/// <remarks><c>kernel [NAME ...] [--python]</c></remarks>
internal static class Comparison
{
    private const int Width = 128;
    private const int Threads = 1;
    private const int Rounds = 3;
    private const int PairsARound = 3;
    private const int WarmUp = 20;
    private const double LongEnough = 0.3;
    private const double Same = 1e-5;
    private const string Peer = "bench/peers/kernel.py";
    private const string Results = "bench/results/kernel.json";

    private static readonly int[] Embeddings = [512, 1024, 4096];

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    /// <summary>What was measured of a side.</summary>
    internal sealed record Figures(string Library, string Torch)
    {
        /// <summary>Milliseconds a call, one value a pair.</summary>
        public List<double> Milliseconds { get; } = [];

        /// <summary>The most memory of its processes before the first call and in all, in MiB.</summary>
        public double StartMemory { get; set; }
        public double PeakMemory { get; set; }

        internal double Median => Milliseconds.Order().ElementAt(Milliseconds.Count / 2);
    }

    /// <summary>A loss of a number of embeddings on both sides, or on ours alone.</summary>
    internal sealed record Row(string Loss, int Embeddings, Figures Ours, Figures? Other)
    {
        /// <summary>The distance of the losses and of the gradients, as parts of the other side's.</summary>
        public double? LossDistance { get; init; }
        public double? GradientDistance { get; init; }

        /// <summary>Whether it differs by more than the rounding of sums in another order.</summary>
        internal bool Differs => LossDistance > Same || GradientDistance > Same;
    }

    /// <summary>Compares the losses named, or all. 1 where the sides do not agree.</summary>
    internal static int Run(string[] args)
    {
        var options = new Options(args, [], ["--python"]);
        var losses = options.Choose("loss", Loss.All, loss => loss.Name);
        var other = options.Has("--python") ? Library.PyTorch : Library.TorchSharp;

        Console.WriteLine(
            $"| loss | embeddings | ours | {other} | speed | pairs | our peak | its | memory |");
        Console.WriteLine("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        var rows = new List<Row>();
        foreach (var loss in losses)
        {
            foreach (var embeddings in Embeddings)
            {
                rows.Add(Compare(loss, embeddings, loss.ByHand is null ? null : other));
                Console.WriteLine(Text(rows[^1]));
            }
        }
        if (rows.Exists(row => row.Differs)) return 1;

        Directory.CreateDirectory(Path.GetDirectoryName(Results)!);
        File.WriteAllText(Results, JsonSerializer.Serialize(rows, Json) + "\n");
        return 0;
    }

    private static Row Compare(Loss loss, int embeddings, string? library)
    {
        Row row;
        int calls;
        using (var ours = Start(Library.Ours, loss, embeddings))
        using (var other = library is null ? null : Start(library, loss, embeddings))
        {
            ours.Seconds(WarmUp);
            calls = Math.Max(1, (int)(LongEnough / ours.Seconds(3)));
            row = new(loss.Name, embeddings, new(Library.Ours, ours.Torch), null);
            if (other is not null)
            {
                var (own, its) = (ours.Check(), other.Check());
                row = row with
                {
                    Other = new(library!, other.Torch),
                    LossDistance = Math.Abs(own.Numbers[0] - its.Numbers[0]) / Math.Abs(its.Numbers[0]),
                    GradientDistance = Distance(own.Values, its.Values),
                };
            }
        }
        // The place of its memory makes a process faster or slower for good, so there are several.
        for (var round = 0; round < Rounds && !row.Differs; round++) Measure(loss, row, calls);
        return row;
    }

    private static Worker Start(string library, Loss loss, int embeddings)
    {
        string[] arguments =
            [loss.Name, .. new[] { loss.Views, embeddings / loss.Views, Width, Threads }.Select(n => $"{n}")];
        return library == Library.PyTorch
            ? Worker.StartPython([Peer, .. arguments], Threads, Malloc.Kept)
            : Worker.StartOurs([LossWorker.Command, library, .. arguments], Threads, Malloc.Kept);
    }

    /// <summary>Times both sides in turn, in new processes.</summary>
    private static void Measure(Loss loss, Row row, int calls)
    {
        var figures = row.Other is null ? [row.Ours] : new List<Figures> { row.Ours, row.Other };
        var sides = figures.ConvertAll(
            side => (Figures: side, Worker: Start(side.Library, loss, row.Embeddings)));
        foreach (var (side, worker) in sides)
        {
            side.StartMemory = Math.Max(side.StartMemory, worker.PeakMemory());
            worker.Seconds(WarmUp);
        }
        for (var pair = 0; pair < PairsARound; pair++)
        {
            foreach (var (side, worker) in sides) side.Milliseconds.Add(worker.Seconds(calls) * 1000);
            // Another pair has the other order.
            sides.Reverse();
        }
        foreach (var (side, worker) in sides)
        {
            side.PeakMemory = Math.Max(side.PeakMemory, worker.PeakMemory());
            worker.Dispose();
        }
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
            return $"{row.Loss} of {row.Embeddings} embeddings does not agree: the losses are "
                + $"{row.LossDistance:G2} apart, the gradients {row.GradientDistance:G2}";
        }
        var (ours, other) = (row.Ours, row.Other);
        var start = $"| {row.Loss} | {row.Embeddings} | {ours.Median:F2} ms";
        if (other is null) return $"{start} | | | | {ours.PeakMemory:F0} MiB | | |";
        var pairs = other.Milliseconds.Zip(ours.Milliseconds, (b, a) => b / a).Order().ToList();
        var speed = $"{pairs[pairs.Count / 2]:F2} | {pairs[0]:F2} to {pairs[^1]:F2}";
        var (peak, its) = (ours.PeakMemory, other.PeakMemory);
        return $"{start} | {other.Median:F2} ms | {speed} | {peak:F0} MiB | {its:F0} MiB | {peak / its:F2} |";
    }
}
