using System;
using System.Collections.Generic;
using AdvContrast.Bench.ByHand;
using Microsoft.FSharp.Collections;
using Tensor = TorchSharp.torch.Tensor;

namespace AdvContrast.Bench.Kernel;

/// <summary>A contrastive loss of embeddings [n; d] of a number of views of the same images.</summary>
/// <remarks>bench/peers/kernel.py has those that are written out, by the same names, in PyTorch.</remarks>
/// <param name="Name">Its name.</param>
/// <param name="Views">The number of views.</param>
/// <param name="Of">The loss by AdvContrast.</param>
/// <param name="ByHand">The loss written out in TorchSharp, or null.</param>
internal sealed record Loss(
    string Name, int Views, Func<IReadOnlyList<Tensor>, Tensor> Of,
    Func<IReadOnlyList<Tensor>, Tensor>? ByHand = null)
{
    private const double Temperature = 0.5;

    internal static IReadOnlyList<Loss> All { get; } =
    [
        new(
            "NT-Xent", 2, views => Core.Losses.InfoNce.ntXent(Temperature, views[0], views[1]),
            views => Contrasts.NtXent(views[0], views[1])),
        new(
            "N-pair", 2, views => Core.Losses.NPair.loss(Temperature, views[0], views[1]),
            views => Contrasts.NPair(views[0], views[1])),
        new(
            "one-sided", 2, views => Core.Losses.InfoNce.oneSided(Temperature, views[0], views[1]),
            views => Contrasts.OneSided(views[0], views[1])),
        new("RoCL", 3, views => ThreeViews(Core.Losses.Denominator.AllOthers, Core.Losses.RoclLoss.plain, views)),
        new("RoCL, IP + HN", 3, views => ThreeViews(Hard, Inferior, views)),
        new("AdvCL", 4, views => Core.Losses.AdvClLoss.symmetric(
            BaseTemperature, 1.0, Cosine, Core.Losses.Denominator.AllOthers, ListModule.OfSeq(views))),
        new("AdvCL, IP", 4, views => Asymmetric(Core.Losses.Denominator.AllOthers, views)),
        new("AdvCL, IP + HN", 4, views => Asymmetric(Hard, views)),
    ];

    private const double BaseTemperature = 0.07;

    private static Core.Losses.PositiveWeights Inferior => new(0.2, 1.0);

    private static Core.Losses.Similarity Cosine => Core.Losses.SimilarityModule.cosine(Temperature);

    private static Core.Losses.Denominator Hard =>
        Core.Losses.Denominator.NewHard(Core.Losses.HardNegativesModule.create(1.0, 0.1));

    private static Tensor ThreeViews(
        Core.Losses.Denominator denominator, Core.Losses.PositiveWeights inferior, IReadOnlyList<Tensor> views) =>
        Core.Losses.RoclLoss.loss(Cosine, denominator, inferior, views[0], views[1], views[2]);

    private static Tensor Asymmetric(Core.Losses.Denominator denominator, IReadOnlyList<Tensor> views) =>
        Core.Losses.AdvClLoss.asymmetric(BaseTemperature, Inferior, Cosine, denominator, ListModule.OfSeq(views));
}
