using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

/// <summary>The verbs: pre-train an encoder, go on with a run, attack a classifier, evaluate,
/// audit.</summary>
/// <remarks>
/// Long work runs on one thread of its own and reports every step; a token stops it within a step. Faults
/// that the user can put right are AdvContrastExceptions, all of them at once where they are in the options.
/// </remarks>
public static partial class Workbench
{
    /// <summary>The methods: clean contrast, then the adversarial ones in the order of their papers.</summary>
    public static IReadOnlyList<MethodCard> Methods { get; } =
        [.. Core.Methods.MethodRegistry.methods.Select(MethodCard.Of)];

    /// <summary>Those of them whose published code has faults, with these: <c>"NAME:as-published"</c>.</summary>
    public static IReadOnlyList<MethodCard> AsPublished { get; } =
        [.. Core.Methods.MethodRegistry.asPublished.Select(MethodCard.Of)];

    /// <summary>The data sets.</summary>
    public static IReadOnlyList<DatasetCard> Datasets { get; } =
        [.. Core.Data.DatasetRegistry.all.Select(DatasetCard.Of)];

    /// <summary>The networks.</summary>
    public static IReadOnlyList<NetworkCard> Networks { get; } =
        [.. Core.Networks.ModelRegistry.architectures.Select(a => new NetworkCard(a.Name, a.Summary, a.Width))];

