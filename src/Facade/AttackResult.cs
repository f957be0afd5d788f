using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;

namespace AdvContrast;

/// <summary>What an attack did to n images. It owns its tensors; dispose it when done.</summary>
public sealed class AttackResult : IDisposable
{
    private readonly Core.Attacks.AttackResult harm;

    internal AttackResult(Core.Attacks.AttackResult harm) => this.harm = harm;

    /// <summary>
    /// The adversarial image where the attack succeeded, else the one of the highest loss, or from an attack
    /// that looks for the nearest image the original: [n; c; h; w], within the threat.
    /// </summary>
    public torch.Tensor Images => harm.Images;

    /// <summary>
    /// Whether the image in Images is misclassified, or with targets is taken for its target, computed on
    /// that image: bool [n].
    /// </summary>
    public torch.Tensor Success => harm.Success;

    /// <summary>
    /// How far the image in Images is from the original, in each norm, in input units: [n].
    /// </summary>
    public IReadOnlyDictionary<Norm, torch.Tensor> Distances =>
        harm.Distance.ToDictionary(pair => (Norm)pair.Key.Tag, pair => pair.Value);

    /// <summary>
    /// Points evaluated before the first success, 0 for the clean image, -1 for none: int64 [n].
    /// </summary>
    public torch.Tensor FirstSuccess => harm.FirstSuccess;

    /// <summary>Forward passes that each image took part in: int64 [n].</summary>
    public torch.Tensor Forwards => harm.Forwards;

    /// <summary>Those of them with a gradient: int64 [n].</summary>
    public torch.Tensor Gradients => harm.Gradients;

    /// <summary>How many of those gradients were 0 everywhere: int64 [n].</summary>
    public torch.Tensor ZeroGradients => harm.ZeroGradients;

    /// <summary>At how many points the <c>"logits"</c>, the <c>"loss"</c> or the <c>"gradient"</c> of each
    /// image were not finite: int64 [n]. Such entries of a gradient are 0 in its step, and such logits are no
    /// success.</summary>
    public IReadOnlyDictionary<string, torch.Tensor> NotFinite => harm.NotFinite;

    /// <summary>What a reader must know of the attack, <c>"zero gradient"</c> or <c>"gradient not
    /// finite"</c>, and of the classifier: <c>"answers change from pass to pass"</c>, <c>"answers depend on
    /// the other images of the batch"</c>, <c>"no gradient reaches the images"</c>, <c>"gives probabilities,
    /// not logits"</c>.</summary>
    public IReadOnlySet<string> Flags => harm.Flags.ToHashSet();

    /// <summary>Frees its tensors.</summary>
    public void Dispose()
    {
        foreach (var tensor in Core.Attacks.AttackModule.tensors(harm)) tensor.Dispose();
    }
}
