using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace AdvContrast.Bench.ByHand;

/// <summary>Contrastive losses of embeddings [n; d] of two views, temperature 0.5.</summary>
internal static class Contrasts
{
    private const double Temperature = 0.5;

    /// <summary>NT-Xent (Chen et al. 2020, eq. 1).</summary>
    internal static Tensor NtXent(Tensor first, Tensor second)
    {
        using var scope = NewDisposeScope();
        var rows = first.shape[0];
        var z = functional.normalize(cat([first, second]));
        var scores = z.mm(z.t()) / Temperature;
        scores.diagonal().fill_(double.NegativeInfinity);
        var positives = arange(2 * rows, ScalarType.Int64, first.device).roll(rows);
        return functional.cross_entropy(scores, positives).MoveToOuterDisposeScope();
    }

    /// <summary>The one-directional contrast (Ho and Vasconcelos 2020).</summary>
    internal static Tensor NPair(Tensor first, Tensor second)
    {
        using var scope = NewDisposeScope();
        var scores = functional.normalize(first).mm(functional.normalize(second).t()) / Temperature;
        var positives = arange(first.shape[0], ScalarType.Int64, first.device);
        return functional.cross_entropy(scores, positives).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// C-LEAD's contrast of anchors with the other anchors and all partners (Ghosh, Kumar and Sur 2025).
    /// </summary>
    internal static Tensor OneSided(Tensor first, Tensor second)
    {
        using var scope = NewDisposeScope();
        var rows = first.shape[0];
        var anchors = functional.normalize(first);
        var scores = anchors.mm(cat([anchors, functional.normalize(second)]).t()) / Temperature;
        scores.diagonal().fill_(double.NegativeInfinity);
        var positives = arange(rows, ScalarType.Int64, first.device) + rows;
        return functional.cross_entropy(scores, positives).MoveToOuterDisposeScope();
    }
}
