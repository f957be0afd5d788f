using System;
using TorchSharp;

namespace AdvContrast;

/// <summary>Checks of tensors that a caller hands over, before any native call.</summary>
internal static class Images
{
    internal static void Require(torch.Tensor images, string name)
    {
        ArgumentNullException.ThrowIfNull(images, name);
        Core.Foundation.Shape.rank("n;c;h;w", name, images);
        if (!images.is_floating_point())
            throw new ArgumentException($"expected floating-point images, got {images.dtype}.", name);
    }
}
