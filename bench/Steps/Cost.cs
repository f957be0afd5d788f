using System.Linq;

namespace AdvContrast.Bench.Steps;

/// <summary>Passes of a step through ResNet-18, each a number of views for an image of the batch.</summary>
/// <param name="Forward">Views that pass forward.</param>
/// <param name="ImageGradient">Views whose gradient alone is computed backward.</param>
/// <param name="FullGradient">Views that pass backward with the gradients of the parameters.</param>
internal sealed record Cost(int Forward, int ImageGradient, int FullGradient)
{
    private const int Channels = 3;
    private const int Width = 64;
    private const int Size = 32;
    private const int Stages = 4;

    /// <summary>
    /// Floating-point operations of the convolutions of a step, a multiplication and an addition as two. A
    /// gradient in the images, or in the weights, takes as many as the forward pass.
    /// </summary>
    internal double Operations(int batch) => batch * PerView * (Forward + ImageGradient + 2.0 * FullGradient);

    private static double PerView { get; } =
        Convolution(Channels, Width, 3, Size) + Enumerable.Range(0, Stages).Sum(Stage);

    // Two blocks; in all stages but the first the first block halves the maps, with a convolution as its
    // shortcut.
    private static double Stage(int stage)
    {
        var (width, size) = (Width << stage, Size >> stage);
        var input = stage == 0 ? width : width / 2;
        var shortcut = stage == 0 ? 0 : Convolution(input, width, 1, size);
        return Convolution(input, width, 3, size) + shortcut + 3 * Convolution(width, width, 3, size);
    }

    private static double Convolution(int input, int output, int kernel, int size) =>
        2.0 * input * output * kernel * kernel * size * size;
}
