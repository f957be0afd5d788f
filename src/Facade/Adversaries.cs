using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;

namespace AdvContrast;

/// <summary>How a classifier fares on adversarial images that may have been made against another.</summary>
/// <param name="Clean">On the originals.</param>
/// <param name="Attacked">On the adversarial images.</param>
public sealed record TransferResult(Accuracy Clean, Accuracy Attacked)
{
    internal static TransferResult Of(Core.Evaluation.Transferred t) =>
        new(Accuracy.Of(t.Clean), Accuracy.Of(t.Attacked));
}

/// <summary>
/// Adversarial images, with what they were made from, by and against. It owns its tensors, which are on the
/// CPU; dispose it when done.
/// </summary>
public sealed class Adversaries : IDisposable
{
    private readonly Core.Evaluation.AdversarialExamples inner;

    internal Adversaries(Core.Evaluation.AdversarialExamples inner) => this.inner = inner;

    internal Core.Evaluation.AdversarialExamples Inner => inner;

    /// <summary>The attack's name.</summary>
    public string Attack => inner.Attack;

    /// <summary>The attack in full.</summary>
    public string Text => inner.Text;

    /// <summary>What it was allowed.</summary>
    public Threat Threat => AdvContrast.Threat.Of(inner.Threat);

    /// <summary>The seed of every draw.</summary>
    public ulong Seed => inner.Seed;

    /// <summary>Which images of their set these are.</summary>
    public Coverage Coverage => AdvContrast.Coverage.From(inner.Coverage);

    /// <summary>The place of each original in the set that it was drawn from: int64 [n].</summary>
    public torch.Tensor Indices => inner.Indices;

    /// <summary>Whatever else there is to know: <c>"dataset"</c>, <c>"run"</c>.</summary>
    public IReadOnlyDictionary<string, string> About => inner.About.ToDictionary(a => a.Key, a => a.Value);

    /// <summary>The originals: [n; c; h; w].</summary>
    public torch.Tensor Original => inner.Original;

    /// <summary>Their labels: int64 [n].</summary>
    public torch.Tensor Labels => inner.Labels;

    /// <summary>The labels that were to be reached, int64 [n]; null for an untargeted attack.</summary>
    public torch.Tensor? Targets => inner.Targets.OrNull();

    /// <summary>What the classifier takes the originals for: int64 [n].</summary>
    public torch.Tensor Before => inner.Before;

    /// <summary>What it takes the adversarial images for: int64 [n].</summary>
    public torch.Tensor After => inner.After;

    /// <summary>
    /// What the attack did; its Images are the adversarial ones. The tensors are those of this object, and
    /// end with it.
    /// </summary>
    public AttackResult Result => new(inner.Result);

    /// <summary>How the classifier that they were made against fares on them.</summary>
    public TransferResult Own => TransferResult.Of(Core.Evaluation.AdversarialExamplesModule.own(inner));

    /// <summary>Reads a file of adversarial images.</summary>
    /// <param name="path">A file that Save or <c>advcontrast attack</c> wrote.</param>
    /// <exception cref="AdvContrastException">Missing; Damaged, also where it is something else.</exception>
    public static Adversaries Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Interop.Run(() => new Adversaries(Core.Evaluation.AdversarialExamplesModule.load(path).OrThrow()));
    }

    /// <summary>Writes them as a safetensors file, whole or not at all.</summary>
    /// <exception cref="AdvContrastException">NotWritable.</exception>
    public void Save(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        Core.Evaluation.AdversarialExamplesModule.save(path, inner).OrThrow();
    }

    /// <summary>
    /// Writes a picture as PNG: a row a sample, those that were broken first, and in it the original, the
    /// adversarial image, and the change, magnified until the radius fills the range.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="rows">Samples in it at most, 1 or more.</param>
    /// <exception cref="ArgumentException">Rows is below 1.</exception>
    /// <exception cref="AdvContrastException">NotWritable.</exception>
    public void SavePicture(string path, int rows = 8)
    {
        ArgumentNullException.ThrowIfNull(path);
        Core.Reporting.ImageGrid.save(path, rows, inner).OrThrow();
    }

    /// <summary>Frees its tensors; a second call does nothing.</summary>
    public void Dispose() => ((IDisposable)inner).Dispose();
}
