using System;
using System.Diagnostics;
using System.Threading;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

/// <summary>An audit from its options to its result.</summary>
internal static class Auditing
{
    internal static AuditResult Run(
        Core.Runs.Encoder encoder, AuditOptions options, Core.Runs.Encoder? surrogate,
        IProgress<EvaluationProgress>? progress, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var report = FuncConvert.FromAction<string, double>(
            (stage, share) => progress?.Report(new EvaluationProgress(stage, share)));
        var found = Core.Workbench
            .audit(report, cancellation, encoder, OptionModule.OfObj(surrogate), ToCore(options))
            .OrThrow(cancellation);
        return AuditResult.Of(found.Audited, Coverage.From(found.Coverage), clock.Elapsed);
    }

    internal static AuditResult Run(
        Func<torch.Tensor, torch.Tensor> classifier, Func<torch.Tensor, torch.Tensor>? surrogate,
        torch.Tensor images, torch.Tensor labels, Threat threat, ulong seed)
    {
        var clock = Stopwatch.StartNew();
        var other = surrogate is null
            ? FSharpOption<FSharpFunc<torch.Tensor, torch.Tensor>>.None
            : FSharpOption<FSharpFunc<torch.Tensor, torch.Tensor>>.Some(FuncConvert.FromFunc(surrogate));
        var found = Core.Workbench.auditOf(
            FuncConvert.FromAction<string, double>((_, _) => { }), Core.Audit.Audit.standard, seed, threat.Inner,
            FuncConvert.FromFunc(classifier), other, images, labels);
        return AuditResult.Of(found, null, clock.Elapsed);
    }

    private static Core.Audit.AuditRun ToCore(AuditOptions options) => new(
        dataset: OptionModule.OfObj(options.Dataset),
        data: OptionModule.OfObj(options.Data),
        images: options.Images,
        threat: OptionModule.OfObj(options.Threat?.ToString()),
        probe: options.Probe.ToString().ToLowerInvariant(),
        seed: options.Seed,
        threads: OptionModule.OfNullable(options.Threads),
        effort: Core.Audit.Audit.standard);
}
