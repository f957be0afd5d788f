using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench.AutoAttack;

/// <summary>
/// Calls of a classifier with a number of images, forward alone or with the gradient in the images.
/// </summary>
internal sealed record Passes(long Rows, bool WithGradient, int Calls)
{
    /// <summary>Passes as one word of a command line: rows, gradient, calls.</summary>
    internal static string Text(IEnumerable<Passes> all) =>
        string.Join(',', all.Select(p => $"{p.Rows}:{(p.WithGradient ? 1 : 0)}:{p.Calls}"));

    internal static List<Passes> Parse(string text) =>
    [
        .. text.Split(',')
            .Select(p => p.Split(':'))
            .Select(p => new Passes(long.Parse(p[0]), p[1] == "1", int.Parse(p[2]))),
    ];
}
