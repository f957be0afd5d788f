using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench.Steps;

/// <summary>Whether all sides compute the same step. Ratios are of no use where they do not.</summary>
/// <remarks>
/// The reference is the published way in TorchSharp. The same operations in float32 give its loss and its adversarial
/// objective to 1e-5. Other operations in float32 give its gradient at the attack's first point to 1e-3; an attack
/// steps along signs, so rounding turns a few pixels, and its objective agrees to 1 % only, as with bfloat16.
/// </remarks>
internal static class Agreement
{
    private const double SameOperations = 1e-5;
    private const double Gradients = 1e-3;
    private const double Objectives = 1e-2;

    /// <summary>Prints how far the results are apart from those of the reference.</summary>
    /// <returns>Whether all agree.</returns>
    internal static bool Check(string recipe, IReadOnlyList<(Side Side, StepResults Results)> all)
    {
        var reference = all.Single(s => s.Side is { Library: Side.TorchSharp, Kind: Side.Published }).Results;
        var agree = true;
        foreach (var (side, results) in all)
        {
            var loss = Apart(results.Loss, reference.Loss);
            var reached = Apart(results.Reached, reference.Reached);
            var gradient = results.Gradient.Length == 0 ? (double?)null : Distance(results.Gradient, reference.Gradient);
            var agrees = side.HasSameOperations
                ? loss <= SameOperations && reached <= SameOperations
                : reached <= Objectives && (gradient is null || !side.IsFloat32 || gradient <= Gradients);
            Console.WriteLine(
                $"{recipe}, {side.Library} {side.Kind}: loss {results.Loss:F6} ({loss:G2} apart), adversarial objective "
                + $"{results.Reached:F6} ({reached:G2}), gradient in the images {gradient?.ToString("G2") ?? "unknown"}"
                + (agrees ? "" : ": DOES NOT AGREE"));
            agree &= agrees;
        }
        if (!agree) Console.Error.WriteLine($"{recipe}: the sides do not agree, so no ratio is given");
        return agree;
    }

    private static double Apart(double value, double reference) => Math.Abs(value - reference) / Math.Abs(reference);

    // Euclidean, as a part of the reference's norm.
    private static double Distance(float[] values, float[] reference)
    {
        if (values.Length != reference.Length) return double.PositiveInfinity;
        var difference = values.Zip(reference, (a, b) => Math.Pow((double)a - b, 2)).Sum();
        return Math.Sqrt(difference / reference.Sum(b => Math.Pow(b, 2)));
    }
}
