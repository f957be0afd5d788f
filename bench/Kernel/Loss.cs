using System;
using System.Collections.Generic;
using Tensor = TorchSharp.torch.Tensor;

namespace AdvContrast.Bench.Kernel;

/// <summary>
/// A contrastive loss: its name, and what it makes of so many views of the same images, [n; d] each.
/// </summary>
/// <remarks>bench/peers/kernel.py has the same by name, in plain PyTorch, or lacks it.</remarks>
internal sealed record Loss(string Name, int Views, Func<IReadOnlyList<Tensor>, Tensor> Of)
{
    private const double Temperature = 0.5;

    internal static IReadOnlyList<Loss> All { get; } =
    [
        new("NT-Xent", 2, views => Core.InfoNce.ntXent(Temperature, views[0], views[1])),
    ];
}
