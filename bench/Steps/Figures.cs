using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench.Steps;

/// <summary>What was measured of a side.</summary>
internal sealed record Figures(string Side, string Torch, double Operations)
{
    /// <summary>Seconds a step, one value a round.</summary>
    public List<double> Seconds { get; } = [];

    /// <summary>The most memory of its process, in MiB.</summary>
    public double PeakMemory { get; set; }

    internal double Median => Seconds.Order().ElementAt(Seconds.Count / 2);

    /// <summary>Floating-point operations of convolutions in a second, in units of 10^9.</summary>
    internal double GigaFlops => Operations / Median / 1e9;

    /// <summary>
    /// How many times as fast as another side this one is, round by round, in order of size.
    /// </summary>
    internal List<double> SpeedOver(Figures other) =>
        [.. other.Seconds.Zip(Seconds, (its, own) => its / own).Order()];
}
