using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench.Steps;

/// <summary>Whether all sides compute the same step. Ratios are of no use where they do not.</summary>
/// <remarks>
/// The reference is the published way in TorchSharp. In float32, the same operations give its loss and its
/// objective on shared images to 1e-5, and others its gradient to 1e-3 in the median image. The gradients of
/// a few images differ more, whatever computes them: rounding opens or closes ReLUs whose input is as small
/// as the rounding. Attacks step along signs, so the objectives that they reach, in bfloat16 too, agree to
/// 1 %.
/// </remarks>
internal static class Agreement
{
    private const double Values = 1e-5;
    private const double MedianGradient = 1e-3;
    private const double AllGradients = 1e-2;
    private const double Attacks = 1e-2;

    /// <summary>Prints the distances from the reference.</summary>
    /// <returns>Whether all sides agree.</returns>
    internal static bool Check(string recipe, IReadOnlyList<(Side Side, StepResults Results)> all)
    {
        var (_, reference) = all.Single(
            s => s.Side is { Library: Library.TorchSharp, Kind: Side.Published });
        Console.WriteLine(
            "| step | side | loss | objective | gradient: median image | all | objective reached |");
        Console.WriteLine("|---|---|---:|---:|---:|---:|---:|");
        var agree = true;
        foreach (var (side, results) in all)
        {
            var loss = Apart(results.Loss, reference.Loss);
            var objective = Apart(results.Objective, reference.Objective);
            var gradient = Distance(results.Gradient, reference.Gradient);
            var median = MedianDistance(results.Gradient, reference.Gradient);
            var reached = Apart(results.Reached, reference.Reached);
            var agrees = reached <= Attacks
                && (!side.IsFloat32 || (median <= MedianGradient && gradient <= AllGradients))
                && (!side.HasSameOperations || (loss <= Values && objective <= Values));
            Console.WriteLine(
                $"| {recipe} | {side.Library} {side.Kind} | {results.Loss:F5} ({loss:G2}) "
                + $"| {results.Objective:F5} ({objective:G2}) | {median:G2} | {gradient:G2} "
                + $"| {results.Reached:F5} ({reached:G2}) |"
                + (agrees ? "" : " does not agree"));
            agree &= agrees;
        }
        if (!agree) Console.Error.WriteLine($"{recipe}: the sides do not agree, so no ratio is given");
        return agree;
    }

    private static double Apart(double value, double reference) =>
        Math.Abs(value - reference) / Math.Abs(reference);

    // Euclidean, as a part of the reference's norm.
    private static double Distance(ReadOnlySpan<float> values, ReadOnlySpan<float> reference)
    {
        if (values.Length != reference.Length) return double.PositiveInfinity;
        double difference = 0, norm = 0;
        for (var i = 0; i < values.Length; i++)
        {
            difference += Math.Pow((double)values[i] - reference[i], 2);
            norm += Math.Pow(reference[i], 2);
        }
        return Math.Sqrt(difference / norm);
    }

    // Of the distances of the images.
    private static double MedianDistance(float[] values, float[] reference)
    {
        if (values.Length != reference.Length) return double.PositiveInfinity;
        var distances = values.Chunk(Recipe.Numbers)
            .Zip(reference.Chunk(Recipe.Numbers), (a, b) => Distance(a, b))
            .Order()
            .ToList();
        return distances[distances.Count / 2];
    }
}
