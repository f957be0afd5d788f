using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast;

/// <summary>How far an evaluation is.</summary>
/// <param name="Stage"><c>"linear layer"</c>, or the name of the attack.</param>
/// <param name="Share">The share of the stage that is done, 0 to 1.</param>
public sealed record EvaluationProgress(string Stage, double Share);

/// <summary>
/// Query counts of attacks and statistics of the images that they produced.
/// </summary>
/// <param name="Forwards">Forward passes, each counted for every image in it.</param>
/// <param name="Gradients">Gradients, counted likewise.</param>
/// <param name="ZeroGradients">Images of which some gradient was 0 everywhere.</param>
/// <param name="NotFinite">Images whose <c>"logits"</c>, <c>"loss"</c> or <c>"gradient"</c> were not finite at
/// some point.</param>
/// <param name="Furthest">The furthest of a stored image from its original, in the threat's norm.</param>
/// <param name="Pixels">The least and the greatest pixel stored; null where nothing was attacked.</param>
public sealed record Tally(
    long Forwards, long Gradients, int ZeroGradients, IReadOnlyDictionary<string, int> NotFinite,
    double Furthest, (double Low, double High)? Pixels)
{
    internal static Tally Of(Core.Evaluation.AttackCost t) => new(
        t.Forwards, t.Gradients, t.ZeroGradients, t.NotFinite, t.Furthest,
        t.Pixels.OrNull() is { } pixels ? (pixels.Item1, pixels.Item2) : null);
}

/// <summary>How often a classifier is right, untouched or under an attack.</summary>
/// <param name="Name"><c>"clean"</c>, the nearest neighbours' <c>"knn-200:0.1"</c>, or the
/// attack's name.</param>
/// <param name="Threat">What the attack was allowed; null for clean images.</param>
/// <param name="Correct">Images that are classified rightly, under attack those that withstand it.</param>
/// <param name="Total">Images in all.</param>
/// <param name="Interval">Where the share over all such images lies with 95 % confidence (Wilson).</param>
/// <param name="Parts">Of attacks in turn, how many images were right after each, and what it took.</param>
/// <param name="Tally">Its cost in all.</param>
/// <param name="Flags">What a reader must know of the attack: <c>"zero gradient of 3 image(s)"</c>.</param>
public sealed record Accuracy(
    string Name, Threat? Threat, int Correct, int Total, (double Low, double High) Interval,
    IReadOnlyList<(string Name, int Correct, Tally Tally)> Parts, Tally Tally, IReadOnlySet<string> Flags)
{
    /// <summary>The share that is right, 0 to 1.</summary>
    public double Fraction => (double)Correct / Total;

    internal static Accuracy Of(Core.Evaluation.Accuracy a) => new(
        a.Name, a.Threat.OrNull() is { } threat ? AdvContrast.Threat.Of(threat) : null, a.Correct, a.Total,
        (a.Interval.Item1, a.Interval.Item2),
        [.. a.Parts.Select(part => (part.Name, part.Correct, Tally.Of(part.Cost)))],
        Tally.Of(a.Cost), a.Flags.ToHashSet());
}

/// <summary>What an evaluation found.</summary>
/// <param name="Accuracies">Clean accuracy, that of the nearest neighbours' vote where it was asked for,
/// then for each threat accuracy under each attack, in the order given.</param>
/// <param name="Dataset">The data set whose test images were used; <c>"images"</c> for images given by the
/// caller.</param>
/// <param name="Coverage">Which images they are of.</param>
/// <param name="Elapsed">How long it took from the call.</param>
public sealed record EvaluationResult(
    IReadOnlyList<Accuracy> Accuracies, string Dataset, Coverage Coverage, TimeSpan Elapsed)
{
    /// <summary>The accuracy on untouched images.</summary>
    public Accuracy Clean => Accuracies[0];

    /// <summary>The accuracy of that name: <c>"clean"</c>, or an attack's as it was given, under the first
    /// threat.</summary>
    /// <exception cref="InvalidOperationException">No such accuracy was measured.</exception>
    public Accuracy this[string name] => Accuracies.First(accuracy => accuracy.Name == name);
}
