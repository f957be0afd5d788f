namespace AdvContrast.Bench.Steps;

/// <summary>Who runs a step, and how.</summary>
/// <param name="Library">One of <see cref="Bench.Library"/>.</param>
/// <param name="Kind">How: see the constants.</param>
/// <param name="Malloc">Whether its process keeps the memory of freed tensors.</param>
internal sealed record Side(string Library, string Kind, Malloc Malloc)
{
    /// <summary>AdvContrast as it trains by default.</summary>
    internal const string Auto = "auto";

    /// <summary>AdvContrast in float32: batch norms are folded in attacks.</summary>
    internal const string Float32 = "float32";

    /// <summary>
    /// float32 with the operations that the method names; the attack takes the gradient of images alone.
    /// </summary>
    internal const string Plain = "plain";

    /// <summary>
    /// The same, but each backward pass computes the gradients of all parameters, as the authors run it.
    /// </summary>
    internal const string Published = "published";

    /// <summary>
    /// PyTorch written well: bfloat16 by autocast, channels last, gradients of images alone.
    /// </summary>
    internal const string Competent = "competent";

    /// <summary>Whether it makes the operations of the published way in float32, one by one.</summary>
    internal bool HasSameOperations => Kind is Plain or Published;

    /// <summary>Whether all of it is computed in float32.</summary>
    internal bool IsFloat32 => HasSameOperations || Kind == Float32;

    public override string ToString() =>
        $"{Library} {Kind}{(Malloc == Malloc.Default ? ", malloc as it is" : "")}";
}