    /// <summary>Pre-trains an encoder.</summary>
    /// <param name="options">What to train, on what, and how.</param>
    /// <param name="progress">Hears of every step, on the training thread or as it chooses itself.</param>
    /// <param name="cancellation">Stops within a step, with a checkpoint where there is a folder.</param>
    /// <returns>The run; its encoder belongs to the caller.</returns>
    /// <exception cref="AdvContrastException">All faults of the options; missing or damaged data; a loss that
    /// is not finite.</exception>
    /// <exception cref="ArgumentException">Overwrite without a folder.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<PretrainResult> PretrainAsync(
        PretrainOptions options, IProgress<TrainingProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Overwrite && options.Out is null)
            throw new ArgumentException("Overwrite needs Out, the folder of the run.", nameof(options));
        return Train(options.Out, progress, cancellation, watch => options.Overwrite
            ? Core.Workbench.replace(options.Out, watch, cancellation, options.ToCore())
            : Core.Workbench.pretrain(OptionModule.OfObj(options.Out), watch, cancellation, options.ToCore()));
    }

    /// <summary>Resumes a run from the newest good checkpoint in its folder.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="progress">Hears of every step, on the training thread or as it chooses itself.</param>
    /// <param name="cancellation">Stops within a step, with a checkpoint.</param>
    /// <returns>The run, the same bit for bit as one that was not interrupted, on a CPU.</returns>
    /// <exception cref="AdvContrastException">Missing or Damaged; BadOption for a finished run, and for other images
    /// than those that it was trained on.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<PretrainResult> ResumeAsync(
        string folder, IProgress<TrainingProgress>? progress = null, CancellationToken cancellation = default) =>
        ResumeAsync(folder, new ResumeOptions(), progress, cancellation);

    /// <summary>Resumes a run from the newest good checkpoint in its folder, or trains a finished one further.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="options">What is different from now on.</param>
    /// <param name="progress">Hears of every step, on the training thread or as it chooses itself.</param>
    /// <param name="cancellation">Stops within a step, with a checkpoint.</param>
    /// <returns>The run.</returns>
    /// <exception cref="AdvContrastException">Missing or Damaged; BadOption for what cannot be changed.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<PretrainResult> ResumeAsync(
        string folder, ResumeOptions options, IProgress<TrainingProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(options);
        var change = FuncConvert.FromFunc<Core.Runs.PretrainConfig, Core.Runs.PretrainConfig>(options.Over);
        return Train(folder, progress, cancellation, watch =>
            Core.Workbench.resumeWith(change, folder, watch, cancellation));
    }

    /// <summary>
    /// Pre-trains an encoder as a sequence of steps. Leaving it early stops the run, with a checkpoint.
    /// </summary>
    /// <param name="options">What to train; Out names the folder that the encoder is then loaded
    /// from.</param>
    /// <param name="cancellation">Stops within a step.</param>
    /// <exception cref="ArgumentException">The options have no folder.</exception>
    /// <exception cref="AdvContrastException">As PretrainAsync's.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static IAsyncEnumerable<TrainingProgress> PretrainSteps(
        PretrainOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Out is null)
            throw new ArgumentException("Out must name the encoder's folder.", nameof(options));
        return Steps(options, cancellation);
    }

    /// <summary>
    /// Fits a linear layer on the frozen encoder, then measures clean accuracy and accuracy under attacks.
    /// </summary>
    /// <param name="encoder">Borrowed; it must not be disposed before the task ends.</param>
    /// <param name="options">What to fit and to attack with; null for the run's data, FGSM, PGD-20.</param>
    /// <param name="progress">Hears of every batch.</param>
    /// <param name="cancellation">Checked before every forward pass of the encoder.</param>
    /// <exception cref="AdvContrastException">All faults of the options; missing or damaged data.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<EvaluationResult> EvaluateAsync(
        Encoder encoder, EvaluateOptions? options = null, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        var inner = encoder.Inner;
        return Interop.RunAlone(
            () => Evaluation.Run(inner, options ?? new EvaluateOptions(), progress, cancellation),
            cancellation);
    }

    /// <summary>
    /// Fits a linear layer on the frozen encoder, then checks whether its accuracy under attack can be
    /// trusted: eighteen checks for masked gradients and for attacks too weak to tell.
    /// </summary>
    /// <param name="encoder">Borrowed; it must not be disposed before the task ends.</param>
    /// <param name="options">What to audit with; null for a hundred images of the run's data.</param>
    /// <param name="progress">Hears of every stage.</param>
    /// <param name="cancellation">Checked before every forward pass of the encoder.</param>
    /// <exception cref="AdvContrastException">All faults of the options; missing or damaged data.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<AuditResult> AuditAsync(
        Encoder encoder, AuditOptions? options = null, IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        var (inner, surrogate) = (encoder.Inner, options?.Surrogate?.Inner);
        return Interop.RunAlone(
            () => Auditing.Run(inner, options ?? new AuditOptions(), surrogate, progress, cancellation),
            cancellation);
    }

    /// <summary>
    /// Fetches a data set from its makers' page into a folder, or what is missing of it, and unpacks it.
    /// </summary>
    /// <param name="name">One of Datasets whose card says that it can be fetched.</param>
    /// <param name="folder">Where it goes; what the options' Data takes afterwards.</param>
    /// <param name="progress">Hears of the bytes that have come.</param>
    /// <param name="cancellation">Stops at once; what has come is kept and gone on from.</param>
    /// <returns>The names of the files that were fetched; none where the data set was there.</returns>
    /// <exception cref="AdvContrastException">UnknownName; BadOption where nothing can be fetched;
    /// Unreachable; Damaged for a wrong checksum; NotWritable for a full disk.</exception>
    /// <exception cref="OperationCanceledException">The token asked to stop.</exception>
    public static Task<IReadOnlyList<string>> GetDatasetAsync(
        string name, string folder, IProgress<DownloadProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(folder);
        var report = FuncConvert.FromAction<string, long, FSharpOption<long>>((file, came, total) =>
            progress?.Report(new DownloadProgress(file, came, total.OrNone())));
        return Interop.RunAlone<IReadOnlyList<string>>(
            () => [.. Core.Data.Fetch.dataset(Core.Data.Download.patience, name, folder, report, cancellation)
                .OrThrow(cancellation)],
            cancellation);
    }

    /// <summary>Checks whether the accuracy under attack of any classifier can be trusted, on the caller's
    /// thread.</summary>
    /// <param name="classifier">Images [n; c; h; w] to logits [n; k], differentiable in the images.</param>
    /// <param name="images">[n; c; h; w], floating point in [0, 1]; a hundred are enough.</param>
    /// <param name="labels">int64 [n], from 0 to k - 1.</param>
    /// <param name="threat">What the attacks may do; its radius is above 0.</param>
    /// <param name="surrogate">Another classifier, whose adversarial images are tried on this one; null for
    /// none.</param>
    /// <param name="seed">The seed of every draw.</param>
    /// <exception cref="ArgumentException">A tensor's shape or type is wrong, or the radius is 0.</exception>
    public static AuditResult Audit(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels, Threat threat,
        Func<torch.Tensor, torch.Tensor>? surrogate = null, ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(threat);
        ArgumentNullException.ThrowIfNull(labels);
        AdvContrast.Images.Require(images, nameof(images));
        return Interop.Run(() => Auditing.Run(classifier, surrogate, images, labels, threat, seed));
    }

    private static Task<PretrainResult> Train(
        string? folder, IProgress<TrainingProgress>? progress, CancellationToken cancellation,
        Func<FSharpFunc<Core.Training.Event, Unit>, FSharpResult<Core.Runs.Encoder, FSharpList<Core.Foundation.Error>>> train)
    {
        var clock = Stopwatch.StartNew();
        return Interop.RunAlone(
            () =>
            {
                TrainingProgress? last = null;
                var watch = FuncConvert.FromAction<Core.Training.Event>(done =>
                {
                    last = TrainingProgress.Of(done);
                    progress?.Report(last);
                });
                var encoder = train(watch).OrThrow(cancellation);
                return new PretrainResult(new Encoder(encoder), folder, last!, clock.Elapsed);
            },
            cancellation);
    }

    private static async IAsyncEnumerable<TrainingProgress> Steps(
        PretrainOptions options, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var steps = Channel.CreateUnbounded<TrainingProgress>();
        var run = Finish(PretrainAsync(options, new Relay(steps.Writer), left.Token), steps.Writer);
        try
        {
            await foreach (var step in steps.Reader.ReadAllAsync(CancellationToken.None)) yield return step;
        }
        finally
        {
            left.Cancel();
            await run;
        }
    }

    // Ends the sequence as the run ended.
    private static async Task Finish(Task<PretrainResult> run, ChannelWriter<TrainingProgress> steps)
    {
        try
        {
            (await run.ConfigureAwait(false)).Dispose();
            steps.Complete();
        }
        catch (Exception e)
        {
            steps.Complete(e);
        }
    }

    private sealed class Relay(ChannelWriter<TrainingProgress> steps) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => steps.TryWrite(value);
    }
}
