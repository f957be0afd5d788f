using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast;

/// <summary>One thing that went wrong: its kind, and a sentence that says how to put it right.</summary>
/// <param name="Code">What kind of fault it is.</param>
/// <param name="Message">What is wrong and what to do about it.</param>
public sealed record Fault(ErrorCode Code, string Message);

/// <summary>Something that the user can put right: a bad option, a missing file, no libtorch.</summary>
/// <remarks>Faults of the calling program, as a tensor of a wrong shape, are ArgumentExceptions.</remarks>
public sealed class AdvContrastException : Exception
{
    internal AdvContrastException(IReadOnlyList<Fault> faults, Exception? inner = null)
        : base(string.Join(Environment.NewLine, faults.Select(fault => fault.Message)), inner) =>
        Faults = faults;

    /// <summary>The kind of the first fault.</summary>
    public ErrorCode Code => Faults[0].Code;

    /// <summary>All faults that were found, at least one; options are checked together.</summary>
    public IReadOnlyList<Fault> Faults { get; }
}
