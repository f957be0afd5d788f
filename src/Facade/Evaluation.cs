using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

/// <summary>An evaluation from its options to its result.</summary>
internal static class Evaluation
{
    internal static EvaluationResult Run(
        Core.Runs.Encoder encoder, EvaluateOptions options, IProgress<EvaluationProgress>? progress,
        CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var found = Core.Workbench.evaluate(Report(progress), cancellation, encoder, ToCore(options))
            .OrThrow(cancellation);
        return new EvaluationResult(
            [.. found.Accuracies.Select(Accuracy.Of)], found.Dataset, Coverage.From(found.Coverage), clock.Elapsed);
    }

    internal static EvaluationResult Run(
        Func<torch.Tensor, torch.Tensor> classifier, torch.Tensor images, torch.Tensor labels,
        EvaluateOptions options, IProgress<EvaluationProgress>? progress, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        using var set = Core.Data.DatasetModule.ofTensors("images", images, labels);
        var found = Core.Evaluation.EvaluationModule.ofClassifier(
            Report(progress), cancellation, FuncConvert.FromFunc(classifier), set, ToCore(options))
            .OrThrow(cancellation);
        return new EvaluationResult(
            [.. found.Accuracies.Select(Accuracy.Of)], found.Dataset, Coverage.From(found.Coverage), clock.Elapsed);
    }

    internal static FSharpFunc<string, FSharpFunc<double, Unit>> Report(
        IProgress<EvaluationProgress>? progress) =>
        FuncConvert.FromAction<string, double>(
            (stage, share) => progress?.Report(new EvaluationProgress(stage, share)));

    internal static Core.Evaluation.Evaluation ToCore(EvaluateOptions options) => new(
        dataset: OptionModule.OfObj(options.Dataset),
        data: OptionModule.OfObj(options.Data),
        images: OptionModule.OfNullable(options.Images),
        attacks: ListModule.OfSeq(options.Attacks),
        threats: ListModule.OfSeq(options.Threats.Select(threat => threat.ToString())),
        probe: options.Probe.ToString().ToLowerInvariant(),
        knn: OptionModule.OfObj(options.Knn?.ToString()),
        seed: options.Seed,
        threads: OptionModule.OfNullable(options.Threads),
        notes: OptionModule.OfObj(options.Notes));
}
