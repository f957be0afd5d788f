using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace AdvContrast.Bench.AutoAttack;

/// <summary>
/// AutoAttack's standard version on CIFAR-10 beside the same forward and backward passes alone, written out
/// in TorchSharp or in PyTorch: what the attack itself costs. All in float32.
/// </summary>
/// <remarks>
/// <c>autoattack ENCODER.safetensors CIFAR10-FOLDER linf:8/255 200 [--pairs 3] [--threads 1] [--python]</c>,
/// where the encoder is a ResNet-18 that <c>advcontrast export</c> wrote.
/// </remarks>
internal static class Comparison
{
    private const double Same = 1e-4;
    private const string Peer = "bench/peers/autoattack.py";

    /// <summary>Compares. 1 where the sides do not compute the same logits.</summary>
    internal static int Run(string[] args)
    {
        var options = new Options(args, ["--pairs", "--threads"], ["--python"]);
        if (options.Words.Count != 4)
            throw new UsageException("usage: autoattack ENCODER.safetensors CIFAR10-FOLDER THREAT IMAGES");
        var (pairs, threads) = (options.Number("--pairs", 3, 1), options.Number("--threads", 1, 1));
        var file = Path.GetTempFileName();
        try
        {
            using var ours = Worker.StartOurs(
                [AttackWorker.Command, .. options.Words, $"{threads}"], threads, Malloc.Kept);
            ours.Ask($"{AttackWorker.Write} {file}");
            List<double> attacks = [ours.Seconds(1)];
            var made = ours.Ask(AttackWorker.Made);
            string[] arguments = [file, made, $"{threads}"];
            using var other = options.Has("--python")
                ? Worker.StartPython([Peer, .. arguments], threads, Malloc.Kept)
                : Worker.StartOurs([PassesWorker.Command, .. arguments], threads, Malloc.Kept);
            var apart = ours.Check().Values.Zip(other.Check().Values, (a, b) => Math.Abs(a - b)).Max();
            if (apart > Same)
            {
                Console.Error.WriteLine($"the logits are {apart:G2} apart: it is not the same network");
                return 1;
            }
            List<double> passes = [other.Seconds(1)];
            // Another pair has the other order, so that neither side is always the first.
            for (var pair = 1; pair < pairs; pair++)
            {
                if (pair % 2 == 0) attacks.Add(ours.Seconds(1));
                passes.Add(other.Seconds(1));
                if (pair % 2 == 1) attacks.Add(ours.Seconds(1));
            }
            Print(ours.Ask(AttackWorker.Right), Passes.Parse(made), attacks, passes);
            return 0;
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static void Print(string right, List<Passes> made, List<double> attacks, List<double> passes)
    {
        var back = made.FindAll(p => p.WithGradient);
        Console.WriteLine($"images that are right, before and after each attack: {right}");
        Console.WriteLine($"passes: {made.Sum(p => p.Calls)} forward, {back.Sum(p => p.Calls)} of them back");
        Console.WriteLine(
            $"images: {made.Sum(p => p.Rows * p.Calls)} forward, "
            + $"{back.Sum(p => p.Rows * p.Calls)} of them back");
        Console.WriteLine($"AutoAttack {Text(attacks)}; the passes alone {Text(passes)}");
        var ratios = attacks.Zip(passes, (a, b) => 100 * (a / b - 1)).Order().ToList();
        Console.WriteLine($"overhead {ratios[ratios.Count / 2]:F1} % ({ratios[0]:F1} to {ratios[^1]:F1})");
    }

    private static string Text(List<double> seconds) => string.Join(", ", seconds.Select(s => $"{s:F1} s"));
}
