using System;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

public static partial class Workbench
{
    /// <summary>Attacks any classifier on a few images, on the caller's thread.</summary>
    /// <param name="classifier">Images [n; c; h; w] to logits [n; k], differentiable in the images.</param>
    /// <param name="images">[n; c; h; w], floating point within the threat's bounds.</param>
    /// <param name="labels">int64 [n], from 0 to k - 1.</param>
    /// <param name="threat">What the attack may do.</param>
    /// <param name="attack">One of the names that EvaluateOptions.Attacks takes.</param>
    /// <param name="seed">The seed of every draw.</param>
    /// <returns>What it did; belongs to the caller.</returns>
    /// <exception cref="ArgumentException">A tensor's shape, type or range is wrong.</exception>
    /// <exception cref="AdvContrastException">UnknownName or BadOption: there is no such attack.</exception>
    public static AttackResult Attack(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels, Threat threat,
        string attack = "pgd-20", ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(attack);
        return Attack(
            classifier, images, labels, threat, new AttackOptions { Attack = attack, Seed = seed });
    }

    /// <summary>Attacks any classifier on a few images, on the caller's thread.</summary>
    /// <param name="classifier">Images [n; c; h; w] to logits [n; k], differentiable in the images.</param>
    /// <param name="images">[n; c; h; w], floating point within the threat's bounds.</param>
    /// <param name="labels">int64 [n], from 0 to k - 1.</param>
    /// <param name="threat">What the attack may do.</param>
    /// <param name="options">Which attack, towards which labels, and what the classifier wants.</param>
    /// <param name="cancellation">Checked before every forward pass of the classifier.</param>
    /// <returns>What it did; belongs to the caller.</returns>
    /// <exception cref="ArgumentException">A tensor's shape, type or range is wrong; means and deviations
    /// that do not fit.</exception>
    /// <exception cref="AdvContrastException">UnknownName or BadOption: there is no such attack.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static AttackResult Attack(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels, Threat threat,
        AttackOptions options, CancellationToken cancellation = default)
    {
        Require(classifier, images, labels, threat, options);
        var attack = Core.Evaluation.AutoAttackModule.attack(options.Attack).OrThrow();
        var wanted = Wanted(classifier, options);
        var stopping = FuncConvert.FromFunc<torch.Tensor, torch.Tensor>(x =>
        {
            cancellation.ThrowIfCancellationRequested();
            return wanted(x);
        });
        return Interop.Run(() => new AttackResult(Core.Workbench.attackTowards(
            Targets(options), attack, options.Seed, threat.Inner, stopping, images, labels)));
    }

    /// <summary>
    /// Attacks images of any classifier, some at a time, and keeps all that there is to know; on the caller's
    /// thread.
    /// </summary>
    /// <param name="classifier">Images [n; c; h; w] to logits [n; k], differentiable in the images.</param>
    /// <param name="images">[n; c; h; w], floating point within the threat's bounds; on the device that the
    /// classifier wants.</param>
    /// <param name="labels">int64 [n], from 0 to k - 1.</param>
    /// <param name="threat">What the attack may do.</param>
    /// <param name="options">Which attack, towards which labels, and what the classifier wants; null for
    /// PGD-20.</param>
    /// <param name="progress">Hears of every batch.</param>
    /// <param name="cancellation">Checked before every forward pass of the classifier.</param>
    /// <returns>The images; they belong to the caller.</returns>
    /// <exception cref="ArgumentException">As Attack's; no images.</exception>
    /// <exception cref="AdvContrastException">UnknownName or BadOption: there is no such attack.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Adversaries Craft(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels, Threat threat,
        AttackOptions? options = null, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        options ??= new AttackOptions();
        Require(classifier, images, labels, threat, options);
        var asked = new EvaluateOptions
        {
            Attacks = [options.Attack],
            Threats = [threat],
            Seed = options.Seed,
        };
        return Interop.Run(() => new Adversaries(Core.Workbench.craftOf(
            Targets(options), Evaluation.Report(progress), cancellation,
            FuncConvert.FromFunc(Wanted(classifier, options)), images, labels, Evaluation.ToCore(asked))
            .OrThrow(cancellation)));
    }

    /// <summary>
    /// Fits a linear layer on the frozen encoder and makes adversarial images of a data set's test part.
    /// </summary>
    /// <param name="encoder">Borrowed; it must not be disposed before the task ends.</param>
    /// <param name="options">What to fit and to attack with: one attack, and one threat or none.</param>
    /// <param name="progress">Hears of every batch.</param>
    /// <param name="cancellation">Checked before every forward pass of the encoder.</param>
    /// <returns>The images; they belong to the caller.</returns>
    /// <exception cref="AdvContrastException">All faults of the options; missing or damaged data.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<Adversaries> CraftAsync(
        Encoder encoder, EvaluateOptions options, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(options);
        var inner = encoder.Inner;
        return Interop.RunAlone(
            () => new Adversaries(Core.Workbench.craft(
                Evaluation.Report(progress), cancellation, inner, Evaluation.ToCore(options))
                .OrThrow(cancellation)),
            cancellation);
    }

    /// <summary>
    /// Measures another classifier on adversarial images that were made against the first (a transfer
    /// attack), on the caller's thread.
    /// </summary>
    /// <param name="classifier">Images [n; c; h; w] on the CPU to logits [n; k].</param>
    /// <param name="adversaries">The images.</param>
    public static TransferResult Transfer(
        Func<torch.Tensor, torch.Tensor> classifier, Adversaries adversaries)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(adversaries);
        return Interop.Run(() => TransferResult.Of(Core.Evaluation.AdversarialExamplesModule.onto(
            torch.CPU, FuncConvert.FromFunc(classifier), adversaries.Inner)));
    }

    /// <summary>
    /// Fits a linear layer on another frozen encoder, and measures it on adversarial images that were made
    /// against the first.
    /// </summary>
    /// <param name="encoder">Borrowed; it must not be disposed before the task ends.</param>
    /// <param name="adversaries">The images; borrowed likewise.</param>
    /// <param name="options">What to fit the layer on; null for the data set that the images are
    /// from.</param>
    /// <param name="progress">Hears of every step of the fit.</param>
    /// <param name="cancellation">Checked before every forward pass of the encoder.</param>
    /// <exception cref="AdvContrastException">BadOption: the encoder takes images of another kind; all faults
    /// of the options; missing or damaged data.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<TransferResult> TransferAsync(
        Encoder encoder, Adversaries adversaries, EvaluateOptions? options = null,
        IProgress<EvaluationProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(adversaries);
        var inner = encoder.Inner;
        return Interop.RunAlone(
            () => TransferResult.Of(Core.Workbench.transfer(
                Evaluation.Report(progress), cancellation, inner,
                Evaluation.ToCore(options ?? new EvaluateOptions()), adversaries.Inner)
                .OrThrow(cancellation)),
            cancellation);
    }

    /// <summary>
    /// Measures any classifier on images that are given: clean accuracy and accuracy under attacks,
    /// AutoAttack among them; on the caller's thread.
    /// </summary>
    /// <param name="classifier">Images [n; c; h; w] to logits [n; k], differentiable in the images.</param>
    /// <param name="images">[n; c; h; w], bytes, or floating point within the threats' bounds; on the device
    /// that the classifier wants.</param>
    /// <param name="labels">int64 [n], from 0 to k - 1.</param>
    /// <param name="options">What to attack with; null for FGSM and PGD-20 within Linf 8/255.</param>
    /// <param name="progress">Hears of every batch.</param>
    /// <param name="cancellation">Checked before every forward pass of the classifier.</param>
    /// <exception cref="ArgumentException">Images, labels and logits do not fit.</exception>
    /// <exception cref="AdvContrastException">All faults of the options.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static EvaluationResult Evaluate(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels,
        EvaluateOptions? options = null, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(labels);
        return Interop.Run(() => Evaluation.Run(
            classifier, images, labels, options ?? new EvaluateOptions(), progress, cancellation));
    }

    /// <summary>The same on a thread of its own.</summary>
    /// <param name="classifier">Called on that thread.</param>
    /// <param name="images">As Evaluate's; they must not be disposed before the task ends.</param>
    /// <param name="labels">As Evaluate's; likewise.</param>
    /// <param name="options">As Evaluate's.</param>
    /// <param name="progress">Hears of every batch.</param>
    /// <param name="cancellation">Checked before every forward pass of the classifier.</param>
    /// <exception cref="ArgumentException">Images, labels and logits do not fit.</exception>
    /// <exception cref="AdvContrastException">All faults of the options.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<EvaluationResult> EvaluateAsync(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels,
        EvaluateOptions? options = null, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(labels);
        return Interop.RunAlone(
            () => Evaluation.Run(
                classifier, images, labels, options ?? new EvaluateOptions(), progress, cancellation),
            cancellation);
    }

    private static void Require(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels, Threat threat,
        AttackOptions options)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(labels);
        ArgumentNullException.ThrowIfNull(threat);
        ArgumentNullException.ThrowIfNull(options);
        AdvContrast.Images.Require(images, nameof(images));
    }

    private static FSharpOption<torch.Tensor>? Targets(AttackOptions options) =>
        options.Targets is { } targets ? FSharpOption<torch.Tensor>.Some(targets) : null;

    // The classifier, with the normalisation that it wants; one of mean and deviation may be missing.
    private static Func<torch.Tensor, torch.Tensor> Wanted(
        Func<torch.Tensor, torch.Tensor> classifier, AttackOptions options)
    {
        if (options.Mean is null && options.Std is null) return classifier;
        var mean = options.Mean ?? [.. options.Std!.Select(_ => 0.0)];
        return Classifier.Normalised(classifier, mean, options.Std ?? [.. mean.Select(_ => 1.0)]);
    }
}
