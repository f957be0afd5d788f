using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast;

/// <summary>How far an evaluation is.</summary>
/// <param name="Stage"><c>"linear layer"</c>, or the name of the attack.</param>
/// <param name="Share">The share of the stage that is done, 0 to 1.</param>
public sealed record EvaluationProgress(string Stage, double Share);

/// <summary>How often a classifier is right, untouched or under an attack.</summary>
/// <param name="Name"><c>"clean"</c>, or the attack's name.</param>
/// <param name="Correct">Images that are classified rightly, under attack those that withstand it.</param>
/// <param name="Total">Images in all.</param>
/// <param name="Flags">What a reader must know of the attack: <c>"zero gradient"</c>.</param>
public sealed record Accuracy(string Name, int Correct, int Total, IReadOnlySet<string> Flags)
{
    /// <summary>The share that is right, 0 to 1.</summary>
    public double Fraction => (double)Correct / Total;
}

/// <summary>What an evaluation found.</summary>
/// <param name="Accuracies">Clean accuracy, then accuracy under each attack in the order given.</param>
/// <param name="Dataset">The data set whose test images were used.</param>
/// <param name="Threat">What the attacks were allowed.</param>
/// <param name="Elapsed">How long it took from the call.</param>
public sealed record EvaluationResult(
    IReadOnlyList<Accuracy> Accuracies, string Dataset, Threat Threat, TimeSpan Elapsed)
{
    /// <summary>The accuracy on untouched images.</summary>
    public Accuracy Clean => Accuracies[0];

    /// <summary>The accuracy of that name: <c>"clean"</c>, or an attack's as it was given.</summary>
    /// <exception cref="InvalidOperationException">No such accuracy was measured.</exception>
    public Accuracy this[string name] => Accuracies.Single(accuracy => accuracy.Name == name);
}
