using System;
using TorchSharp;

namespace AdvContrast;

/// <summary>Checks of tensors that a caller hands over, before any native call.</summary>
internal static class Images
{
    internal static void Require(torch.Tensor images, string name)
    {
        ArgumentNullException.ThrowIfNull(images, name);
        Core.Shape.rank("n;c;h;w", name, images);
        if (!images.is_floating_point())
            throw new ArgumentException($"expected floating-point images, got {images.dtype}.", name);
    }

    internal static void RequireLabels(torch.Tensor labels, string name, torch.Tensor images)
    {
        ArgumentNullException.ThrowIfNull(labels, name);
        Core.Shape.rank("n", name, labels);
        if (labels.dtype != torch.int64)
            throw new ArgumentException($"expected int64 labels, got {labels.dtype}.", name);
        if (labels.shape[0] != images.shape[0])
            throw new ArgumentException(
                $"expected a label an image, got {Core.Shape.text(labels)} for {Core.Shape.text(images)}.",
                name);
    }
}
