using System;

namespace AdvContrast;

/// <summary>A finished pre-training run. It owns the encoder; dispose it when done.</summary>
/// <param name="Encoder">The pre-trained encoder.</param>
/// <param name="Folder">The run's folder, with checkpoint and run.json; null where nothing was kept.</param>
/// <param name="Last">The run's last step.</param>
/// <param name="Elapsed">How long it took from the call, data and set-up included.</param>
public sealed record PretrainResult(Encoder Encoder, string? Folder, TrainingProgress Last, TimeSpan Elapsed)
    : IDisposable
{
    /// <summary>Frees the encoder.</summary>
    public void Dispose() => Encoder.Dispose();
}
