using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast;

/// <summary>What one check has come to.</summary>
public enum Verdict
{
    /// <summary>Nothing speaks against the classifier.</summary>
    Passed,

    /// <summary>Worth knowing; the figures stand.</summary>
    Warned,

    /// <summary>Something speaks against it, or against the attacks.</summary>
    Failed,

    /// <summary>The check could not be made.</summary>
    NotRun,
}

/// <summary>What an audit says of an evaluation as a whole.</summary>
public enum Finding
{
    /// <summary>No sign of masking.</summary>
    NoSign,

    /// <summary>Something looks like masked gradients, or like attacks too weak to tell.</summary>
    Suspicious,

    /// <summary>Accuracy under attack means nothing for this classifier.</summary>
    Invalid,
}

/// <summary>Something that a check measured.</summary>
/// <param name="What">What it is.</param>
/// <param name="Value">How much; of shares of images or steps 0 to 1.</param>
public sealed record Measure(string What, double Value);

/// <summary>One question about an evaluation, and its answer.</summary>
/// <param name="Number">1 to 18, as in docs/audit.md.</param>
/// <param name="Name">What it is about.</param>
/// <param name="Measures">What was measured.</param>
/// <param name="Value">The measures for people.</param>
/// <param name="Threshold">The threshold of the measures, in words.</param>
/// <param name="Verdict">What it has come to.</param>
/// <param name="Reason">Why it could not be made; null where it was.</param>
/// <param name="Images">Places of the images that speak against the classifier, of those given.</param>
public sealed record Check(
    int Number, string Name, IReadOnlyList<Measure> Measures, string Value, string Threshold, Verdict Verdict,
    string? Reason, IReadOnlyList<int> Images)
{
    internal static Check Of(Core.Audit.Check c) => new(
        c.Number, c.Name, [.. c.Measures.Select(m => new Measure(m.What, m.Value))], Core.Audit.CheckModule.told(c),
        c.Threshold, (Verdict)c.Verdict.Tag, (c.Verdict as Core.Audit.Verdict.NotRun)?.reason, [.. c.Images]);
}

/// <summary>What an audit found.</summary>
/// <param name="Finding">The whole in one word.</param>
/// <param name="Clean">Accuracy on the images as they are.</param>
/// <param name="Worst">Accuracy where an image counts as right if nothing within the threat broke it.</param>
/// <param name="Checks">The checks, by their numbers.</param>
/// <param name="Coverage">Which images it used; null where the caller gave them.</param>
/// <param name="Elapsed">How long it took from the call.</param>
public sealed record AuditResult(
    Finding Finding, Accuracy Clean, Accuracy Worst, IReadOnlyList<Check> Checks, Coverage? Coverage,
    TimeSpan Elapsed)
{
    internal static AuditResult Of(Core.Audit.Audited a, Coverage? coverage, TimeSpan elapsed) => new(
        (Finding)a.Finding.Tag, Accuracy.Of(a.Clean), Accuracy.Of(a.Worst), [.. a.Checks.Select(Check.Of)],
        coverage, elapsed);

    /// <summary>The check of that number, 1 to 18.</summary>
    /// <exception cref="InvalidOperationException">There is no such check.</exception>
    public Check this[int number] => Checks.First(check => check.Number == number);
}
