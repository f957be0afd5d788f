using System;

namespace AdvContrast.Engine;

/// <summary>libtorch, or TorchSharp's library beside it, cannot be loaded.</summary>
public sealed class LibTorchException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">One sentence that says what is wrong and what to do.</param>
    public LibTorchException(string message) : base(message) { }

    /// <summary>Creates the exception with its cause.</summary>
    /// <param name="message">One sentence that says what is wrong and what to do.</param>
    /// <param name="inner">The system's error.</param>
    public LibTorchException(string message, Exception inner) : base(message, inner) { }
}
