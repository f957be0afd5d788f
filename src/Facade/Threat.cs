using System;

namespace AdvContrast;

/// <summary>How the size of a perturbation is measured.</summary>
public enum Norm
{
    /// <summary>The largest change of any pixel.</summary>
    Linf,

    /// <summary>The root of the sum of squared changes.</summary>
    L2,

    /// <summary>The sum of absolute changes.</summary>
    L1,
}

/// <summary>
/// What an adversary may do: move an image by at most a radius in a norm, its pixels staying in [0, 1] or
/// within other bounds.
/// </summary>
public sealed record Threat
{
    private Threat(Core.ThreatModel.Threat inner) => Inner = inner;

    internal Core.ThreatModel.Threat Inner { get; }

    /// <summary>How the perturbation is measured.</summary>
    public Norm Norm => (Norm)Inner.Norm.Tag;

    /// <summary>
    /// The radius in input units: images live in [0, 1], so the field's 8/255 is 0.03137; within other bounds
    /// it is in their units.
    /// </summary>
    public double Radius => Inner.Radius;

    /// <summary>The range of a pixel, [0, 1] where nothing else is said; null leaves pixels
    /// unbounded.</summary>
    public (double Low, double High)? Bounds =>
        Inner.Box.OrNull() is { } box ? (box.Item1, box.Item2) : null;

    /// <summary>A threat in the largest change of any pixel.</summary>
    /// <param name="radius">0 or more, in input units.</param>
    /// <exception cref="ArgumentException">The radius is negative or not finite.</exception>
    public static Threat Linf(double radius) => Create(Core.ThreatModel.Norm.Linf, radius);

    /// <summary>A threat in Euclidean distance.</summary>
    /// <param name="radius">0 or more, in input units.</param>
    /// <exception cref="ArgumentException">The radius is negative or not finite.</exception>
    public static Threat L2(double radius) => Create(Core.ThreatModel.Norm.L2, radius);

    /// <summary>A threat in the sum of absolute changes.</summary>
    /// <param name="radius">0 or more, in input units.</param>
    /// <exception cref="ArgumentException">The radius is negative or not finite.</exception>
    public static Threat L1(double radius) => Create(Core.ThreatModel.Norm.L1, radius);

    /// <summary>The same threat on images whose pixels go from low to high; the radius stays as it
    /// is.</summary>
    /// <param name="low">The least value of a pixel.</param>
    /// <param name="high">The greatest, above low.</param>
    /// <exception cref="ArgumentException">They are not finite, or low is not below high.</exception>
    public Threat Within(double low, double high) => new(Core.ThreatModel.ThreatModule.boxed(low, high, Inner));

    /// <summary>The same threat on images whose pixels may be any numbers.</summary>
    public Threat Unbounded() => new(Core.ThreatModel.ThreatModule.unbounded(Inner));

    /// <summary>
    /// A threat from its text: <c>linf:8/255</c>, <c>l2:0.5</c>, within other bounds <c>linf:0.1:-1:1</c>.
    /// </summary>
    /// <exception cref="AdvContrastException">BadOption: it is not a norm and a radius.</exception>
    public static Threat Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new(Core.ThreatModel.ThreatModule.parse(text).OrThrow());
    }

    /// <summary>The text that Parse reads back to the same threat.</summary>
    public override string ToString() => Core.ThreatModel.ThreatModule.text(Inner);

    internal static Threat Of(Core.ThreatModel.Threat inner) => new(inner);

    private static Threat Create(Core.ThreatModel.Norm norm, double radius) =>
        new(Core.ThreatModel.ThreatModule.create(norm, radius));
}
