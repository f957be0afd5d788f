using System;

namespace AdvContrast.Torch;

/// <summary>libtorch, or the bridge to it, is missing or is not the one that was set up.</summary>
public sealed class LibTorchException : Exception
{
    /// <summary>A fault described by one sentence that says what to do.</summary>
    public LibTorchException(string message) : base(message) { }

    /// <summary>The same, with what the system said.</summary>
    public LibTorchException(string message, Exception inner) : base(message, inner) { }
}
