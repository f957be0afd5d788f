using System.Collections.Generic;

namespace AdvContrast;

/// <summary>How a linear layer is fitted to a frozen encoder.</summary>
public enum Probe
{
    /// <summary>For small sets: Adam on features computed once, 100 epochs.</summary>
    Quick,

    /// <summary>Standard linear fine-tuning (SLF) as published: 25 epochs of SGD, crops, flips.</summary>
    Published,

    /// <summary>Not at all: the linear layer is the one that the weights came with, PyTorch's fc.</summary>
    Own,
}

/// <summary>What to fit and to attack an encoder with; null means: as in the encoder's own run.</summary>
/// <remarks>Of any other classifier Images, Attacks, Threats, Seed, Threads and Notes count.</remarks>
public sealed record EvaluateOptions
{
    /// <summary>The data set: its training part fits the linear layer, its test part is attacked.</summary>
    public string? Dataset { get; init; }

    /// <summary>The folder with the data set's files.</summary>
    public string? Data { get; init; }

    /// <summary>At most this many test images, drawn by the seed from every class in proportion; 1 or more, null for all.</summary>
    public int? Images { get; init; }

    /// <summary>
    /// Attacks by name: <c>"fgsm"</c>; <c>"pgd-20"</c> with steps of a quarter radius, <c>"pgd-20:0.125"</c>
    /// with the step in radii; <c>"cw-pgd-20"</c>, PGD on the margin, and <c>"mi-fgsm-10"</c>, in the
    /// same way; <c>"apgd-ce"</c>, <c>"apgd-dlr"</c>, <c>"apgd-t"</c>; <c>"fab"</c>, <c>"fab-t"</c>;
    /// <c>"square"</c>, and <c>"square-1000"</c>, its first 1000 proposals; <c>"cw-l2"</c>, Carlini and
    /// Wagner's, held to the radius. Attacks in turn, each on what those before it left standing:
    /// <c>"autoattack"</c>, AutoAttack's standard version, <c>"autoattack+"</c>, its extended one, and
    /// <c>"autoattack-rand"</c>, the one for classifiers that answer by chance.
    /// </summary>
    public IReadOnlyList<string> Attacks { get; init; } = ["fgsm", "pgd-20"];

    /// <summary>What the attacks may do, each in turn; empty: the run's, else Linf 8/255.</summary>
    public IReadOnlyList<Threat> Threats { get; init; } = [];

    /// <summary>How the linear layer is fitted.</summary>
    public Probe Probe { get; init; } = Probe.Quick;

    /// <summary>Measure the vote of the nearest training images too; null: no vote.</summary>
    public Knn? Knn { get; init; }

    /// <summary>The seed of every draw: the same seed gives the same accuracies.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Threads of libtorch, 1 or more; null leaves them: as many as processors.</summary>
    public int? Threads { get; init; }

    /// <summary>A file in which AutoAttack notes where it stands, so that an evaluation that was stopped goes
    /// on from there; null notes nothing.</summary>
    public string? Notes { get; init; }
}
