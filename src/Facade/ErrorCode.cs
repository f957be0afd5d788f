namespace AdvContrast;

/// <summary>What kind of fault it was; the numbers are the command line's exit codes.</summary>
public enum ErrorCode
{
    /// <summary>An option whose value cannot be used.</summary>
    BadOption = 2,

    /// <summary>A name of a method, a data set, a network or an attack that there is not.</summary>
    UnknownName = 3,

    /// <summary>A file or folder that is needed and not there.</summary>
    Missing = 4,

    /// <summary>A file that is there but is not what it should be.</summary>
    Damaged = 5,

    /// <summary>A place that cannot be written.</summary>
    NotWritable = 6,

    /// <summary>libtorch is missing, has changed since set-up, or lacks what was asked for.</summary>
    Runtime = 7,

    /// <summary>The loss stopped being a finite number.</summary>
    Diverged = 8,

    /// <summary>A URL that cannot be downloaded.</summary>
    Unreachable = 11,
}
