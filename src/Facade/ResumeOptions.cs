using Microsoft.FSharp.Core;

namespace AdvContrast;

/// <summary>What of a run can be changed when it is resumed; null means: as the run has it.</summary>
/// <remarks>Everything else decides the weights and stays as it is.</remarks>
public sealed record ResumeOptions
{
    /// <summary>
    /// Passes over the images in all, more than the run has made: a finished run is trained further. Schedules, as a
    /// cosine decay, are those of a run of this many epochs from there on.
    /// </summary>
    public int? Epochs { get; init; }

    /// <summary>The folder with the data set's files, where they have moved; the images must be the same.</summary>
    public string? Data { get; init; }

    /// <summary><c>"cpu"</c>, <c>"cuda"</c> or <c>"cuda:1"</c>.</summary>
    public string? Device { get; init; }

    /// <summary>Threads of libtorch, 1 or more.</summary>
    public int? Threads { get; init; }

    /// <summary>When a checkpoint is written, as PretrainOptions.CheckpointEvery.</summary>
    public string? CheckpointEvery { get; init; }

    /// <summary>How many checkpoints the folder keeps, 1 or more.</summary>
    public int? Keep { get; init; }

    /// <summary>Whether the folder also keeps the checkpoint after the epoch of the lowest mean loss.</summary>
    public bool? KeepBest { get; init; }

    internal Core.Runs.PretrainConfig Over(Core.Runs.PretrainConfig c) => new(
        method: c.Method,
        dataset: c.Dataset,
        data: OptionModule.OfObj(Data) ?? c.Data,
        images: c.Images,
        network: c.Network,
        width: c.Width,
        given: c.Given,
        epochs: OptionModule.OfNullable(Epochs) ?? c.Epochs,
        batch: c.Batch,
        optimizer: c.Optimizer,
        learningRate: c.LearningRate,
        threat: c.Threat,
        seed: c.Seed,
        device: Device ?? c.Device,
        precision: c.Precision,
        threads: OptionModule.OfNullable(Threads) ?? c.Threads,
        checkpointEvery: OptionModule.OfObj(CheckpointEvery) ?? c.CheckpointEvery,
        keep: OptionModule.OfNullable(Keep) ?? c.Keep,
        keepBest: KeepBest ?? c.KeepBest);
}
