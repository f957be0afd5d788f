using System;

namespace AdvContrast.Engine;

/// <summary>libtorch, or TorchSharp's library beside it, cannot be loaded.</summary>
/// <param name="message">One sentence that says what is wrong and what to do.</param>
/// <param name="inner">The system's error, if there is one.</param>
public sealed class LibTorchException(string message, Exception? inner = null) : Exception(message, inner);
