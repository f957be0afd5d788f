namespace AdvContrast;

/// <summary>What to audit an encoder with; null means: as in the encoder's own run.</summary>
public sealed record AuditOptions
{
    /// <summary>The data set: its training part fits the linear layer, its test part is attacked.</summary>
    public string? Dataset { get; init; }

    /// <summary>The folder with the data set's files.</summary>
    public string? Data { get; init; }

    /// <summary>At most this many test images, drawn by the seed from every class in proportion; 1 or more.</summary>
    public int Images { get; init; } = 100;

    /// <summary>What the attacks may do, with a radius above 0; null: the run's, else Linf 8/255.</summary>
    public Threat? Threat { get; init; }

    /// <summary>How the linear layer is fitted.</summary>
    public Probe Probe { get; init; } = Probe.Quick;

    /// <summary>The seed of every draw: the same seed gives the same outcome.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Threads of libtorch, 1 or more; null leaves its own choice.</summary>
    public int? Threads { get; init; }

    /// <summary>Another encoder, whose adversarial images are tried on this one; borrowed.</summary>
    public Encoder? Surrogate { get; init; }
}
