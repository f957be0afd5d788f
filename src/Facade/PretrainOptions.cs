using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.Linq;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace AdvContrast;

/// <summary>What to pre-train, on what, and how; null means: as the method's published recipe says.</summary>
public sealed record PretrainOptions
{
    private static readonly Core.Runs.PretrainConfig defaults = Core.Runs.PretrainConfigModule.defaults;

    /// <summary>A registered method: <c>"simclr"</c>, <c>"acl-ds"</c>; see Workbench.Methods.</summary>
    public string Method { get; init; } = defaults.Method;

    /// <summary>A data set: <c>"sample"</c>, which is embedded, or another of Workbench.Datasets.</summary>
    public string Dataset { get; init; } = defaults.Dataset;

    /// <summary>The folder with the data set's files, for those that need one.</summary>
    public string? Data { get; init; }

    /// <summary>Train on this many images, 1 or more, drawn by the seed; null for all.</summary>
    public int? Images { get; init; }

    /// <summary>A network: <c>"small"</c>, <c>"resnet18"</c>; see Workbench.Networks.</summary>
    public string? Network { get; init; }

    /// <summary>
    /// Channels of the network's first stage, 1 to 1024; of a wide ResNet 16 times its widening; null for the
    /// network's own.
    /// </summary>
    public int? Width { get; init; }

    /// <summary>
    /// Runs that take the place of a method's first stages, or that only you can name: the stage's name and
    /// the run's folder, as <c>{ ["teacher"] = "runs/simclr" }</c>, or a file of another program with the
    /// name of its network and what that normalised images by:
    /// <c>"resnet50@imagenet:weights.safetensors"</c>.
    /// </summary>
    public IReadOnlyDictionary<string, string> Given { get; init; } =
        ImmutableDictionary<string, string>.Empty;

    /// <summary>
    /// Passes over the images, 1 or more; a method of several stages divides them as its recipe does.
    /// </summary>
    public int? Epochs { get; init; }

    /// <summary>Images a step, 1 or more.</summary>
    public int? Batch { get; init; }

    /// <summary>
    /// <c>"lars"</c>, <c>"larc"</c>, <c>"sgd"</c>, <c>"nesterov"</c>, <c>"adam"</c> or <c>"adamw"</c>, each
    /// with warm-up and cosine decay.
    /// </summary>
    public string? Optimizer { get; init; }

    /// <summary>The peak of the learning rate, above 0; needs an optimiser.</summary>
    public double? LearningRate { get; init; }

    /// <summary>What the method's adversary may do.</summary>
    public Threat? Threat { get; init; }

    /// <summary>The seed of every draw: the same seed gives the same run.</summary>
    public ulong Seed { get; init; } = defaults.Seed;

    /// <summary><c>"cpu"</c>, <c>"cuda"</c> or <c>"cuda:1"</c>.</summary>
    public string Device { get; init; } = defaults.Device;

    /// <summary>
    /// The number format of training and attack passes: <c>"float32"</c>, <c>"bfloat16"</c>, <c>"tf32"</c> (an
    /// NVIDIA card's, for convolutions), or <c>"auto"</c> for the faster one on this machine.
    /// </summary>
    public string Precision { get; init; } = defaults.Precision;

    /// <summary>Threads of libtorch, 1 or more; null leaves them: as many as processors.</summary>
    public int? Threads { get; init; }

    /// <summary>
    /// When a checkpoint is written, besides at the end: <c>"epoch"</c>, <c>"500"</c> for every 500 steps,
    /// <c>"10min"</c> for every 10 minutes; null for every epoch.
    /// </summary>
    public string? CheckpointEvery { get; init; }

    /// <summary>
    /// How many checkpoints the folder keeps, 1 or more: the newest and those before it; null for 2.
    /// </summary>
    public int? Keep { get; init; }

    /// <summary>
    /// Whether the folder also keeps the checkpoint after the epoch of the lowest mean loss, as
    /// checkpoint.best.safetensors.
    /// </summary>
    public bool KeepBest { get; init; }

    /// <summary>The run's folder, for checkpoints and run.json; null keeps nothing on disk.</summary>
    public string? Out { get; init; }

    /// <summary>
    /// Whether a run that Out holds already gives way, once options and data have been checked; else it is refused.
    /// </summary>
    public bool Overwrite { get; init; }

    /// <summary>The options of an earlier run, to repeat or to vary it: <c>with { Seed = 2 }</c>.</summary>
    /// <param name="path">The run.json in the run's folder.</param>
    /// <exception cref="AdvContrastException">Missing or Damaged.</exception>
    public static PretrainOptions FromRun(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Of(Core.Runs.ManifestModule.configuration(path).OrThrow());
    }

    internal static PretrainOptions Of(Core.Runs.PretrainConfig c) => new()
    {
        Method = c.Method,
        Dataset = c.Dataset,
        Data = c.Data.OrNull(),
        Images = c.Images.OrNone(),
        Network = c.Network.OrNull(),
        Width = c.Width.OrNone(),
        Given = c.Given.OrNull() is { } given
            ? given.ToImmutableDictionary()
            : ImmutableDictionary<string, string>.Empty,
        Epochs = c.Epochs.OrNone(),
        Batch = c.Batch.OrNone(),
        Optimizer = c.Optimizer.OrNull(),
        LearningRate = c.LearningRate.OrNone(),
        Threat = c.Threat.OrNull() is { } threat ? Threat.Parse(threat) : null,
        Seed = c.Seed,
        Device = c.Device,
        Precision = c.Precision,
        Threads = c.Threads.OrNone(),
        CheckpointEvery = c.CheckpointEvery.OrNull(),
        Keep = c.Keep.OrNone(),
        KeepBest = c.KeepBest,
    };

    internal Core.Runs.PretrainConfig ToCore() => new(
        method: Method,
        dataset: Dataset,
        data: OptionModule.OfObj(Data),
        images: OptionModule.OfNullable(Images),
        network: OptionModule.OfObj(Network),
        width: OptionModule.OfNullable(Width),
        given: OptionModule.OfObj(Given.Count == 0
            ? null
            : new FSharpMap<string, string>(Given.Select(g => Tuple.Create(g.Key, g.Value)))),
        epochs: OptionModule.OfNullable(Epochs),
        batch: OptionModule.OfNullable(Batch),
        optimizer: OptionModule.OfObj(Optimizer),
        learningRate: OptionModule.OfNullable(LearningRate),
        threat: OptionModule.OfObj(Threat?.ToString()),
        seed: Seed,
        device: Device,
        precision: Precision,
        threads: OptionModule.OfNullable(Threads),
        checkpointEvery: OptionModule.OfObj(CheckpointEvery),
        keep: OptionModule.OfNullable(Keep),
        keepBest: KeepBest);
}
