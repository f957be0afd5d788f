using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace AdvContrast;

/// <summary>An evaluation from its options to its result.</summary>
internal static class Evaluation
{
    internal static EvaluationResult Run(
        Core.Encoder encoder, EvaluateOptions options, IProgress<EvaluationProgress>? progress,
        CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var report = FuncConvert.FromAction<string, double>(
            (stage, share) => progress?.Report(new EvaluationProgress(stage, share)));
        var found = Core.Workbench.evaluate(report, cancellation, encoder, ToCore(options))
            .OrThrow(cancellation);
        return new EvaluationResult(
            [.. found.Accuracies.Select(Accuracy.Of)], found.Dataset, clock.Elapsed);
    }

    private static Core.Evaluation ToCore(EvaluateOptions options) => new(
        dataset: OptionModule.OfObj(options.Dataset),
        data: OptionModule.OfObj(options.Data),
        images: OptionModule.OfNullable(options.Images),
        attacks: ListModule.OfSeq(options.Attacks),
        threats: ListModule.OfSeq(options.Threats.Select(threat => threat.ToString())),
        probe: options.Probe == Probe.Published ? "published" : "quick",
        seed: options.Seed,
        threads: OptionModule.OfNullable(options.Threads),
        notes: OptionModule.OfObj(options.Notes));
}
