using System.Globalization;

namespace AdvContrast;

/// <summary>
/// A vote of the nearest training images in the encoder's features (Wu, Xiong, Yu and Lin 2018): each of them
/// has a weight of exp(cosine / temperature) for its class.
/// </summary>
/// <param name="Neighbours">How many vote, 1 or more and no more than there are training images.</param>
/// <param name="Temperature">Above 0.</param>
public sealed record Knn(int Neighbours = 200, double Temperature = 0.1)
{
    /// <summary>The name of its accuracy without the leading <c>"knn-"</c>: <c>"200:0.1"</c>.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Neighbours}:{Temperature}");
}
