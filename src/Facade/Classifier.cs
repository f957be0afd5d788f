using System;
using System.Collections.Generic;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

/// <summary>Classifiers of images in [0, 1] out of models that want something else.</summary>
public static class Classifier
{
    /// <summary>From a model that wants each channel less its mean, over its standard deviation.</summary>
    /// <param name="model">Normalised images [n; c; h; w] to logits [n; k].</param>
    /// <param name="mean">One number a channel, in units of [0, 1], or one for all.</param>
    /// <param name="std">As many deviations, above 0.</param>
    /// <returns>Images in [0, 1] to logits, differentiable in the images.</returns>
    /// <exception cref="ArgumentException">Not as many, none, or a deviation that is not above 0.</exception>
    public static Func<torch.Tensor, torch.Tensor> Normalised(
        Func<torch.Tensor, torch.Tensor> model, IReadOnlyList<double> mean, IReadOnlyList<double> std)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(mean);
        ArgumentNullException.ThrowIfNull(std);
        return Core.Attacks.ClassifierModule.normalised(
            ListModule.OfSeq(mean), ListModule.OfSeq(std), FuncConvert.FromFunc(model)).Invoke;
    }

    /// <summary>From a model of pixels from low to high, [-1, 1] or [0, 255] for instance.</summary>
    /// <param name="model">Images [n; c; h; w] from low to high to logits [n; k].</param>
    /// <param name="low">The least value of a pixel.</param>
    /// <param name="high">The greatest, above low.</param>
    /// <returns>Images in [0, 1] to logits, differentiable in the images.</returns>
    /// <exception cref="ArgumentException">They are not finite, or low is not below high.</exception>
    public static Func<torch.Tensor, torch.Tensor> Ranged(
        Func<torch.Tensor, torch.Tensor> model, double low, double high)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Core.Attacks.ClassifierModule.ranged(low, high, FuncConvert.FromFunc(model)).Invoke;
    }
}
