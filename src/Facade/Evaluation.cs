using System;
using System.Collections.Generic;
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
        Core.Encoder encoder, EvaluateOptions options, IProgress<EvaluationProgress>? progress,
        CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var attacks = Named(options, Core.Robustness.attack);
        var run = encoder.Configuration;
        var threat = options.Threat
            ?? (run.Threat.OrNull() is { } own ? Threat.Parse(own) : Threat.Linf(8.0 / 255.0));
        if (options.Threads is { } threads) torch.set_num_threads(threads);

        var name = options.Dataset ?? run.Dataset;
        var folder = OptionModule.OfObj(options.Data ?? run.Data.OrNull());
        using var train = Core.Catalogue.load(name, folder, true).OrThrow();
        using var all = Core.Catalogue.load(name, folder, false).OrThrow();
        var count = (int)Math.Min(options.Images ?? all.Count, all.Count);
        var first = Enumerable.Range(0, count).Select(id => (long)id).ToArray();
        using var test = Core.DatasetModule.subset(first, all);

        void Report(string stage, long done, long total)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new EvaluationProgress(stage, done, total));
        }

        Report("linear layer", 0, train.Count);
        var usual = options.Probe == Probe.Published
            ? Core.LinearProbeModule.published
            : Core.LinearProbeModule.quick;
        var probe = new Core.LinearProbe(
            usual.Optimizer, usual.Batch, usual.Epochs, usual.View, options.Seed);
        using var head = Core.Workbench.probe(probe, encoder, train);
        Report("linear layer", train.Count, train.Count);
        var accuracies = Core.Workbench.evaluate(
            attacks, options.Seed, threat.Inner,
            FuncConvert.FromAction<string, int>((attack, done) => Report(attack, done, count)), encoder, head,
            test);
        return new EvaluationResult(
            [.. accuracies.Select(a => new Accuracy(a.Name, a.Correct, a.Total, a.Flags.ToHashSet()))],
            test.Name, threat, clock.Elapsed);
    }

    // The attacks under the names given, or all faults of the options.
    private static FSharpList<Tuple<string, T>> Named<T>(
        EvaluateOptions options, Func<string, FSharpResult<T, Core.Error>> find)
    {
        var found = options.Attacks.Select(name => (name, attack: find(name))).ToList();
        var faults = found.Where(f => f.attack.IsError).Select(f => f.attack.ErrorValue)
            .Concat(BelowOne("--images", options.Images))
            .Concat(BelowOne("--threads", options.Threads))
            .ToList();
        if (faults.Count > 0) throw Border.Exception(faults);
        return ListModule.OfSeq(found.Select(f => Tuple.Create(f.name, f.attack.ResultValue)));
    }

    private static IEnumerable<Core.Error> BelowOne(string name, int? value) =>
        value < 1 ? [Core.Error.NewBadOption(name, $"{value} is not 1 or more.")] : [];
}
