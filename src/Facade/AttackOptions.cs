using System.Collections.Generic;
using TorchSharp;

namespace AdvContrast;

/// <summary>How a classifier is attacked; what the attack may do is a Threat, with its bounds.</summary>
public sealed record AttackOptions
{
    /// <summary>
    /// An attack by one of the names that EvaluateOptions.Attacks takes, <c>"autoattack"</c> among them.
    /// </summary>
    public string Attack { get; init; } = "pgd-20";

    /// <summary>
    /// Labels to reach, int64 [n]; null for any other than the true one. Borrowed.
    /// </summary>
    public torch.Tensor? Targets { get; init; }

    /// <summary>
    /// What the classifier wants subtracted from each channel, in the images' units: one number a channel, or
    /// one for all. The images and the threat stay in their own units. Null for nothing.
    /// </summary>
    public IReadOnlyList<double>? Mean { get; init; }

    /// <summary>What it then wants each channel divided by, above 0; null for nothing.</summary>
    public IReadOnlyList<double>? Std { get; init; }

    /// <summary>The seed of every draw: the same seed gives the same images.</summary>
    public ulong Seed { get; init; } = 1;
}
